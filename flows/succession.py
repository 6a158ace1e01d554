"""Who takes over in a planned switchover: a pure function over what was seen."""

from __future__ import annotations

from flows.candidates import rank
from flows.returning import streams
from flows.verdict import judge
from recoverd.inventory import Policy, Service
from recoverd.step import decide
from tasks.views import Answer, Facts, ServiceView


class Succession(Facts):
    """Who hands over to whom; `refusal` says why not, and is empty when it may be done.

    Attributes:
        others: The other standbys that stream, and will follow.
    """

    old: str = ""
    new: str = ""
    others: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return self.refusal or f"{self.old} hands over to {self.new}; {', '.join(self.others) or 'nobody else'} follows"


@decide("choose the successor {moment}")
def choose_successor(moment: str, view: ServiceView, service: Service, policy: Policy, to: str) -> Succession:
    """Choose; the answer is kept when the run is resumed."""
    return succession(view, service, policy, to)


def succession(view: ServiceView, service: Service, policy: Policy, to: str = "") -> Succession:
    """The standby that is named, else the one of the highest priority; it must be well in every respect."""
    if len(view.primaries) != 1:
        return Succession(refusal=judge(view).summary)
    old = view.primaries[0]
    if to == old:
        return Succession(old=old, refusal=f"{old} is the primary already")
    server = view.server(old)
    if server.writes in {Answer.STALLED, Answer.REJECTED}:
        return Succession(old=old, refusal=f"{old} takes no writes ({server.problem}): that is a case for a failover")
    choice = rank(view, service, policy, old)
    able = sorted(choice.order, key=lambda one: (-one.priority, one.behind_bytes, one.host))
    reasons = [*choice.passed_over]
    for candidate in able:
        reason = "" if streams(view, candidate.host, old) else f"it does not stream from {old}"
        reason = reason or _behind(view, candidate.host, old, policy)
        if reason:
            reasons.append(f"{candidate.host}: {reason}")
        elif to in {"", candidate.host}:
            others = tuple(
                host for host in service.hosts if host not in {old, candidate.host} and streams(view, host, old)
            )
            return Succession(old=old, new=candidate.host, others=others)
    about = [reason for reason in reasons if not to or reason.startswith(f"{to}:")] or reasons
    return Succession(old=old, refusal=f"no standby can take over: {'; '.join(about) or 'there is none'}")


def _behind(view: ServiceView, host: str, old: str, policy: Policy) -> str:
    written, replayed = view.server(old).written_lsn, view.server(host).replayed_lsn
    if written is None or replayed is None:
        return "it is not known how far it has replayed"
    behind = written - replayed
    return f"it has {behind} bytes to replay, so users would wait" if behind > policy.max_lag_bytes else ""
