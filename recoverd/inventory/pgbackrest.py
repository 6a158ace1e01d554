"""The backup of a service that pgBackRest makes: which of its repositories stands where, and how it is called."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from recoverd.inventory.backups import RestoreRules
from recoverd.inventory.base import Model

_WORD = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
_ACCOUNT = "^[a-z_][a-z0-9_-]*$"
_PATH = "^/[^\\s'\"]*$"


class Repository(Model):
    """A repository of pgBackRest: one site. It has the same number in the configuration of every host."""

    name: str = Field(pattern="^[a-z][a-z0-9-]{0,31}$", description="name of the site in commands and reports")
    repo: int = Field(ge=1, le=256, description="its number in pgBackRest's configuration: 2 for `repo2-path`")
    host: str | None = Field(
        None, description="the host in hosts.yaml on whose disk it stands; its backups are run there"
    )
    endpoint: str | None = Field(
        None,
        pattern="^https?://[^/\\s'\"]+$",
        description="address of the object store that holds it, instead of `host`",
    )
    account: Annotated[str, Field(pattern=_ACCOUNT)] | None = Field(
        None, description="account that runs pgBackRest for it; none: the backup's own `account`"
    )

    @model_validator(mode="after")
    def _stands_somewhere(self) -> Repository:
        if (self.host is None) == (self.endpoint is None):
            raise ValueError("a repository stands on a host or in an object store: give host or endpoint")
        return self


class PgBackRest(Model):
    """How a service is backed up by pgBackRest, which is installed and configured already."""

    name: str = Field(min_length=1, description="the service's name: its key in backups.yaml")
    engine: Literal["pgbackrest"] = Field(description="pgbackrest; without this key the engine is built in")
    stanza: str = Field(pattern=_WORD, description="pgBackRest's name of the cluster")
    sites: tuple[Repository, ...] = Field(min_length=2, max_length=8, description="its repositories, a site each")
    host: str | None = Field(
        None,
        description="host that asks and backs up for repositories in object stores, a server of the service; none: the "
        "first host with a repository",
    )
    account: str = Field("postgres", pattern=_ACCOUNT, description="account that runs pgBackRest")
    config: str = Field(
        "/etc/pgbackrest/pgbackrest.conf", pattern=_PATH, description="its configuration file, on every host"
    )
    program: str = Field("/usr/bin/pgbackrest", pattern=_PATH, description="pgBackRest itself, on every host")
    backup_type: Literal["full", "diff", "incr"] = Field("full", description="kind of the sets that a backup makes")
    read_back: bool = Field(
        True, description="whether a backup ends with `pgbackrest verify`, which reads all that each repository holds"
    )
    max_age_s: int = Field(26 * 3600, gt=0, description="seconds after which the newest good set counts as too old")
    restore: RestoreRules = Field(default_factory=RestoreRules, description="rules of restores and drills")

    @field_validator("sites")
    @classmethod
    def _each_once(cls, sites: tuple[Repository, ...]) -> tuple[Repository, ...]:
        for what, known in (("name", [one.name for one in sites]), ("number", [str(one.repo) for one in sites])):
            doubled = sorted({one for one in known if known.count(one) > 1})
            if doubled:
                raise ValueError(f"{', '.join(doubled)} is the {what} of more than one site")
        return sites

    @model_validator(mode="after")
    def _somebody_runs_it(self) -> PgBackRest:
        if self.host is None and all(one.host is None for one in self.sites):
            raise ValueError("no repository stands on a host, so that nobody runs pgBackRest: give host")
        return self

    def runner(self, site: Repository) -> str:
        """The host on which pgBackRest is run for a repository: its own, for there a disk is just a disk."""
        hosts = (site.host, self.host, *(one.host for one in self.sites))
        return next(host for host in hosts if host is not None)

    def askers(self, site: Repository) -> tuple[str, ...]:
        """Hosts that can be asked about a repository, the best first: of one in an object store any can tell."""
        if site.host is not None:
            return (site.host,)
        others = (self.runner(site), *(one.host for one in self.sites), self.restore.drill_host)
        return tuple(dict.fromkeys(host for host in others if host is not None))

    def account_of(self, site: Repository) -> str:
        """The account that runs it for a repository."""
        return site.account or self.account
