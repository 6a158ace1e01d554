"""What is the matter with a service: a pure function over what was seen of it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import Enum

from flows.writers import sort_out
from recoverd.connections import Reach
from recoverd.step import decide
from tasks.views import CONTROLLER, Answer, Facts, HostView, ServerView, ServiceView

# Crash recovery writes at least one WAL page and a checkpoint; with less than this it ends in a panic, again and again.
FULL_DISK_BYTES = 1024 * 1024


class Verdict(str, Enum):
    """What a failover finds before it does anything."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"  # users are served, but something is missing
    DEAD = "dead"  # nobody reaches the primary, from no side
    UNWRITABLE = "unwritable"  # it answers, but takes no writes
    PARTITIONED = "partitioned"  # some reach it, some do not
    FAILED_OVER = "already failed over"
    SPLIT = "two primaries"
    UNKNOWN = "unknown"  # not enough was seen to say anything

    @property
    def calls_for_failover(self) -> bool:
        """Whether a failover is the answer to it."""
        return self in {Verdict.DEAD, Verdict.UNWRITABLE}


class Alarm(Facts):
    """What the alert that started a run claims.

    Attributes:
        starts_at: When the trouble began, as the sender says.
        instance: Host, address, or address with port, that the alert names as the one in trouble; empty if none.
        last_failover_at: When this service last failed over, as the journal has it.
        last_promoted: The host that was promoted last, as the journal has it; empty if none was.
        promoted_timeline: The timeline that this promotion led to; 0 if there was none.
    """

    starts_at: datetime | None = None
    instance: str = ""
    last_failover_at: datetime | None = None
    last_promoted: str = ""
    promoted_timeline: int = 0


class Diagnosis(Facts):
    """The verdict, with the primary it is about and the reasons for it.

    Attributes:
        primary: Host of the primary, or of the one that was it; empty when nothing tells.
        returned: Servers that take writes although users belong to another one: old primaries that came back.
        may_pass: A second look may say otherwise: a disk may be slow for a moment, a server may be restarting.
        hint: The next move by hand, where this case has one of its own.
    """

    verdict: Verdict
    primary: str
    reasons: tuple[str, ...]
    returned: tuple[str, ...] = ()
    may_pass: bool = False
    hint: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.verdict.value}: {'; '.join(self.reasons)}"


@decide("diagnose {moment}")
def diagnose(moment: str, view: ServiceView, alarm: Alarm) -> Diagnosis:
    """Judge what was seen; the answer is kept when the run is resumed."""
    return judge(view, alarm)


def judge(view: ServiceView, alarm: Alarm | None = None) -> Diagnosis:
    """Judge what was seen: dead only when every side that could look agrees."""
    claim = alarm or Alarm()
    writers = view.primaries
    if len(writers) > 1:
        return _two_primaries(view, claim)
    primary = writers[0] if writers else suspect(view, claim.last_promoted)
    if not primary:
        return Diagnosis(verdict=Verdict.UNKNOWN, primary="", reasons=("no member says who the primary is or was",))
    if writers and (stale := _stale_alarm(view, primary, claim)):
        return Diagnosis(verdict=Verdict.FAILED_OVER, primary=primary, reasons=(stale,))
    if not writers and (doubt := _promoted_since(view, primary, claim.last_promoted)):
        return _say(Verdict.UNKNOWN, primary, doubt)
    server = view.server(primary)
    found = _of_primary(view, server)
    passing = found.verdict is Verdict.UNWRITABLE or server.answer is Answer.STARTING or view.is_contradicted(primary)
    return found.model_copy(update={"may_pass": passing})


def suspect(view: ServiceView, last_promoted: str = "") -> str:
    """The member that is the primary although it does not answer; empty when nothing tells.

    Its own host knows best (a data directory that ran as a primary), unless the standbys stream from another member: a
    copy that is being made and a server that was never joined look so too. Then the standbys, by where they stream from;
    then the one member that is no standby. One that was fenced already, by a run that went no further, counts only
    while every other member is seen to be a standby: a silent one may have been promoted since.
    """
    own = [host for host in view.hosts if _claims_to_be_primary(view, host)]
    named = _upstream(view)
    if len(own) == 1 and (named in {"", own[0].host} or own[0].host == last_promoted):
        return own[0].host
    newest = max((server.timeline for server in view.servers if server.answer is Answer.YES), default=0)
    if named and not any(host.host != named and (host.running or host.timeline > newest) for host in own):
        return named
    others = [server.host for server in view.servers if not _is_standby(view, server.host)]
    return others[0] if len(others) == 1 and not own else ""


def _claims_to_be_primary(view: ServiceView, host: HostView) -> bool:
    """Whether a host's data would start as a primary of this service. A new member has a cluster of its own at first."""
    if host.answer is not Answer.YES or not host.startable or host.standby_signal or host.fenced:
        return False
    known = {server.system_identifier for server in view.servers if server.system_identifier}
    return not known or not host.system_identifier or host.system_identifier in known


def _promoted_since(view: ServiceView, primary: str, last: str) -> str:
    """Why the suspect may not be the primary: another member was promoted last, and nobody sees it as a standby now."""
    if last in {"", primary} or last not in view.addresses or _is_standby(view, last) or _is_fenced(view, last):
        return ""
    return (
        f"the standbys and hosts that answer point to {primary}, but {last} was promoted last and cannot be asked: "
        "it may be serving users"
    )


def _upstream(view: ServiceView) -> str:
    """The member that standbys are told to stream from and that is none itself; empty where there is none."""
    upstreams = Counter(server.upstream for server in view.servers if server.upstream)
    for address, _ in upstreams.most_common():
        named = [name for name, known in view.addresses.items() if known == address or name == address]
        if named and not _is_standby(view, named[0]) and not _is_fenced(view, named[0]):
            return named[0]
    return ""


def _is_standby(view: ServiceView, host: str) -> bool:
    server, seen = view.server(host), view.host(host)
    if server.answer is Answer.YES:
        return server.in_recovery
    return seen.answer is Answer.YES and seen.standby_signal and not seen.fenced


def _is_fenced(view: ServiceView, host: str) -> bool:
    return view.host(host).answer is Answer.YES and bool(view.host(host).fenced)


def _of_primary(view: ServiceView, server: ServerView) -> Diagnosis:
    primary = server.host
    sights = [sight for sight in view.sights_of(primary) if sight.reach is not Reach.UNKNOWN]
    see = [sight.vantage for sight in sights if sight.reach.alive]
    see_not = [f"{sight.vantage} ({sight.reach.value})" for sight in sights if not sight.reach.alive]
    if server.answer is Answer.YES and see_not:
        return _say(
            Verdict.PARTITIONED, primary, f"{primary} answers here, but is not reached from {', '.join(see_not)}"
        )
    if server.answer is Answer.YES:
        return _answering(view, server)
    free = view.host(primary).free_bytes
    if server.answer is Answer.STARTING and free is not None and free < FULL_DISK_BYTES:
        return _say(Verdict.UNWRITABLE, primary, f"{primary} cannot start again, its disk is full: {server.problem}")
    if server.answer is Answer.STARTING:
        return _say(Verdict.DEGRADED, primary, f"{primary} is starting or stopping: {server.problem}")
    if server.answer is Answer.REJECTED:
        return _say(Verdict.UNKNOWN, primary, f"{primary} is alive, but refuses recoverd: {server.problem}")
    if server.answer is Answer.STALLED and see and not view.host(primary).frozen:
        return _say(
            Verdict.UNWRITABLE, primary, f"{primary} accepts connections, but does not serve them: {server.problem}"
        )
    streaming = _still_streaming(view, primary)
    if see or streaming:
        where = [*see, *(f"the WAL receiver of {host}" for host in streaming)]
        gives = "gives no session" if CONTROLLER in see else "is not reached"
        said = f"{primary} {gives} from here ({server.problem}), but is reached from {', '.join(where)}"
        return _say(Verdict.PARTITIONED, primary, said)
    return _silent(view, primary, see_not)


def _answering(view: ServiceView, server: ServerView) -> Diagnosis:
    primary = server.host
    if server.writes in {Answer.STALLED, Answer.REJECTED}:
        return _say(Verdict.UNWRITABLE, primary, f"{primary} answers, but takes no writes: {server.problem}")
    missing = []
    if server.read_only:
        missing.append(f"{primary} has default_transaction_read_only on")
    elif server.writes is None and server.problem:
        missing.append(f"recoverd cannot prove that {primary} takes writes: {server.problem}")
    for other in view.servers:
        if other.host == primary:
            continue
        streams = other.answer is Answer.YES and other.receiver is not None and other.receiver.status == "streaming"
        if not streams:
            missing.append(f"{other.host} does not stream ({other.problem or other.answer.value})")
    if missing:
        takes = "" if server.read_only or (server.writes is None and server.problem) else " and takes writes"
        return _say(Verdict.DEGRADED, primary, f"{primary} answers from every side{takes}", *missing)
    return _say(Verdict.HEALTHY, primary, f"{primary} answers from every side and takes writes")


def _silent(view: ServiceView, primary: str, see_not: list[str]) -> Diagnosis:
    """Nobody hears the primary: dead, if enough sides could look at all."""
    lookers = {sight.vantage for sight in view.sights_of(primary) if sight.reach is not Reach.UNKNOWN}
    members = {server.host for server in view.servers}
    clients = {sight.vantage for sight in view.sights} - members - {"controller"}
    host = view.host(primary)
    process = ""
    if host.answer is Answer.YES:
        process = "its process is frozen" if host.frozen else "its process runs" if host.running else "no process runs"
    if not lookers & (members - {primary}):
        return _say(
            Verdict.UNKNOWN,
            primary,
            f"{primary} is silent here, and no standby's host could be asked whether it sees it",
        )
    if clients and not lookers & clients:
        return _say(
            Verdict.UNKNOWN,
            primary,
            f"{primary} is silent here, and no client's host could be asked whether it reaches it",
        )
    if host.answer is Answer.YES and host.running and not host.frozen and not host.fenced:
        return _say(
            Verdict.PARTITIONED,
            primary,
            f"no side reaches {primary}, but its host says that the server runs: a firewall?",
        )
    reasons = [f"{primary} is reached from no side: {', '.join(see_not)}"]
    reasons += [f"on {primary} {process}"] if process else [f"{primary} is silent over SSH: {host.problem}"]
    return _say(Verdict.DEAD, primary, *reasons)


def _still_streaming(view: ServiceView, primary: str) -> list[str]:
    """Standbys whose WAL receiver heard from that primary while it was looked at."""
    others = {name for host, address in view.addresses.items() if host != primary for name in (host, address)}
    return [
        server.host
        for server in view.servers
        # The primary may have another address for its standbys than for recoverd; those of other members cascade.
        if server.receiver is not None
        and server.receiver.status == "streaming"
        and server.receiver.heard
        and server.receiver.sender_host not in others
    ]


def _stale_alarm(view: ServiceView, primary: str, alarm: Alarm) -> str:
    """Why the alert is about the past, empty when it is not."""
    if alarm.starts_at and alarm.last_failover_at and alarm.starts_at < alarm.last_failover_at:
        return f"the alert began before the last failover of {view.service}, and {primary} is the primary since"
    named = alarm.instance.rpartition(":")[0] or alarm.instance
    hosts = [name for name, address in view.addresses.items() if named and named in {name, address}]
    if hosts and hosts[0] != primary:
        return f"the alert names {hosts[0]}, but {primary} is the primary"
    return ""


def _two_primaries(view: ServiceView, alarm: Alarm) -> Diagnosis:
    found = sort_out(view, alarm.last_promoted, alarm.promoted_timeline)
    return Diagnosis(
        verdict=Verdict.FAILED_OVER if found.returned else Verdict.SPLIT,
        primary=found.primary,
        reasons=(found.reason,),
        returned=found.returned,
        hint=found.hint,
    )


def _say(verdict: Verdict, primary: str, *reasons: str) -> Diagnosis:
    return Diagnosis(verdict=verdict, primary=primary, reasons=reasons)
