"""What a check looks at of a service's backup: its sites, its keys, the hosts that keep or rehearse it. Reads only, all at once.

Pure rules over it are in flows/readiness_backups.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.backup.opening import opens
from recoverd.backup.signing import read_trusted_key, sign, verify
from recoverd.errors import RecoverdError, Tampered
from recoverd.inventory import Backup, HostSite, SecretRef
from recoverd.world import world
from tasks.hosts import script
from tasks.readiness import CONNECT_TIMEOUT_S, SCRIPT_TIMEOUT_S, offset
from tasks.restoring import Room, observe_room, server_of
from tasks.sets import Survey, survey
from tasks.together import together
from tasks.views import Facts

_SITE_TOOLS = ("find", "sha256sum", "base64", "sync")
_SOURCE_TOOLS = ("age", "zstd", "tar", "split", "curl", "ssh", "sha256sum")
_RESTORE_TOOLS = ("age", "zstd", "tar", "curl", "ssh", "sha256sum", "flock", "setpriv")
_RESTORE_PROGRAMS = ("postgres", "pg_ctl", "pg_controldata", "pg_verifybackup", "psql")


class KeeperNeeds(Facts):
    """What a host has of what the backup needs; `problem` is why it could not be asked.

    Attributes:
        clock_offset_s: By how much its clock is ahead of the controller's.
        version: Major version of PostgreSQL there; 0 where that is not asked, or not there.
    """

    host: str
    problem: str = ""
    hint: str = ""
    clock_offset_s: float = 0.0
    missing_tools: tuple[str, ...] = ()
    missing_programs: tuple[str, ...] = ()
    version: int = 0


class KeyDoubt(Facts):
    """What is wrong with a key of the backup."""

    key: str
    what: str
    hint: str


class BackupNeeds(Facts):
    """All of it.

    Attributes:
        room: On the drill host, for the newest set; None where there is no such host or set, or it does not answer.
    """

    survey: Survey
    hosts: tuple[KeeperNeeds, ...]
    doubts: tuple[KeyDoubt, ...]
    room: Room | None = None


def look_at_backup(service: str) -> BackupNeeds:
    """Look at everything that a backup and a restore of the service will need. Never raises for what does not answer."""
    backup = world().inventory.backup_of(service)
    calls: dict[str, Callable[[], Any]] = {"": partial(survey, service, read=False)}
    calls |= {host: partial(_keeper, service, host, backup) for host in keepers(service, backup)}
    found = together(calls)
    seen: Survey = found.pop("")
    newest = newest_whole(seen)
    return BackupNeeds(
        survey=seen,
        hosts=tuple(found.values()),
        doubts=tuple(_doubts(backup)),
        room=_room(service, backup, newest) if newest else None,
    )


def keepers(service: str, backup: Backup) -> list[str]:
    """The hosts that a backup is taken on, kept on or rehearsed on, each once."""
    hosts = [
        *world().inventory.hosts_behind(service),
        *(one.host for one in backup.sites if isinstance(one, HostSite)),
    ]
    return list(dict.fromkeys([*hosts, *([backup.restore.drill_host] if backup.restore.drill_host else [])]))


def newest_whole(seen: Survey) -> Manifest | None:
    """The newest set that is whole on some site, as far as a listing shows."""
    whole = {one.set for site in seen.sites for one in site.sets if one.health in {Health.GOOD, Health.LISTED}}
    return next((one for one in reversed(seen.manifests) if one.set in whole), None)


def _keeper(service: str, host: str, backup: Backup) -> KeeperNeeds:
    inventory = world().inventory
    member, drills = host in inventory.hosts_behind(service), host == backup.restore.drill_host
    bin_dir = "" if inventory.files_of(service) else server_of(service, host).bin_dir
    tools = [*_SITE_TOOLS, *(_SOURCE_TOOLS if member else ()), *(_RESTORE_TOOLS if drills else ())]
    given = {
        "PGDATA": "/", "TOOLS": " ".join(dict.fromkeys(tools)), "BIN": bin_dir,
        "PROGRAMS": " ".join(_RESTORE_PROGRAMS) if drills else "",
    }  # fmt: skip
    try:
        ssh = world().connections.ssh(host, timeout_s=CONNECT_TIMEOUT_S)
        ssh.run(":", timeout_s=SCRIPT_TIMEOUT_S)  # connected before the clock is read: its time is not the clock's
        before = time.time()
        done = ssh.run(script("keeper"), given, timeout_s=SCRIPT_TIMEOUT_S)
        after = time.time()
    except RecoverdError as error:
        return KeeperNeeds(host=host, problem=error.message, hint=error.hint)
    if done.code != 0:
        return KeeperNeeds(host=host, problem=f"the script failed: {done.err.strip()[-200:]}", hint=f"log in to {host}")
    facts = done.facts()
    return KeeperNeeds(
        host=host, clock_offset_s=offset(float(facts.get("now") or before), before, after),
        missing_tools=tuple(facts.get("missing_tools", "").split()),
        missing_programs=tuple(facts.get("missing_programs", "").split()), version=int(facts.get("version") or 0),
    )  # fmt: skip


def _room(service: str, backup: Backup, newest: Manifest) -> Room | None:
    if backup.restore.drill_host is None:
        return None
    try:
        return observe_room(service, backup.restore.drill_host, newest)
    except RecoverdError:
        return None  # the host itself is told of


def _doubts(backup: Backup) -> Iterator[KeyDoubt]:
    """Keys that do not fit each other; a secret that cannot be read is told of elsewhere."""
    signing, identity = _resolved(backup.signing_key), _resolved(backup.identity)
    try:
        verify(b"", sign(b"", signing) if signing else bytes(64), read_trusted_key(backup.trusted_key), "a probe")
    except Tampered:
        if signing:
            what = "the signing key is not the one that trusted_key belongs to: what it signs, nobody believes"
            yield KeyDoubt(key="signing_key", what=what, hint="openssl pkey -in SIGNING.pem -pubout >TRUSTED.pem")
    except RecoverdError as error:
        yield KeyDoubt(key="trusted_key", what=error.message, hint=error.hint)
    try:
        if identity and not opens(identity, backup.recipients):
            what = "the identity opens nothing that is encrypted to `recipients`: no restore from this machine"
            yield KeyDoubt(
                key="identity", what=what, hint="age-keygen -y IDENTITY shows what must stand in `recipients`"
            )
    except RecoverdError as error:
        yield KeyDoubt(key="identity", what=error.message, hint=error.hint)


def _resolved(secret: SecretRef | None) -> str:
    try:
        return secret.resolve() if secret else ""
    except RecoverdError:
        return ""
