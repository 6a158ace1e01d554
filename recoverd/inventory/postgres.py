"""A PostgreSQL server: where its files and programs are, how it is started, who connects to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recoverd.inventory.base import Model, Port, SslMode
from recoverd.inventory.secret import SecretRef, anchored


class Control(Model):
    """How the server is started and stopped."""

    kind: Literal["systemd", "pg_ctl"] = Field(
        description="`systemd` where a unit supervises the server, else `pg_ctl`"
    )
    unit: str | None = Field(
        None, min_length=1, description="the systemd unit, such as postgresql@16-main; for kind systemd"
    )
    log_file: str | None = Field(None, description="file for the server's output when it is started with pg_ctl")

    @model_validator(mode="after")
    def _unit_fits_kind(self) -> Control:
        if (self.kind == "systemd") != (self.unit is not None):
            raise ValueError("control of kind systemd names its unit, and no other kind does")
        return self


class PatroniApi(Model):
    """The REST API of Patroni, where Patroni manages the cluster."""

    managed: bool = Field(
        True,
        description="whether Patroni decides who is primary; recoverd then asks it and never promotes behind its back",
    )
    port: Port = Field(8008, description="port of the REST API on each member")
    scheme: Literal["http", "https"] = Field("http", description="protocol of the REST API")
    user: str | None = Field(None, description="user for its basic authentication")
    password: SecretRef | None = Field(None, description="password for its basic authentication")
    ca_file: Path | None = Field(
        None, description="certificate authority of its TLS certificate; relative to the inventory"
    )

    @field_validator("ca_file")
    @classmethod
    def _below_the_inventory(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else anchored(path, info)


class Postgres(Model):
    """What is the same on all members of a service; a member can override most of it."""

    data_dir: str = Field(pattern="^/", description="the data directory (PGDATA)")
    bin_dir: str = Field(pattern="^/", description="directory of pg_ctl, pg_rewind, pg_basebackup")
    port: Port = Field(5432, description="port the server listens on")
    os_user: str = Field("postgres", min_length=1, description="operating-system user that runs the server")
    socket_dir: str = Field("/var/run/postgresql", pattern="^/", description="directory of its Unix socket")
    config_file: str | None = Field(
        None, pattern="^/", description="postgresql.conf, where it is outside data_dir (as on Debian)"
    )
    hba_file: str | None = Field(
        None, pattern="^/", description="pg_hba.conf, where it is outside data_dir (as on Debian)"
    )
    control: Control = Field(description="how the server is started and stopped")
    database: str = Field("postgres", min_length=1, description="database that recoverd connects to")
    user: str = Field("postgres", min_length=1, description="database user of recoverd")
    password: SecretRef | None = Field(
        None, description="password of `user`; none: what pg_hba.conf lets in without one"
    )
    sslmode: SslMode = Field("prefer", description="libpq's sslmode for recoverd's connections")
    replication_user: str = Field("replicator", min_length=1, description="database user that standbys stream with")
    replication_password: SecretRef | None = Field(None, description="password of `replication_user`")
    slots: bool = Field(True, description="whether standbys stream from physical replication slots, one a member")
    patroni: PatroniApi | None = Field(None, description="Patroni's REST API, where Patroni manages the cluster")


class PostgresOverrides(Model):
    """What differs on one member from the service's `postgresql`."""

    data_dir: str | None = Field(None, pattern="^/", description="see the service's postgresql")
    bin_dir: str | None = Field(None, pattern="^/", description="see the service's postgresql")
    port: Port | None = Field(None, description="see the service's postgresql")
    os_user: str | None = Field(None, min_length=1, description="see the service's postgresql")
    socket_dir: str | None = Field(None, pattern="^/", description="see the service's postgresql")
    config_file: str | None = Field(None, pattern="^/", description="see the service's postgresql")
    hba_file: str | None = Field(None, pattern="^/", description="see the service's postgresql")
    control: Control | None = Field(None, description="see the service's postgresql")
    sslmode: SslMode | None = Field(None, description="see the service's postgresql")
    patroni: PatroniApi | None = Field(None, description="see the service's postgresql")

    def over(self, common: Postgres) -> Postgres:
        """The service's settings with these in their place."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        return common.model_copy(update={name: value for name, value in given.items() if value is not None})
