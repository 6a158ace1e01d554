"""`recoverd approvals`, `approve` and `refuse`: what waits for a person, and their answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Limit, Output, Yes, the_inventory, the_journal
from gateway.cli.output import Format, confirmed, emit, emit_rows, note, write
from gateway.cli.reviewing import Run

if TYPE_CHECKING:
    from recoverd.journal import Answer, ApprovalRow, Journal

Comment = Annotated[str, typer.Option("--comment", "-c", help="Why: it stands in the record.")]
Plan = Annotated[
    str | None, typer.Option("--plan", metavar="HASH", help="Hash of the plan that you have seen, or its beginning.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("approvals")(approvals)
    app.command("approve")(approve)
    app.command("refuse")(refuse)


def approvals(
    every: Annotated[bool, typer.Option("--all", help="Also those that are answered or expired.")] = False,
    limit: Limit = 20,
    output: Output = Format.table,
) -> None:
    """List what waits for a person."""
    from recoverd.approvals import expire

    journal = the_journal()
    expire(journal)
    rows = journal.list_approvals(state=None if every else "waiting", limit=limit)
    columns = ("run", "state", "needs", "roles", "expires_at", "plan", "question")
    emit_rows([_data(row) for row in rows], columns, output, empty="nothing waits for approval")


def approve(
    run: Run, comment: Comment = "", plan: Plan = None, yes: Yes = False, output: Output = Format.table
) -> None:
    """Approve what a run asks for. It then goes on by itself. Nobody approves a run of their own."""
    _answer(run, "approve", comment, plan, yes, output)


def refuse(run: Run, comment: Comment = "", plan: Plan = None, yes: Yes = False, output: Output = Format.table) -> None:
    """Refuse what a run asks for. It then ends, and nothing more is changed by it."""
    _answer(run, "refuse", comment, plan, yes, output)


def _answer(run: str, answer: Answer, comment: str, plan: str | None, yes: bool, output: Format) -> None:
    from recoverd import person
    from recoverd.approvals import decide, expire
    from recoverd.errors import Refused

    journal, inventory = the_journal(), the_inventory()
    row = journal.get_run(run)
    expire(journal, row.id)
    gate = _waiting_gate(journal, row.id, plan)
    who = person.current(inventory)
    note(f"{row.procedure} of {row.target}, requested by {row.requester}: {row.reason}")
    note(f"asked: {gate.summary}")
    for key, value in _plan_of(journal, gate).items():
        note(f"  {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    note(f"plan {gate.plan_hash[:12]}")
    sure = yes or plan is not None
    if not confirmed(f"{answer.capitalize()} this as {who.name}?", yes=sure, doing=answer):
        raise Refused("nothing was answered", f"recoverd {answer} {row.id}")
    found = decide(journal, row.id, who, gate.plan_hash, answer, comment)
    given = f"{len(found.approvers)} of {found.required} approvals"
    emit(_data(found), output, lambda: write(f"{row.id} {found.state}, {given}"))
    if found.state == "approved":
        note(f"it goes on: recoverd show {row.id} --follow")


def _waiting_gate(journal: Journal, run: str, plan: str | None) -> ApprovalRow:
    """The one gate of the run that waits, for the plan that was named."""
    from recoverd.errors import Invalid, Stale

    waiting = journal.list_approvals(run=run, state="waiting")
    if not waiting:
        raise Invalid(f"run {run} waits for no approval", "recoverd approvals lists what waits")
    if plan is not None:
        waiting = [gate for gate in waiting if plan and gate.plan_hash.startswith(plan.lower())]
        if not waiting:
            raise Stale(f"the plan that run {run} waits for is another one", f"recoverd show {run}, then decide anew")
    if len(waiting) > 1:
        hashes = ", ".join(gate.plan_hash[:12] for gate in waiting)
        raise Invalid(f"run {run} waits for several approvals", f"name one with --plan: {hashes}")
    return waiting[0]


def _plan_of(journal: Journal, gate: ApprovalRow) -> dict[str, Any]:
    for entry in journal.entries(run=gate.run, kinds=["gate.requested"], step=gate.gate):
        if entry.body.get("plan_hash") == gate.plan_hash:
            return dict(entry.body.get("plan") or {})
    return {}


def _data(row: ApprovalRow) -> dict[str, Any]:
    return {
        "run": row.run,
        "gate": row.gate,
        "state": row.state,
        "question": row.summary,
        "needs": f"{len(row.approvers)}/{row.required}",
        "roles": list(row.roles),
        "requester": row.requester,
        "approvers": list(row.approvers),
        "requested_at": f"{row.requested_at:%Y-%m-%dT%H:%M:%SZ}",
        "expires_at": f"{row.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        "plan": row.plan_hash[:12],
        "plan_hash": row.plan_hash,
        "decisions": [
            {"person": one.person, "answer": one.answer, "comment": one.comment, "at": f"{one.at:%Y-%m-%dT%H:%M:%SZ}"}
            for one in row.decisions
        ],
    }
