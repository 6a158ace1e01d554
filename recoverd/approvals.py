"""The one door for approvals: command line, pages and chat all come through here, and every answer is journaled first.

An approval is for one plan, named by its hash: when the plan changes, the approval does not hold for the new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import update

from recoverd import policy
from recoverd.errors import Invalid, Stale
from recoverd.journal import Answer, ApprovalDecision, ApprovalRow, ApprovalState, Journal, RunRow, Transaction
from recoverd.journal.entries import instant_text
from recoverd.journal.tables import approvals
from recoverd.person import Actor
from recoverd.redact import redact

WHO = "recoverd"
MAX_COMMENT_CHARS = 2000


def request(
    journal: Journal,
    *,
    run: str,
    gate: str,
    plan_hash: str,
    summary: str,
    required: int,
    roles: Sequence[str],
    expires_at: datetime,
    plan: Mapping[str, Any] | None = None,
) -> ApprovalRow:
    """Ask for `required` people to approve the plan with this hash. Asking again gives back what there is.

    A gate of the same name that waits for another plan is closed: its plan is no longer what would be done.

    Args:
        journal: Where it is written.
        run: Full id of the run that waits.
        gate: Name of the gate within the procedure.
        plan_hash: SHA-256 of the plan.
        summary: The question, for the person who decides.
        required: How many different people must approve.
        roles: One of these is needed to decide; empty: any role that may approve.
        expires_at: When an unanswered gate ends.
        plan: What would be done, for the journal.
    """
    with journal.transaction() as tx:
        known = tx.get_approval(run, gate, plan_hash)
        if known is not None:
            return known
        for old in tx.list_approvals(run=run, gate=gate, state="waiting"):
            _close(tx, old, "expired", {"why": "the plan has changed", "by_plan": plan_hash})
        row = {
            "run": run,
            "gate": gate,
            "plan_hash": plan_hash,
            "state": "waiting",
            "summary": redact(summary),
            "required": max(1, required),
            "roles": list(roles),
            "requester": tx.get_run(run).requester,
            "requested_at": tx.now(),
            "expires_at": expires_at,
            "decisions": [],
        }
        facts = {key: row[key] for key in ("gate", "plan_hash", "summary", "required", "roles", "expires_at")}
        entry = tx.append("gate.requested", who=WHO, run=run, step=gate, body={**facts, "plan": plan or {}})
        tx.connection.execute(approvals.insert().values(**row, seq=entry.seq))
        return _found(tx, run, gate, plan_hash)


def decide(journal: Journal, run: str, person: Actor, plan_hash: str, answer: Answer, comment: str = "") -> ApprovalRow:
    """Write down a person's answer. Enough approvals open the gate, one refusal closes it.

    Args:
        journal: Where it is written.
        run: The run's id, or a part of it that fits one run only.
        person: Who answers.
        plan_hash: The plan that they have seen.
        answer: approve or refuse.
        comment: Why.

    Raises:
        NotAllowed: They have no right to, or asked for the run themselves.
        Stale: The gate has been answered, has expired, or the plan is another one by now.
        Invalid: The run waits for nothing.
    """
    if answer not in ("approve", "refuse"):
        raise Invalid(f"{answer!r} is no answer to a gate", "approve or refuse")
    row = journal.get_run(run)
    expire(journal, row.id)
    with journal.transaction() as tx:
        gate = _open_gate(tx, row, plan_hash)
        policy.check_approver(person.name, person.roles, person.rights, gate.roles, row.requester, answer)
        if any(given.person == person.name and given.answer == answer for given in gate.decisions):
            return gate
        decision = ApprovalDecision(person.name, answer, redact(comment)[:MAX_COMMENT_CHARS], tx.now())
        return _record(tx, gate, decision, person)


def status(journal: Journal, run: str, gate: str, plan_hash: str) -> ApprovalRow | None:
    """The gate as it stands, `.state` being waiting, approved, refused or expired; None when it was never asked for."""
    row = journal.get_approval(run, gate, plan_hash)
    if row is None or row.state != "waiting" or row.expires_at > journal.now():
        return row
    expire(journal, run)
    return journal.get_approval(run, gate, plan_hash)


def expire(journal: Journal, run: str | None = None) -> int:
    """End the waiting gates (of one run, or all) whose time is over; how many there were."""
    now = journal.now()
    if not any(row.expires_at <= now for row in journal.list_approvals(run=run, state="waiting")):
        return 0
    with journal.transaction() as tx:
        over = [row for row in tx.list_approvals(run=run, state="waiting") if row.expires_at <= tx.now()]
        for row in over:
            _close(tx, row, "expired", {"why": "nobody answered in time", "approved_by": list(row.approvers)})
        return len(over)


def _open_gate(tx: Transaction, row: RunRow, plan_hash: str) -> ApprovalRow:
    gates = tx.list_approvals(run=row.id)
    if not gates:
        raise Invalid(f"run {row.id} waits for no approval", "recoverd approvals lists what waits")
    same = [gate for gate in gates if gate.plan_hash == plan_hash]
    if not same:
        raise Stale(f"the plan of run {row.id} is not the one that was shown", f"recoverd show {row.id}, then decide")
    gate = next((gate for gate in same if gate.state == "waiting"), same[0])
    if gate.state != "waiting":
        raise Stale(f"'{gate.gate}' of run {row.id} is {gate.state} already", f"recoverd show {row.id}")
    if row.ended:
        raise Stale(f"run {row.id} has already {row.state}", f"recoverd show {row.id}")
    return gate


def _record(tx: Transaction, gate: ApprovalRow, decision: ApprovalDecision, person: Actor) -> ApprovalRow:
    approvers = {*gate.approvers, person.name} if decision.answer == "approve" else set(gate.approvers)
    body = {
        "gate": gate.gate,
        "plan_hash": gate.plan_hash,
        "comment": decision.comment,
        "roles": sorted(person.roles),
        "known_by": person.by,
        "approvals": len(approvers),
        "required": gate.required,
    }
    kind = "gate.approved" if decision.answer == "approve" else "gate.refused"
    tx.append(kind, who=person.name, run=gate.run, step=gate.gate, body=body)
    state: ApprovalState = "waiting" if len(approvers) < gate.required else "approved"
    _store(tx, gate, "refused" if decision.answer == "refuse" else state, (*gate.decisions, decision))
    return _found(tx, gate.run, gate.gate, gate.plan_hash)


def _close(tx: Transaction, gate: ApprovalRow, state: ApprovalState, why: Mapping[str, Any]) -> None:
    body = {"gate": gate.gate, "plan_hash": gate.plan_hash, **why}
    tx.append(f"gate.{state}", who=WHO, run=gate.run, step=gate.gate, body=body)
    _store(tx, gate, state, gate.decisions)


def _store(tx: Transaction, gate: ApprovalRow, state: ApprovalState, given: Sequence[ApprovalDecision]) -> None:
    decisions = [{**asdict(one), "at": instant_text(one.at)} for one in given]
    tx.connection.execute(
        update(approvals)
        .where(approvals.c.run == gate.run, approvals.c.gate == gate.gate, approvals.c.plan_hash == gate.plan_hash)
        .values(state=state, decisions=decisions, ended_at=None if state == "waiting" else tx.now())
    )


def _found(tx: Transaction, run: str, gate: str, plan_hash: str) -> ApprovalRow:
    row = tx.get_approval(run, gate, plan_hash)
    if row is None:
        raise Invalid(f"run {run} has no gate {gate!r} for this plan")
    return row
