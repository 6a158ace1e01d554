"""Which standby becomes the primary: a pure function over what was seen and what the inventory says."""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from flows.possible_loss import loss_of, names_in_force, only_elsewhere
from recoverd.inventory import Policy, Service
from recoverd.step import decide
from tasks.views import Answer, Facts, ServerView, ServiceView, lsn_to_text


class Candidate(Facts):
    """A standby that may be promoted.

    Attributes:
        received_lsn: The newest WAL position that it holds.
        behind_bytes: How far that is behind the newest position that anyone is known to have held.
        only_on: On whom alone commits may be that were acknowledged under synchronous replication.
        dropped: By standby: bytes of WAL that it holds and this one does not.
    """

    host: str
    priority: int
    timeline: int
    received_lsn: int
    behind_bytes: int
    only_on: tuple[str, ...] = ()
    dropped: dict[str, int] = Field(default_factory=dict)


class Choice(Facts):
    """The standbys in the order in which they are tried, and why others are not.

    Attributes:
        newest_lsn: The newest WAL position that is known of, of the primary or of any standby.
        warnings: What may be lost or is not known.
        synchronous: The synchronous_standby_names that the last commits waited for; None where it was not asked.
    """

    order: tuple[Candidate, ...]
    passed_over: tuple[str, ...]
    newest_lsn: int
    warnings: tuple[str, ...] = ()
    synchronous: tuple[str, ...] | None = None

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.order:
            return f"no standby can be promoted: {'; '.join(self.passed_over)}"
        first = self.order[0]
        rest = f", then {', '.join(other.host for other in self.order[1:])}" if len(self.order) > 1 else ""
        words = f"{first.host} holds WAL up to {lsn_to_text(first.received_lsn)} on timeline {first.timeline}{rest}"
        return "; ".join([words, *self.passed_over, *self.warnings])


@decide("choose the standby {moment}")
def choose(
    moment: str,
    view: ServiceView,
    service: Service,
    policy: Policy,
    old_primary: str,
    synchronous: tuple[str, ...] | None = None,
) -> Choice:
    """Rank the standbys; the answer is kept when the run is resumed."""
    return rank(view, service, policy, old_primary, synchronous)


def rank(
    view: ServiceView,
    service: Service,
    policy: Policy,
    old_primary: str,
    synchronous: tuple[str, ...] | None = None,
) -> Choice:
    """Most WAL on the newest timeline first, then priority, then name; those that may not or cannot are left out.

    Args:
        view: What was seen.
        service: The members.
        policy: The lag bound.
        old_primary: The member that is to be replaced.
        synchronous: What its last commits waited for, as it was found before the primary was fenced; else seen here.
    """
    standbys = [server for server in view.servers if server.host != old_primary]
    cluster = _cluster(view, standbys, old_primary)
    timeline = max(
        (server.timeline for server in standbys if _is_standby(server) and _is_of(server, cluster)), default=0
    )
    newest = _newest(view, [one for one in standbys if one.timeline == timeline and _is_of(one, cluster)], old_primary)
    names = names_in_force(view, old_primary) if synchronous is None else synchronous
    strangers = {server.host for server in standbys if not _is_of(server, cluster)}
    candidates, passed_over = [], []
    for server in standbys:
        reason = f"its data is of another cluster ({server.system_identifier})" if server.host in strangers else ""
        reason = reason or _why_not(view, server, service, policy, timeline, newest)
        if reason:
            passed_over.append(f"{server.host}: {reason}")
            continue
        only_on = only_elsewhere(server, standbys, strangers, names, old_primary)
        dropped = _dropped(server, [one for one in standbys if one.host not in strangers])
        candidates.append(_candidate(server, service, newest, only_on, dropped))
    candidates.sort(key=lambda one: (-one.received_lsn, -one.priority, one.host))
    return Choice(
        order=tuple(candidates),
        passed_over=tuple(passed_over),
        newest_lsn=newest,
        warnings=_warnings(candidates[0], names) if candidates else (),
        synchronous=names,
    )


def _why_not(
    view: ServiceView, server: ServerView, service: Service, policy: Policy, timeline: int, newest: int
) -> str:
    """Why this standby may not be promoted; empty when it may."""
    if server.answer is not Answer.YES:
        return server.problem or f"it does not answer ({server.answer.value})"
    if not server.in_recovery:
        return "it is a primary already"
    host = view.host(server.host)
    if host.answer is not Answer.YES:
        return f"its host cannot be asked over SSH ({host.problem})"
    if service.member(server.host).no_failover:
        return "the inventory says no_failover"
    if server.received_lsn is None:
        return "it holds no WAL"
    if server.timeline != timeline:
        return f"it is on timeline {server.timeline}, the others on {timeline}"
    if (behind := newest - server.received_lsn) > policy.max_lag_bytes:
        return f"it is {behind} bytes behind, more than the {policy.max_lag_bytes} that the policy allows"
    if host.free_bytes is not None and host.free_bytes < _ROOM_BYTES:
        return f"its disk is full ({host.free_bytes // 1024} KiB free)"
    return ""


# A new primary writes a checkpoint and a timeline history at once, and its first WAL segment soon after.
_ROOM_BYTES = 32 * 1024 * 1024


def _cluster(view: ServiceView, standbys: list[ServerView], old_primary: str) -> str:
    """The service's system identifier: that of the primary that answers, else that of most; empty where nothing tells."""
    if old_primary and view.server(old_primary).system_identifier:
        return view.server(old_primary).system_identifier
    votes = [server.system_identifier for server in standbys if _is_standby(server)]
    votes += [view.host(old_primary).system_identifier] if old_primary else []
    first, second = [*Counter(vote for vote in votes if vote).most_common(2), ("", 0), ("", 0)][:2]
    return first[0] if first[1] > second[1] else "" if not first[0] else "not known which"


def _is_of(server: ServerView, cluster: str) -> bool:
    return not cluster or not server.system_identifier or server.system_identifier == cluster


def _newest(view: ServiceView, standbys: list[ServerView], old_primary: str) -> int:
    known = [server.received_lsn for server in standbys if server.received_lsn is not None]
    known += [
        server.receiver.latest_end_lsn
        for server in standbys
        if server.receiver is not None and server.receiver.latest_end_lsn is not None
    ]
    if old_primary:
        written = view.server(old_primary).written_lsn
        known += [written] if written is not None else []
    return max(known, default=0)


def _dropped(candidate: ServerView, standbys: list[ServerView]) -> dict[str, int]:
    """WAL that the others hold beyond this one; they cannot follow it before that is taken away."""
    alike = [server for server in standbys if _is_standby(server) and server.timeline == candidate.timeline]
    more = {server.host: (server.received_lsn or 0) - (candidate.received_lsn or 0) for server in alike}
    return {host: size for host, size in more.items() if size > 0}


def _candidate(
    server: ServerView, service: Service, newest: int, only_on: tuple[str, ...], dropped: dict[str, int]
) -> Candidate:
    received = server.received_lsn or 0
    return Candidate(
        host=server.host,
        priority=service.member(server.host).priority,
        timeline=server.timeline,
        received_lsn=received,
        behind_bytes=newest - received,
        only_on=only_on,
        dropped=dropped,
    )


def _warnings(first: Candidate, names: tuple[str, ...]) -> tuple[str, ...]:
    words = [f"{loss_of(first.only_on)}: {' and '.join(names)}"] if first.only_on else []
    words += [
        f"{host} holds {size} bytes of WAL that {first.host} does not have, and is not promoted: they leave the service"
        for host, size in first.dropped.items()
    ]
    return tuple(words)


def _is_standby(server: ServerView) -> bool:
    return server.answer is Answer.YES and server.in_recovery
