"""The backup of a service: the sites that hold it, its keys, how long it is kept, and what a restore must prove."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recoverd.inventory.base import Model, Port
from recoverd.inventory.secret import SecretRef, anchored

_RECIPIENT = "^(age1[0-9a-z]{58}|ssh-ed25519 [A-Za-z0-9+/=]+)$"
NAME = "^[a-z][a-z0-9-]{0,31}$"


class Retention(Model):
    """How long backup sets stay on a site. The newest good set is never removed."""

    sets: int = Field(7, ge=1, description="most backup sets that are kept")
    days: int = Field(0, ge=0, description="sets younger than this many days are kept beyond that number; 0 for none")


class _BackupSite(Model):
    name: str = Field(pattern=NAME, description="name of the site in commands and reports")
    retention: Retention | None = Field(None, description="none: the backup's own `retention`")


class HostSite(_BackupSite):
    """A directory on a host of the inventory: the service's own server, or another one."""

    kind: Literal["host"] = Field(description="a directory on a host, reached over SSH")
    host: str = Field(min_length=1, description="the host's name in hosts.yaml")
    path: str = Field(pattern="^/[^\\s'\"]*$", description="directory; each service has a directory of its own in it")


class S3Site(_BackupSite):
    """A bucket that speaks S3."""

    kind: Literal["s3"] = Field(description="a bucket of Amazon S3, or of a server that speaks S3")
    bucket: str = Field(min_length=3, description="the bucket's name")
    prefix: str = Field("", pattern="^[^/].*[^/]$|^[^/]?$", description="what stands before the service's name in keys")
    endpoint: str | None = Field(None, pattern="^https?://", description="address of the server; none: Amazon's")
    region: str = Field("us-east-1", min_length=1, description="region of the bucket")
    access_key: SecretRef | None = Field(None, description="access key id; none: where boto3 looks for it")
    secret_key: SecretRef | None = Field(None, description="secret access key; given with `access_key`")
    ca_file: Path | None = Field(
        None,
        description="certificate authority of the endpoint; relative to the inventory; none: those the hosts trust",
    )
    lock_days: int = Field(
        0, ge=0, description="days for which object lock (COMPLIANCE) protects what is written; 0 for none"
    )

    @field_validator("ca_file")
    @classmethod
    def _below_the_inventory(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else anchored(path, info)

    @model_validator(mode="after")
    def _both_keys(self) -> S3Site:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key are given together, or neither is")
        return self


BackupSite = Annotated[HostSite | S3Site, Field(discriminator="kind")]


class RestoreCheck(Model):
    """A question that restored data must answer as expected."""

    name: str = Field(min_length=1, description="name in reports")
    database: str | None = Field(None, description="database to ask; none: the service's")
    sql: str = Field(min_length=1, description="one SELECT that gives one value")
    expect: str | None = Field(None, description="the value as text; none: any value but null, false and 0")


class DrillRules(Model):
    """Rehearsals of a restore: how often, and what they are measured against."""

    every_days: int = Field(
        7,
        ge=0,
        le=366,
        description="days after which the next drill starts by itself, where there is a drill host; 0: never",
    )
    max_age_days: int | None = Field(
        None,
        ge=0,
        le=732,
        description="days after which the last drill that passed is too old: an incident; none: every_days and 3 more; 0: never",
    )
    rto_s: int | None = Field(
        None, gt=0, description="longest time that a restore may take, in seconds; none: the service's objective"
    )
    rpo_s: int | None = Field(
        None,
        ge=0,
        description="most seconds of writes that a restore may lose; none: the service's objective, where it is in seconds",
    )

    @model_validator(mode="after")
    def _in_time(self) -> DrillRules:
        if self.max_age_days and self.max_age_days <= self.every_days:
            raise ValueError("max_age_days is more than every_days, or every drill would come too late")
        return self

    @property
    def age_limit_days(self) -> int:
        """Days after which the last good drill is too old; 0: never."""
        if self.max_age_days is not None:
            return self.max_age_days
        return self.every_days + 3 if self.every_days else 0


class RestoreRules(Model):
    """Where and how restored data is proven before anybody uses it."""

    scratch_dir: str = Field(
        "/var/lib/recoverd/restore", pattern="^/[^\\s'\"]*$", description="directory for what is fetched and unpacked"
    )
    scratch_port: Port = Field(54329, description="port of the scratch server's socket; it listens on no network")
    drill_host: str | None = Field(None, description="host on which drills run; it needs PostgreSQL's programs")
    checks: tuple[RestoreCheck, ...] = Field((), description="what must hold of restored data")
    drill: DrillRules = Field(default_factory=DrillRules, description="how often restores are rehearsed there")
    consent: Literal["act", "ask"] = Field(
        "ask", description="whether replacing a service's data waits for a person's approval"
    )


class WalRules(Model):
    """How WAL comes to the sites all the time: one host receives it, and gives it to the other sites."""

    enabled: bool = Field(True, description="whether `recoverd serve` keeps WAL coming to the sites")
    receiver: str | None = Field(
        None, description="site whose host receives; none: the first on a host that is no server of the service"
    )
    flush_s: float = Field(2.0, ge=0.5, le=60, description="seconds between two looks at the segment that still grows")
    max_lag_s: float = Field(
        60.0, gt=0, description="seconds by which a site may be behind the primary before an alert is raised"
    )
    slot: str = Field(
        "recoverd_wal", pattern="^[a-z0-9_]{1,63}$", description="name of the replication slot on each server"
    )
    most_held_bytes: int = Field(
        4 * 1024**3,
        ge=64 * 1024**2,
        description="bytes of WAL that the slot may hold back on a server; then it is dropped",
    )
    most_memory_bytes: int = Field(
        256 * 1024**2,
        ge=48 * 1024**2,
        description="bytes of WAL that may wait in the receiver's memory; never more than half of its /dev/shm",
    )


class BackupBase(Model):
    """What backups of services and of files have in common."""

    name: str = Field(min_length=1, description="its key in backups.yaml")
    sites: tuple[BackupSite, ...] = Field(
        min_length=2, max_length=5, description="the sites; three by the plan: own server, another one, off-site"
    )
    recipients: tuple[Annotated[str, Field(pattern=_RECIPIENT)], ...] = Field(
        min_length=1, description="age public keys; any one of their identities opens a backup"
    )
    identity: SecretRef | None = Field(
        None, description="age identity (secret key) with which restores decrypt; none: no restore from this machine"
    )
    signing_key: SecretRef | None = Field(
        None, description="Ed25519 private key (PEM) that signs manifests; it is on no site; none: no backup from here"
    )
    trusted_key: Path = Field(
        description="Ed25519 public key (PEM) by which manifests are believed; relative to the inventory"
    )
    part_bytes: int = Field(
        64 * 1024**2,
        ge=1024**2,
        le=4 * 1024**3,
        description="size of a part before encryption; a small database gets smaller ones",
    )
    compression: int = Field(3, ge=1, le=19, description="zstd level")
    retention: Retention = Field(default_factory=Retention, description="for sites that say nothing else")
    max_age_s: int = Field(
        26 * 3600, gt=0, description="seconds after which the newest good set counts as too old, in `recoverd check`"
    )

    @field_validator("sites")
    @classmethod
    def _each_name_once(cls, sites: tuple[HostSite | S3Site, ...]) -> tuple[HostSite | S3Site, ...]:
        names = [site.name for site in sites]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} is the name of more than one site")
        places = [
            (site.host, site.path) if isinstance(site, HostSite) else (site.endpoint, site.bucket, site.prefix)
            for site in sites
        ]
        if len(set(places)) < len(places):
            raise ValueError("two sites are one and the same place: three copies there would be lost together")
        return sites

    @field_validator("trusted_key")
    @classmethod
    def _below_the_inventory(cls, path: Path, info: ValidationInfo) -> Path:
        return anchored(path, info)


class Backup(BackupBase):
    """How a service is backed up. The same bytes stand on every site."""

    name: str = Field(min_length=1, description="the service's name: its key in backups.yaml")
    engine: Literal["builtin"] = Field(
        "builtin", description="what makes the backup: builtin, or pgbackrest, which has keys of its own (PgBackRest)"
    )
    restore: RestoreRules = Field(default_factory=RestoreRules, description="rules of restores and drills")
    wal: WalRules = Field(default_factory=WalRules, description="continuous WAL to the sites")

    @model_validator(mode="after")
    def _a_host_receives(self) -> Backup:
        wanted, hosts = self.wal.receiver, [site.name for site in self.sites if isinstance(site, HostSite)]
        if wanted is not None and wanted not in hosts:
            raise ValueError(f"wal.receiver is {wanted}, and sites on a host are {', '.join(hosts) or 'none'}")
        return self
