"""Undo: the steps of an earlier run are taken back, the latest first, where the world has not moved on since.

It refuses before it changes anything: a step that cannot be taken back, a later run that built on it, an effect that
is no longer there, a second primary that would come of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from flows.ending import prove_entry_points
from flows.fence import note_summary
from flows.going_on import told_to_promote
from flows.undoing import (
    HAVE_THEIR_OWN_WAY_BACK,
    KINDS,
    STANDS_ALONE,
    Undoing,
    UndoPlan,
    later_decides,
    read_backwards,
    revives_a_primary,
)
from recoverd.errors import Invalid, Refused, Stale, Unsafe
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.journal import Journal, RunRow
from recoverd.step import act_of
from recoverd.world import entered, world
from tasks.observation import observe_service
from tasks.views import Answer


@flow(name="undo", persist_result=False)
def undo(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Take the steps of an earlier run on the same service back.

    Args:
        target: Name of the service.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `run`: the id of the run to take back.
    """
    with execution("undo", target, run, reason, options):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    journal = here.journal or Journal.open()
    earlier = _earlier(journal, service)
    plan = read_backwards(journal.entries(run=earlier.id, kinds=KINDS), by=here.run.id)
    _refuse_unless_possible(journal, earlier, plan)
    _refuse_two_primaries(service, plan, told_to_promote(earlier.id, journal))
    open_steps = [step for step in plan.steps if not _taken_back(journal, earlier, step)]
    for step in open_steps:
        if not later_decides(plan, step):
            _refuse_if_moved_on(earlier, step)
    if here.run.mode == "ask":
        what = {"procedure": "undo", "run": earlier.id, "steps": [[step.act, step.arguments] for step in plan.steps]}
        gate("undo", what, f"take run {earlier.id} back: {plan.summary}")
    for step in open_steps:
        _take_back(journal, earlier, step)
    for host in _serving_again(service, plan):
        prove_entry_points(service, host)
    return _close(journal, earlier, plan)


def _earlier(journal: Journal, service: str) -> RunRow:
    here = world()
    wanted = str(here.run.options.get("run") or "")
    if not wanted:
        raise Invalid("undo needs the run to take back", "recoverd undo RUN --reason …; `recoverd runs` lists them")
    earlier = journal.get_run(wanted)
    if earlier.target != service:
        raise Invalid(
            f"run {earlier.id} was on {earlier.target}, not on {service}", f"use {earlier.target} as the target"
        )
    return earlier


def _refuse_unless_possible(journal: Journal, earlier: RunRow, plan: UndoPlan) -> None:
    if not earlier.ended:
        raise Refused(f"run {earlier.id} is {earlier.state}", f"cancel it first: recoverd show {earlier.id}")
    if earlier.state == "undone":
        raise Refused(f"run {earlier.id} has been undone already", f"recoverd show {earlier.id}")
    if earlier.procedure in HAVE_THEIR_OWN_WAY_BACK:
        way = HAVE_THEIR_OWN_WAY_BACK[earlier.procedure].format(target=earlier.target)
        raise Refused(f"an undo does not take a run of {earlier.procedure} back", way)
    if plan.final:
        raise Refused(f"run {earlier.id} {plan.summary.removeprefix('it ')}", _instead(earlier))
    if not plan.steps:
        raise Refused(f"run {earlier.id} has changed nothing that could be taken back", f"recoverd show {earlier.id}")
    if earlier.procedure in STANDS_ALONE:
        return
    for row in journal.list_runs(target=earlier.target):
        if row.seq > earlier.seq and row.id != world().run.id and _has_changed_something(journal, row):
            raise Stale(
                f"run {row.id} ({row.procedure}) came after {earlier.id}",
                f"take that one back first: recoverd undo {row.id} --reason …",
            )


def _instead(earlier: RunRow) -> str:
    """What a person does where a run cannot be undone."""
    if earlier.procedure in {"failover", "switchover"}:
        target = earlier.target
        return f"let the old primary follow (`recoverd run rejoin {target}`), then `recoverd run switchover {target}` to it"
    if earlier.procedure in {"fix-record", "takedown"}:
        return f"it is taken back by a second fix: recoverd run fix-record {earlier.target} --option undo={earlier.id}"
    return f"see what it did with `recoverd show {earlier.id}`"


def _has_changed_something(journal: Journal, row: RunRow) -> bool:
    if row.state == "undone":
        return False
    plan = read_backwards(journal.entries(run=row.id, kinds=KINDS))
    return bool(plan.steps or plan.final)


def _refuse_two_primaries(service: str, plan: UndoPlan, told: set[str]) -> None:
    """Also where a server was told to promote itself by a run that then ended: its promotion may have come true unseen."""
    revived = revives_a_primary(plan)
    if not revived:
        return
    view = observe_service(service)
    for host in sorted(told - set(revived)):
        server, seen = view.server(host), view.host(host)
        stands = server.answer is Answer.YES and server.in_recovery
        stopped = seen.answer is Answer.YES and not seen.running and not seen.processes and seen.standby_signal
        if not stands and not stopped and host not in view.primaries:
            raise Unsafe(
                f"{host} was told to promote itself and cannot be asked whether it has ({server.problem})",
                f"reach or fence {host} first; otherwise {', '.join(revived)} might be a second primary",
            )
    ends = {str(step.arguments.get("host")) for step in plan.steps if step.act == "tasks.handover:demote"}
    writers = [host for host in view.primaries if host not in revived and host not in ends]
    if writers:
        raise Unsafe(
            f"{', '.join(revived)} would be a primary again, and {', '.join(writers)} is one",
            f"use `recoverd run rejoin {service}`, then `recoverd run switchover {service}`",
        )


def _taken_back(journal: Journal, earlier: RunRow, step: Undoing) -> bool:
    return not step.half and journal.outcome(earlier.id, step.step) is None


def _refuse_if_moved_on(earlier: RunRow, step: Undoing) -> None:
    """The effect of the step must still be there, or be gone already, as if it had been taken back."""
    here = world()
    if act_of(step.act).ask(**step.arguments) is not None or _intended(step):
        return
    with entered(replace(here, run=earlier)):
        stands = not step.forward or act_of(step.forward).ask(**step.forward_arguments) is not None
    if not stands:
        raise Stale(
            f"the world has moved on: the effect of '{step.title}' is no longer there",
            f"take back by hand what is left of it: recoverd show {earlier.id}",
        )


def _intended(step: Undoing) -> bool:
    """Whether this run was interrupted while it took the step back: it is between the two states then."""
    here = world()
    if here.journal is None:
        return False
    name = step.act.partition(":")[2]
    intended = here.journal.entries(run=here.run.id, kinds=["step.intended"])
    return any((entry.step or "").startswith(f"{name}(") for entry in intended)


def _take_back(journal: Journal, earlier: RunRow, step: Undoing) -> None:
    here = world()
    outcome = act_of(step.act)(**step.arguments)
    if here.dry_run:
        return
    body = {"title": step.title, "summary": outcome.effect.summary, "by": here.run.id}
    journal.append("step.undone", who=here.run.requester, run=earlier.id, step=step.step, body=body)


def _serving_again(service: str, plan: UndoPlan) -> list[str]:
    """Servers that are primaries again, and whose users are to be served."""
    view = observe_service(service) if revives_a_primary(plan) else None
    return [host for host in revives_a_primary(plan) if view and host in view.primaries]


def _close(journal: Journal, earlier: RunRow, plan: UndoPlan) -> str:
    here = world()
    summary = f"run {earlier.id} ({earlier.procedure}) was taken back: {len(plan.steps)} steps"
    if plan.left:
        summary += f"; left as they are: {'; '.join(plan.left)}"
    if not here.dry_run and journal.get_run(earlier.id).state != "undone":
        journal.set_run(earlier.id, "undone", who=here.run.requester, body={"by": here.run.id})
    note_summary(summary)
    return summary
