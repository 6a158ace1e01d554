"""Failover: the standby becomes the primary, after the old one has been fenced.

    observe → diagnose → (approval) → fence → choose → promote → lead users there → prove → re-point → account

Rule 1 of the house stands over all of it: fence first, then promote; no fence, no promotion, unless a person with the
right approves it.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from prefect import flow

from flows.accounting import account
from flows.candidates import Candidate, Choice, choose
from flows.ending import check_end, prove_entry_points
from flows.fence import fence_primary, fence_returned
from flows.going_on import has_begun, refuse_another_primary, refuse_if_past
from flows.history import alarm_of, half_promoted, last_failover
from flows.possible_loss import ask_for_loss, asks_for_loss, loss_of
from flows.verdict import Diagnosis, Verdict, diagnose
from recoverd.errors import NotNow, Refused, Stale
from recoverd.execution import execution
from recoverd.gate import gate, plan_hash
from recoverd.world import world
from tasks.epochs import noting_epochs
from tasks.observation import observe_service, observe_settled, observe_standbys
from tasks.postgres import promote
from tasks.replication import follow, needed_synchronous, observe_confirming, relax_synchronous
from tasks.traffic import lead_users_to
from tasks.views import Answer, ServiceView


@flow(name="failover", persist_result=False)
def failover(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Fail a service over to its best standby.

    Args:
        target: Name of the service.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `starts_at`, `instance` (of the alert), `override_cooldown` (by hand, with a reason).
    """
    with execution("failover", target, run, reason, options):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through, with acts that only say what they would do."""
    here = world()
    alarm = alarm_of(service)  # read while the first look goes on
    view = observe_service(service)
    diagnosis = diagnose("at the start", view, alarm)
    if diagnosis.returned:
        summary = fence_returned(service, diagnosis)
        return _follow_patroni(service, diagnosis, observe_service(service)) or summary if view.patroni else summary
    if diagnosis.may_pass:
        view = observe_settled(service)
        diagnosis = diagnose("once more", view, alarm_of(service))
    if view.patroni and (done := _follow_patroni(service, diagnosis, view)) is not None:
        return done
    _refuse_unless_needed(service, diagnosis)
    if not view.patroni:  # there the leader may have moved by itself, and the rest is still to be done
        refuse_if_past(service, diagnosis, view)
    _refuse_in_cooldown(service)
    if view.patroni:
        from flows.patroni import fail_over_by_patroni

        return fail_over_by_patroni(service, diagnosis)
    first = _choose("before the fence", service, view, diagnosis)
    best = first.order[0]
    # Asked before anything is touched, and with the question of the mode, so that nobody is asked twice.
    if asks_for_loss(service, best.host, best.only_on) or here.run.mode == "ask":
        plan = plan_of(service, diagnosis, first)
        words = [diagnosis.summary, loss_of(best.only_on)] if best.only_on else [diagnosis.summary]
        gate("failover", plan, f"fail {service} over from {diagnosis.primary} to {best.host}: {'; '.join(words)}")
        _refuse_if_moved_on(service, plan, best)
    with noting_epochs(service, view, diagnosis.primary) as noted:
        fenced = fence_primary(service, diagnosis.primary, view) is not None
        for host in half_promoted(service, view, diagnosis.primary):
            fence_primary(service, host, view)
        view = noted()
    without = diagnosis.primary if fenced else ""
    new = _promote_best(service, diagnosis, view, first, without)
    return _serve_users(service, diagnosis, new, without)


def plan_of(service: str, diagnosis: Diagnosis, choice: Choice) -> dict[str, Any]:
    """What an approval binds to: what would be done, without numbers that change by themselves."""
    plan = {
        "procedure": "failover",
        "service": service,
        "fence": diagnosis.primary,
        "promote": [candidate.host for candidate in choice.order],
        "entry points": [entry.name for entry in world().service.entry_points],
    }
    lost = choice.order[0].only_on
    return plan | {"may lose what only these hold": list(lost)} if lost else plan


def _follow_patroni(service: str, diagnosis: Diagnosis, view: ServiceView) -> str | None:
    """Where Patroni was quicker, lead users to its new leader; None where there is nothing to follow."""
    from flows.patroni import follow_patroni

    return None if diagnosis.verdict.calls_for_failover else follow_patroni(service, diagnosis, view)


_MAY_CHANGE = {Verdict.PARTITIONED, Verdict.UNKNOWN}
"""Nothing is known against the alert: what is seen only from some sides now may be plain from all of them soon."""


def _refuse_unless_needed(service: str, diagnosis: Diagnosis) -> None:
    if diagnosis.verdict.calls_for_failover:
        return
    hints = {
        Verdict.HEALTHY: f"nothing was touched; for a planned change use `recoverd run switchover {service}`",
        Verdict.DEGRADED: "users are served; mend what is missing, see `recoverd check`",
        Verdict.PARTITIONED: "nothing was touched: mend the network, or stop the primary by hand and run it again",
        Verdict.FAILED_OVER: "nothing was touched; the alert is about the past",
        Verdict.UNKNOWN: "give recoverd more eyes (SSH to the standbys and clients), or follow `recoverd runbook failover`",
    }
    refuse = NotNow if diagnosis.verdict in _MAY_CHANGE else Refused
    hint = diagnosis.hint or hints[diagnosis.verdict]
    refusal = refuse(f"{service} is not failed over: {diagnosis.summary}", hint)
    here = world()
    if not here.dry_run or not diagnosis.primary:
        raise refusal
    here.foresee("stop", "refuse", "stop here, were it not a plan", refusal.message)


def _refuse_in_cooldown(service: str) -> None:
    here, last = world(), last_failover(service, ("failover",))  # a planned switchover is no sign of flapping
    if last is None or here.run.options.get("override_cooldown"):
        return
    until = last + timedelta(seconds=here.policy.cooldown_s)
    if datetime.now(timezone.utc) < until and not has_begun():
        raise NotNow(
            f"{service} failed over at {last:%H:%M:%S} UTC, and not again before {until:%H:%M:%S}: it may be flapping",
            f"find out why it failed twice; then `recoverd run failover {service} --override-cooldown --reason …`",
        )


def _choose(
    moment: str, service: str, view: ServiceView, diagnosis: Diagnosis, synchronous: tuple[str, ...] | None = None
) -> Choice:
    here = world()
    choice = choose(moment, view, here.inventory.service(service), here.policy, diagnosis.primary, synchronous)
    if not choice.order:
        raise NotNow(
            f"{service} has no standby to promote: {'; '.join(choice.passed_over)}",
            f"bring a standby back (`recoverd run rejoin {service}`), or restore {service} from its backup (restore)",
        )
    return choice


def _refuse_if_moved_on(service: str, approved: dict[str, Any], best: Candidate) -> None:
    """An approval may come an hour later: look again, and stop unless the same would be done.

    Where only the loss was asked for, any candidate will do with which no more may be lost than was agreed to.
    """
    view = observe_service(service)
    diagnosis = diagnose("after the approval", view, alarm_of(service))
    _refuse_unless_needed(service, diagnosis)
    choice = _choose("after the approval", service, view, diagnosis)
    if world().run.mode != "ask" and set(choice.order[0].only_on) <= set(best.only_on):
        return
    now = plan_of(service, diagnosis, choice)
    if plan_hash(now) != plan_hash(approved):
        raise Stale(
            f"{service} is not as it was when the failover was approved: now it would promote {', '.join(now['promote'])}",
            "start it again, and have that approved",
        )


def _promote_best(
    service: str,
    diagnosis: Diagnosis,
    seen: ServiceView,
    first: Choice,
    without: str,
    moment: str = "after the fence",
    accepted: tuple[str, ...] = (),
) -> Candidate:
    """Promote the best standby as it is now, after the fence: it may have received more since the first look.

    A candidate that fails in the middle of it may still become a primary later, so it is fenced before the next is
    tried. One with which more may be lost than was `accepted`, besides what was agreed to for the first choice, is
    asked for; what people took their time for may have changed meanwhile, so the choice is made anew then.
    """
    from recoverd.errors import RecoverdError

    view = observe_standbys(service, seen, without)
    refuse_another_primary(service, view, diagnosis.primary)
    choice = _choose(moment, service, view, diagnosis, first.synchronous)
    for host in view.hosts:  # told by somebody else: it would become a second primary as soon as it comes to it
        if host.promoting and host.host not in {choice.order[0].host, diagnosis.primary}:
            fence_primary(service, host.host, view)
    agreed = (*first.order[0].only_on, *accepted)
    for number, candidate in enumerate(choice.order, start=1):
        if asks_for_loss(service, candidate.host, candidate.only_on, agreed):
            ask_for_loss(service, candidate.host, candidate.only_on)
            again, more = f"after the consent to {candidate.host}", (*accepted, *candidate.only_on)
            return _promote_best(service, diagnosis, seen, first, without, again, more)
        try:
            promote(service, candidate.host)
        except Stale:
            raise
        except RecoverdError as error:
            if number == len(choice.order):
                raise
            world().say(f"{candidate.host} was not promoted: {error.message}")
            fence_primary(service, candidate.host, observe_service(service))
        else:
            return candidate
    raise AssertionError("unreachable: the last candidate returns or raises")


def _serve_users(service: str, diagnosis: Diagnosis, promoted: Candidate, without: str) -> str:
    """Lead users to the new primary, prove it, re-point the rest, and account."""
    here, new = world(), promoted.host
    wanted = here.inventory.service(service)
    lead_users_to(wanted, new)
    view = observe_service(service, without)
    others = [
        server.host
        for server in view.servers
        if server.host not in {new, diagnosis.primary} and server.answer is Answer.YES and server.in_recovery
    ]
    names = view.server(new).synchronous_standby_names
    if names and len(others) < needed_synchronous(names) and here.policy.relax_synchronous:
        relax_synchronous(service, new)
        names = ""
    if names:  # commits wait for a standby: without one, nobody can write, and nothing can be proven
        _re_point(service, others, new)
        if here.policy.relax_synchronous and not here.dry_run and not observe_confirming(service, new).enough:
            relax_synchronous(service, new)
    proofs = prove_entry_points(service, new)
    if not names:
        _re_point(service, others, new)
    if here.dry_run:
        return f"would fail {service} over from {diagnosis.primary} to {new}"
    ending = check_end(service, new, tuple(others))
    return account(service, diagnosis, new, proofs, ending, promoted.dropped).summary


def _re_point(service: str, others: list[str], new: str) -> None:
    """Let the other standbys follow. One that cannot does not undo what users have got back: it is reported."""
    from recoverd.errors import Look, TryAgain

    for host in others:
        try:
            follow(service, host, new)
        except (TryAgain, Look) as error:
            world().say(f"{host} does not follow {new}: {error.message}")
