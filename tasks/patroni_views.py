"""What Patroni says of a cluster, as frozen facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.views import Facts

LEADERS = frozenset({"leader", "master", "primary", "standby_leader"})
SYNCHRONOUS = frozenset({"sync_standby", "quorum_standby"})


class PatroniMember(Facts):
    """A member as Patroni sees it.

    Attributes:
        host: Its host in the inventory; Patroni's own name where the inventory does not know it.
        name: What Patroni calls it.
        role: `leader`, `replica`, `sync_standby`, …
        state: `running`, `streaming`, `stopped`, …
        lag_bytes: How far it is behind; None where Patroni does not know.
        no_failover: The tag `nofailover` says so; where it is not given, a failover priority of 0.
    """

    host: str
    name: str
    role: str
    state: str
    timeline: int = 0
    lag_bytes: int | None = None
    no_failover: bool = False


class PatroniView(Facts):
    """A cluster as Patroni sees it.

    Attributes:
        asked: The host whose Patroni said so.
        silent: Hosts whose Patroni said nothing.
        leader: Host that holds the leader lock; empty when nobody does.
        paused: Maintenance mode: Patroni neither fails over, nor stops a leader that has lost its lock.
        ttl_s: For how long a leader that is not heard of keeps the lock.
        synchronous_mode: Commits wait for synchronous standbys, which are the only ones that Patroni promotes by itself.
        failsafe: Failsafe mode is on: without its DCS the leader goes on while all members answer it.
    """

    asked: str
    scope: str
    leader: str
    members: tuple[PatroniMember, ...]
    silent: tuple[str, ...] = ()
    paused: bool = False
    ttl_s: int = 30
    loop_wait_s: int = 10
    retry_timeout_s: int = 10
    synchronous_mode: bool = False
    failsafe: bool = False

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [f"{self.leader or 'nobody'} holds the lock of {self.scope} (ttl {self.ttl_s} s)"]
        words += [f"{one.host} {one.role} {one.state}" for one in self.members if one.host != self.leader]
        if self.paused:
            words.append("PAUSED: maintenance mode")
        if self.silent:
            words.append(f"no answer from Patroni on {', '.join(self.silent)}")
        return "; ".join(words)

    def name_of(self, host: str) -> str:
        """What Patroni calls the member on a host."""
        return next((member.name for member in self.members if member.host == host), host)

    def may_lead(self, host: str) -> bool:
        """Whether Patroni would take that member for a leader: it runs, and no tag forbids it."""
        return any(
            member.host == host and not member.no_failover and member.state in {"running", "streaming"}
            for member in self.members
        )

    @property
    def synchronous(self) -> tuple[str, ...]:
        """Hosts that have confirmed every commit."""
        return tuple(member.host for member in self.members if member.role in SYNCHRONOUS)


class Leader(Facts):
    """Who leads, proven by SQL.

    Attributes:
        host: The leader that Patroni names; empty when there is none.
        writes: A write was committed there.
        seconds: How long it was waited for.
        problem: Why not.
    """

    host: str
    writes: bool
    timeline: int = 0
    seconds: float = 0.0
    problem: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        took = f" after {self.seconds:.1f} s" if self.seconds else ""
        if self.writes:
            return f"{self.host} leads and takes writes on timeline {self.timeline}{took}"
        return f"{self.host or 'nobody'} leads, and nobody takes writes{took}: {self.problem}"


def read_view(
    asked: str, cluster: Mapping[str, Any], settings: Mapping[str, Any], hosts: Mapping[str, str]
) -> PatroniView:
    """Read GET /cluster and GET /config.

    Args:
        asked: The host that answered.
        cluster: The one answer.
        settings: The other; empty when there was none.
        hosts: Names of the inventory's hosts by address.
    """
    members = tuple(_member(found, hosts) for found in cluster.get("members", ()))
    leader = next((member.host for member in members if member.role in LEADERS), "")
    return PatroniView(
        asked=asked,
        scope=str(cluster.get("scope") or "the cluster"),
        leader=leader,
        members=members,
        paused=bool(cluster.get("pause")),
        ttl_s=int(settings.get("ttl") or 30),
        loop_wait_s=int(settings.get("loop_wait") or 10),
        retry_timeout_s=int(settings.get("retry_timeout") or 10),
        synchronous_mode=str(settings.get("synchronous_mode")).lower() in {"true", "on", "yes", "1", "quorum"},
        failsafe=bool(settings.get("failsafe_mode")),
    )


def _member(found: Mapping[str, Any], hosts: Mapping[str, str]) -> PatroniMember:
    name, tags, lag = str(found["name"]), found.get("tags") or {}, found.get("lag")
    priority = tags.get("failover_priority", 1)
    by_name = name if name in hosts.values() else None
    return PatroniMember(
        host=hosts.get(str(found.get("host"))) or by_name or name,
        name=name,
        role=str(found.get("role", "")),
        state=str(found.get("state", "")),
        timeline=int(found.get("timeline") or 0),
        lag_bytes=lag if isinstance(lag, int) else None,
        no_failover=bool(tags.get("nofailover", int(priority) <= 0)),
    )
