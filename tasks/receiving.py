"""The receiver of a service's WAL: a job in the background of a site's host that is none of the service's servers.

It stores what comes, encrypted, on that host's own site, and notes each file. See tasks/scripts/receive.sh.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from psycopg2.extensions import make_dsn
from pydantic import ValidationError

from recoverd.backup.archive import Entry
from recoverd.backup.wal import Switch, parse_history
from recoverd.connections import Completed
from recoverd.errors import Invalid, Refused
from recoverd.inventory import HostSite, Inventory
from recoverd.world import world
from tasks.hosts import run_on
from tasks.replication import passline

APPLICATION = "recoverd_wal"
_TIMEOUT_S = 30.0
_LONGEST_LIST_S = 120.0


@dataclass(frozen=True)
class Cluster:
    """What a receiver must know of a cluster.

    Attributes:
        system_identifier: No other cluster's WAL is taken.
        segment_bytes: Size of a segment.
    """

    system_identifier: str
    segment_bytes: int


@dataclass
class Receiver:
    """The receiver, as its host tells it.

    Attributes:
        running: The job is there.
        current: It was begun with the settings of today.
        receiving: It is connected to a server, or about to be.
        problem: Why it does not get on; empty when it does.
        removed: The server does not have the WAL any more that comes next.
        fresh: All that has come is stored.
        growing: The segment that grows, as far as it is stored.
        entries: Files that were noted since the last look, the oldest first.
        seen: How many notes were seen; those after that are to be asked for again.
        notes: The list that they are counted in; another one after it was cut.
        histories: The ancestors of the timelines that it has followed.
        plain_bytes: What waits in memory.
    """

    running: bool = False
    current: bool = False
    receiving: bool = False
    problem: str = ""
    removed: bool = False
    fresh: bool = False
    growing: Entry | None = None
    entries: list[Entry] = field(default_factory=list)
    seen: int = 0
    notes: str = ""
    histories: dict[int, tuple[Switch, ...]] = field(default_factory=dict)
    plain_bytes: int = 0


def wal_scope(service: str) -> str:
    """The name under which hosts keep the epoch of whoever keeps a service's WAL coming."""
    return f"{service}.wal"


def receiving_site(service: str) -> HostSite:
    """The site whose host receives. Raises Refused where there is none."""
    return receiving_site_of(world().inventory, service)


def receiving_site_of(inventory: Inventory, service: str) -> HostSite:
    """The same, of an inventory. Raises Refused."""
    backup, members = inventory.backup_of(service), inventory.service(service).hosts
    if not backup.wal.enabled:
        raise Refused(f"the backup of {service} has no continuous WAL", "see `wal` in backups.yaml")
    for site in backup.sites:
        if isinstance(site, HostSite) and site.name == (backup.wal.receiver or site.name) and site.host not in members:
            return site
    raise Refused(
        f"no site of {service} is on a host that could receive its WAL",
        "one that is none of its servers must; name it in `wal.receiver`",
    )


def look_at_receiver(service: str, cluster: Cluster | None, seen: int = 0, signed: str = "") -> Receiver:
    """How it is; of its notes, those after the first `seen`. `signed`: the list, and how many of its notes may be forgotten."""
    done = _run(service, "state", {"SEEN": str(seen), "SIGNED": signed}, limit_s=_LONGEST_LIST_S)
    facts = done.facts()
    lines = [line.removeprefix("entry=") for line in done.out.splitlines() if line.startswith("entry=")]
    return Receiver(
        running="running" in facts,
        current=cluster is None or facts.get("config") == _settings(service, cluster)["CONFIG"],
        receiving="receiving" in facts,
        problem=facts.get("problem", ""),
        removed="removed" in facts,
        fresh="fresh" in facts,
        growing=_entry(facts["growing"]) if "growing" in facts else None,
        entries=[entry for entry in map(_entry, lines) if entry is not None],
        seen=int(facts.get("seen") or 0),
        notes=facts.get("list", ""),
        histories=_histories(
            line.removeprefix("history=") for line in done.out.splitlines() if line.startswith("history=")
        ),
        plain_bytes=int(facts.get("plain_kb") or 0) * 1024,
    )


def begin_receiving(service: str, cluster: Cluster, *, after: str, known: bool) -> None:
    """Start it, or let it be where it runs. One with other settings than today's is ended first.

    Args:
        service: The service.
        cluster: What is received.
        after: The newest segment that a site has; where the receiver's own has less, it goes on after that.
        known: The index speaks of WAL, so that the site's directory of it must be there.

    Raises:
        Look: A tool is missing on the host, its /dev/shm is no memory, or its site is not mounted.
    """
    if not look_at_receiver(service, cluster).current:
        _run(service, "stop", {"KEEP": "1"})
    wanted = world().inventory.service(service).postgresql
    password = wanted.replication_password.resolve() if wanted.replication_password else ""
    line = passline(wanted.replication_user, password) if password else ""
    more = {"AFTER": after, "KNOWN": "1" if known else ""}
    _run(service, "begin", {"PASSLINE": line, **more, **_settings(service, cluster)})


def pin(service: str) -> Entry | None:
    """Have the growing segment, as it is stored now, stay until the next call, so that other sites can be given it."""
    facts = _run(service, "pin").facts()
    return _entry(facts["pinned"]) if "pinned" in facts else None


def skip_to(service: str, before: str) -> None:
    """Go on after a segment, leaving a hole, for the server does not have what is between."""
    _run(service, "skip", {"SEGMENT": before})


def kick(service: str) -> None:
    """Let it connect anew."""
    _run(service, "kick")


def stop_receiving(service: str, site: HostSite) -> None:
    """End it on a site's host, wherever it should be. What waits in its memory is lost; what is on the site stays."""
    _run(service, "stop", site=site)


def _settings(service: str, cluster: Cluster) -> dict[str, str]:
    here = world()
    wanted, backup = here.inventory.service(service), here.inventory.backup_of(service)
    members = [(here.inventory.host(host).address, str(wanted.postgres_of(host).port)) for host in wanted.hosts]
    source = make_dsn(
        host=",".join(address for address, _ in members), port=",".join(port for _, port in members),
        user=wanted.postgresql.replication_user, application_name=APPLICATION, connect_timeout=5,
        sslmode=wanted.postgresql.sslmode, target_session_attrs="read-write", keepalives_idle=5, keepalives_interval=3,
        keepalives_count=3, tcp_user_timeout=15000,
    )  # fmt: skip
    given = {
        "SOURCE": str(source),
        "SYSTEM": cluster.system_identifier,
        "SEGMENT_BYTES": str(cluster.segment_bytes),
        "RECIPIENTS": "\n".join(backup.recipients),
        "LEVEL": str(backup.compression),
        "FLUSH_S": f"{backup.wal.flush_s:g}",
        "MOST_KB": str(max(backup.wal.most_memory_bytes, 3 * cluster.segment_bytes) // 1024),
        **_place(service),
    }
    return {**given, "CONFIG": hashlib.sha256("\0".join(given.values()).encode()).hexdigest()[:16]}


def _place(service: str, site: HostSite | None = None) -> dict[str, str]:
    return {
        "NAME": service,
        "SITE": (site or receiving_site(service)).path,
        "BIN": world().inventory.service(service).postgresql.bin_dir,
    }


def _run(
    service: str,
    verb: str,
    variables: Mapping[str, str] | None = None,
    *,
    limit_s: float = _TIMEOUT_S,
    site: HostSite | None = None,
) -> Completed:
    there = site or receiving_site(service)
    given = {
        "SERVICE": wal_scope(service),
        "SEEN": "0",
        "SIGNED": "",
        "KEEP": "",
        **_place(service, there),
        "VERB": verb,
    }
    given.update(variables or {})
    return run_on("wal_follow+wal_store+receive", there.host, given, timeout_s=limit_s)


def _histories(lines: Iterable[str]) -> dict[int, tuple[Switch, ...]]:
    found = {}
    for line in lines:
        name, _, content = line.partition(" ")
        try:
            found[int(name.removesuffix(".history"), 16)] = parse_history(base64.b64decode(content).decode())
        except (ValueError, Invalid):
            continue
    return found


def _entry(line: str) -> Entry | None:
    """A note of the receiver; None for a line that a full disk has cut."""
    try:
        name, end, size, sha256, md5, first, last = line.split("\t")
        return Entry(
            name=name, partial_end=int(end), size=int(size), sha256=sha256, md5=md5,
            first_at=datetime.fromtimestamp(float(first), timezone.utc),
            last_at=datetime.fromtimestamp(float(last), timezone.utc),
        )  # fmt: skip
    except (ValueError, ValidationError):
        return None
