"""The inventory: all that exists, by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from recoverd.errors import Invalid
from recoverd.incidents import Criticality
from recoverd.inventory.alerts import AlertSource, Route
from recoverd.inventory.backups import Backup, RestoreRules
from recoverd.inventory.base import Frozen, Model
from recoverd.inventory.data import DataRules
from recoverd.inventory.evidence import EvidencePlace
from recoverd.inventory.fencing import FenceDevice
from recoverd.inventory.files import FilesBackup
from recoverd.inventory.hosts import Host
from recoverd.inventory.isolation import ANYWHERE, Zone
from recoverd.inventory.people import Person, Role, Site
from recoverd.inventory.pgbackrest import PgBackRest
from recoverd.inventory.policies import Policy
from recoverd.inventory.problems import Problem, nearest
from recoverd.inventory.selectors import GROUP, LABEL, Selection, select, selection
from recoverd.inventory.services import Service

T = TypeVar("T")


class Inventory(Model):
    """An environment: read by `load()`, never changed afterwards."""

    root: Path = Field(description="the directory it was read from")
    hosts: Frozen[str, Host] = Field(default_factory=dict, description="by name")
    groups: Frozen[str, tuple[str, ...]] = Field(
        default_factory=dict, description="by name: the hosts in it, directly or not"
    )
    services: Frozen[str, Service] = Field(default_factory=dict, description="by name")
    sites: Frozen[str, Site] = Field(default_factory=dict, description="by name")
    roles: Frozen[str, Role] = Field(default_factory=dict, description="by name")
    people: Frozen[str, Person] = Field(default_factory=dict, description="by name")
    policies: Frozen[str, Policy] = Field(default_factory=dict, description="by name; `default` is always there")
    fence_devices: Frozen[str, FenceDevice] = Field(default_factory=dict, description="by name")
    sources: Frozen[str, AlertSource] = Field(default_factory=dict, description="by name")
    routes: tuple[Route, ...] = Field((), description="in the order in which they are tried")
    backups: Frozen[str, Backup] = Field(default_factory=dict, description="by service, those of the built-in engine")
    pgbackrest: Frozen[str, PgBackRest] = Field(default_factory=dict, description="by service, those of pgBackRest")
    files: Frozen[str, FilesBackup] = Field(default_factory=dict, description="backups of files, by name")
    zones: Frozen[str, Zone] = Field(default_factory=dict, description="by name; the first that selects a host counts")
    evidence: Frozen[str, EvidencePlace] = Field(default_factory=dict, description="places that keep evidence, by name")
    data: Frozen[str, DataRules] = Field(default_factory=dict, description="by service: how its records are mended")
    unusable: Frozen[str, Problem] = Field(
        default_factory=dict, description="hosts that hosts.yaml names and recoverd cannot use, with the reason"
    )
    warnings: tuple[Problem, ...] = Field((), description="what is doubtful, but no error")

    def service(self, name: str) -> Service:
        """The service of that name; Invalid with the nearest name when there is none."""
        return _named(self.services, name, "service", "services.yaml")

    def host(self, name: str) -> Host:
        """The host of that name; Invalid with the nearest name when there is none, or with why it cannot be used."""
        if name in self.unusable:
            raise Invalid(
                f"the host {name} cannot be used: {self.unusable[name]}",
                "give it a value that recoverd can read by itself",
            )
        return _named(self.hosts, name, "host", "hosts.yaml")

    def zone_of(self, host: str) -> Zone:
        """How a host is isolated: by the first zone that selects it, else by the defaults."""
        return self._zones.get(host, ANYWHERE)

    @cached_property
    def _zones(self) -> dict[str, Zone]:
        found: dict[str, Zone] = {}
        for zone in self.zones.values():
            for host in select(self, zone.hosts):
                found.setdefault(host, zone)
        return found

    def selection(self, text: str) -> Selection:
        """The hosts that a text means. Raises Invalid where it means none, or where they go by different policies."""
        return selection(self, text)

    def host_at(self, text: str) -> str | None:
        """The host that a monitoring system means by a name or an address, with or without a port; None for none, or several."""
        bare = text.strip()
        if bare in self.hosts:
            return bare
        address = _without_port(bare)
        found = [name for name, host in self.hosts.items() if address in {name, host.address}]
        return found[0] if len(found) == 1 else None

    def target(self, name: str) -> Service | FilesBackup:
        """A service, or a backup of files; Invalid with the nearest name when there is neither."""
        if name in self.files:
            return self.files[name]
        if name not in self.services and (near := nearest(name, [*self.services, *self.files])) in self.files:
            raise Invalid(
                f"there is no service and no backup of files {name} in the inventory", f"did you mean {near}?"
            )
        return self.service(name)

    def policy_of(self, target: Service | FilesBackup | Selection | str) -> Policy:
        """The rules that a service, a backup of files, or hosts go by."""
        one = self.anything(target) if isinstance(target, str) else target
        return _named(self.policies, one.policy, "policy", "policies.yaml")

    def anything(self, name: str) -> Service | FilesBackup | Selection:
        """Whatever a run may be on: a service, a backup of files, or else hosts. Raises Invalid."""
        if name in self.services or name in self.files or not self._means_hosts(name):
            return self.target(name)
        return self.selection(name)

    def _means_hosts(self, text: str) -> bool:
        return text in self.hosts or text in self.unusable or any(sign in text for sign in (",", GROUP, LABEL))

    def backup_of(self, service: Service | str) -> Backup:
        """How a service, or an archive of files, is backed up; Invalid when backups.yaml does not say so."""
        name = service if isinstance(service, str) else service.name
        if name in self.pgbackrest:
            raise Invalid(
                f"pgBackRest makes the backups of {name}, and this is there for the built-in engine alone",
                "see docs/procedures/pgbackrest.md for what there is, and use pgbackrest itself for the rest",
            )
        files = self.files_of(name)
        return files.as_backup(name) if files else _named(self.backups, name, "backup of", "backups.yaml")

    def data_of(self, service: str) -> DataRules:
        """How records of a service are mended; Invalid when data.yaml does not say so."""
        return _named(self.data, service, "data of", "data.yaml")

    def files_of(self, archive: str) -> FilesBackup | None:
        """The backup of files that an archive belongs to, by its own name or by `NAME.HOST`; None for that of a service."""
        return None if archive in self.backups else self.files.get(archive.partition(".")[0])

    def criticality_of(self, archive: str) -> Criticality:
        """How much weighs what is wrong with a backup: that of its service; that of files is normal."""
        return "normal" if self.files_of(archive) else self.service(archive).criticality

    def hosts_of(self, files: FilesBackup) -> tuple[str, ...]:
        """The hosts whose files it is about, groups resolved, each once."""
        named = (
            host for name in files.hosts for host in ((name,) if name in self.hosts else self.groups.get(name, ()))
        )
        return tuple(dict.fromkeys(named))

    def hosts_behind(self, archive: str) -> tuple[str, ...]:
        """The hosts whose data an archive holds: the servers of a service, or the one whose files they are."""
        return (archive.partition(".")[2],) if self.files_of(archive) else self.service(archive).hosts

    def archives_of(self, target: str) -> tuple[str, ...]:
        """The names under which a target's sets stand on the sites: its own, or one a host. Raises Invalid."""
        if target not in self.files:
            self.backup_of(target)
            return (target,)
        return tuple(self.files[target].archive(host) for host in self.hosts_of(self.files[target]))

    def restore_rules_of(self, service: str) -> RestoreRules:
        """Where and how restored data of a service is proven, whatever makes its backups. Raises Invalid."""
        if service in self.pgbackrest:
            return self.pgbackrest[service].restore
        return self.backup_of(service).restore

    def sites_of_backup(self, service: str) -> tuple[str, ...]:
        """The names of the sites of a service's backup, whatever makes it. Raises Invalid."""
        backup = self.pgbackrest.get(service) or self.backup_of(service)
        return tuple(site.name for site in backup.sites)


def _without_port(text: str) -> str:
    """`10.0.0.1` of `10.0.0.1:9100`, `fd00::1` of `[fd00::1]:9100`."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


def _named(things: Mapping[str, T], name: str, kind: str, file: str) -> T:
    if name in things:
        return things[name]
    near = nearest(name, things)
    known = ", ".join(sorted(things)[:20]) or "none"
    raise Invalid(
        f"there is no {kind} {name} in the inventory", f"did you mean {near}?" if near else f"{file} defines: {known}"
    )
