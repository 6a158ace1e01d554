"""Switchover: the primary's role goes to a standby as planned, and not one commit is lost.

    observe → choose → (approval) → slots, checkpoint → out of service and stopped → nothing is missing → promote
    → lead users there → prove → the others follow → the old one follows → prove

All that can be done before users wait is done before. Until the promotion, a failure leads back to the old primary.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from prefect import flow

from flows.ending import check_end, prove_entry_points
from flows.fence import fence_primary, note_summary
from flows.going_on import has_begun, refuse_another_primary
from flows.rejoin import drop_old_slots
from flows.succession import Succession, choose_successor
from flows.turned import TurnedBack, turn_back, turned_back
from flows.undoing import has_taken_back, note_taken_back
from recoverd.errors import Look, RecoverdError, Refused, Stale, TryAgain, Unproven, Unsafe
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.world import world
from tasks.epochs import note_epochs
from tasks.handover import check_handover, demote, reinstate
from tasks.observation import observe_service
from tasks.postgres import promote
from tasks.proof import WriteProof
from tasks.replication import follow
from tasks.standby import checkpoint, configure_standby, drop_slot, make_slot, start_standby
from tasks.traffic import lead_users_away, lead_users_to
from tasks.views import ServiceView


@flow(name="switchover", persist_result=False)
def switchover(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Hand the primary's role over to a standby.

    Args:
        target: Name of the service.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `to`: the host that takes over (default: the best).
    """
    with execution("switchover", target, run, reason, options):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    view = observe_service(service)
    plan = _choose("at the start", service, view)
    if here.run.mode == "ask":
        gate(
            "switchover",
            {"procedure": "switchover", "service": service, "from": plan.old, "to": plan.new},
            plan.summary,
        )
        if not has_begun() and (now := _choose("after the approval", service, observe_service(service))) != plan:
            raise Stale(f"{service} is not as it was when this was approved: {now.summary}", "start it again")
    note_epochs(service)
    if view.patroni:
        from flows.patroni import switch_over_by_patroni

        return switch_over_by_patroni(service, plan.new)
    refuse_another_primary(service, view, plan.old)
    if (turned := turned_back()) is not None:
        _finish_going_back(service, plan, turned)
    if not has_begun("demote("):  # resumed after that, there is nothing to prepare, and the old one may be stopped
        _prepare(service, plan)
    trouble = _take_out(service, plan)
    if trouble:
        _go_back(service, plan, trouble)
    _promote(service, plan)
    return _serve_users(service, plan)


def _choose(moment: str, service: str, view: ServiceView) -> Succession:
    here = world()
    wanted = here.inventory.service(service)
    to = str(here.run.options.get("to") or "")
    if to:
        wanted.member(to)
    found = choose_successor(moment, view, wanted, here.policy, to)
    if found.refusal:
        raise Refused(f"{service} is not switched over: {found.refusal}", "mend that first; see `recoverd check`")
    return found


def _prepare(service: str, plan: Succession) -> None:
    """Everything that can be done while users are still served."""
    if world().service.postgresql.slots:
        for host in (plan.old, *plan.others):
            make_slot(service, host, plan.new)
    try:
        checkpoint(service, plan.old)
    except Unproven as error:  # it writes faster than it checkpoints: the stop will take longer, and that is all
        world().say(error.message)


def _take_out(service: str, plan: Succession) -> str:
    """Stop the old primary and prove that nothing is missing; gives the trouble, empty when there was none."""
    here = world()
    if has_begun("promote("):
        return _taken_out_before(service, plan)
    try:
        for entry in here.service.entry_points:
            if entry.kind != "virtual-address":  # that one goes within `demote`, which saves time that users wait
                lead_users_away(here.service.model_copy(update={"entry_points": (entry,)}), plan.old)
        demote(service, plan.old)
        check_handover(service, plan.old, plan.new)
    except Stale:
        raise
    except RecoverdError as error:
        return error.message
    return ""


def _taken_out_before(service: str, plan: Succession) -> str:
    """Resumed after the promotion was meant: it was proven before that, but not that nobody has started the old one since.

    Once the new one is the primary, the old one may run as its standby.
    """
    here = world()
    if here.journal is not None and here.journal.outcome(here.run.id, f"promote({service},{plan.new})") is not None:
        return ""
    writers = observe_service(service).primaries
    if plan.old in writers and plan.new in writers:
        raise Unsafe(
            f"{plan.old} and {plan.new} both take writes", f"stop {plan.old} at once, unless users write there"
        )
    if plan.new in writers:
        return ""
    try:
        check_handover(service, plan.old, plan.new)
    except Look as error:
        return error.message
    return ""


def _promote(service: str, plan: Succession) -> None:
    """A promotion that fails may still come true later, so the candidate is fenced before anyone else writes."""
    try:
        promote(service, plan.new)
    except Stale:
        raise
    except RecoverdError as error:
        _go_back(service, plan, f"{plan.new} was not promoted and is fenced: {error.message}")


def _finish_going_back(service: str, plan: Succession, turned: TurnedBack) -> None:
    """A resumed run that had turned back only finishes that. Where it had finished, it touches nothing."""
    if has_taken_back("demote(") or has_taken_back("reinstate("):
        raise Stale(
            f"this run has turned back to {plan.old} already: {turned.reason}",
            f"to try again, start a new one: `recoverd run switchover {service} --reason …`",
        )
    _go_back(service, plan, turned.reason)


def _go_back(service: str, plan: Succession, trouble: str) -> None:
    """Make the old primary serve again, and end as failed, saying what was undone."""
    here = world()
    turn_back(TurnedBack(reason=trouble))
    if has_begun("promote("):  # it may come true behind our back
        fence_primary(service, plan.new, observe_service(service))
    reinstate(service, plan.old)
    lead_users_to(here.service, plan.old)
    prove_entry_points(service, plan.old)
    for host in (plan.old, *plan.others):
        try:
            drop_slot(service, host, plan.new)
        except (TryAgain, Look) as error:
            here.say(f"the slot for {host} on {plan.new} stays: {error.message}")
    note_taken_back(f"turned back by itself: {trouble}")
    raise Look(
        f"{service} was not switched over: {trouble}; {plan.old} is the primary again and serves users",
        f"see the log of {plan.new}, then start it again",
    )


def _serve_users(service: str, plan: Succession) -> str:
    here = world()
    if plan.others and observe_names(service, plan.new):  # commits wait for a standby: nobody can write without one
        _let_follow(service, plan)
    lead_users_to(here.service, plan.new)
    proofs = prove_entry_points(service, plan.new)
    _let_follow(service, plan)
    configure_standby(service, plan.old, plan.new)
    start_standby(service, plan.old, plan.new)
    drop_old_slots(service, plan.old)
    if here.dry_run:
        return f"{service} would be switched over from {plan.old} to {plan.new}"
    ending = check_end(service, plan.new, (plan.old, *plan.others))
    summary = f"{service} was switched over from {plan.old} to {plan.new}{_interruption(proofs)}; {ending.summary}"
    note_summary(summary)
    return summary


def observe_names(service: str, host: str) -> str:
    """synchronous_standby_names of a server; empty in a dry run."""
    here = world()
    if here.dry_run:
        return ""
    session = here.connections.sql(here.service, host, timeout_s=5.0)
    return str(session.value("select current_setting('synchronous_standby_names')", timeout_s=5.0) or "")


def _let_follow(service: str, plan: Succession) -> None:
    for host in plan.others:
        try:
            follow(service, host, plan.new)
        except (TryAgain, Look) as error:
            world().say(f"{host} does not follow {plan.new}: {error.message}")


def _interruption(proofs: tuple[WriteProof, ...]) -> str:
    """How long users may have waited: from the intention to stop the old primary to the first proven write."""
    here = world()
    if here.journal is None or not proofs:
        return ""
    began: list[datetime] = [
        entry.at
        for entry in here.journal.entries(run=here.run.id, kinds=["step.intended"])
        if (entry.step or "").startswith("demote(")
    ]
    if not began:
        return ""
    seconds = (min(proof.committed_at for proof in proofs) - began[-1]).total_seconds()
    return f", writes were interrupted for {seconds:.2f} s at most"
