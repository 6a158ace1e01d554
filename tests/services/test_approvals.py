"""Nobody opens a gate alone, late, twice, without the right, or for another plan."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from recoverd import approvals
from recoverd.errors import Invalid, NotAllowed, Stale
from recoverd.journal import ApprovalRow, Journal, RunRow
from recoverd.person import Actor

PLAN = "a" * 64
RIGHTS = frozenset({"approve"})
ALICE, BOB, CAROL = (Actor(name, frozenset({"dba"}), RIGHTS, known=True) for name in ("alice", "bob", "carol"))
GUEST = Actor("guest", frozenset({"reader"}))


@pytest.fixture
def run(journal: Journal) -> RunRow:
    with journal.transaction() as tx:
        row = tx.create_run("failover", "orders", trigger="hand", requester="alice", reason="x", mode="ask")
        tx.set_run(row.id, "running", who="test")
    return row


def ask(
    journal: Journal,
    run: RunRow,
    *,
    plan: str = PLAN,
    required: int = 1,
    roles: tuple[str, ...] = (),
    expiry_s: float = 60,
) -> ApprovalRow:
    return approvals.request(
        journal,
        run=run.id,
        gate="promote",
        plan_hash=plan,
        summary="promote db-2?",
        required=required,
        roles=roles,
        expires_at=journal.now() + timedelta(seconds=expiry_s),
        plan={"candidate": "db-2"},
    )


def state(journal: Journal, run: RunRow, plan: str = PLAN) -> str | None:
    row = approvals.status(journal, run.id, "promote", plan)
    return row and row.state


def test_another_person_opens_the_gate(journal: Journal, run: RunRow) -> None:
    assert state(journal, run) is None
    ask(journal, run)
    assert state(journal, run) == "waiting"
    row = approvals.decide(journal, run.id, BOB, PLAN, "approve", "looks right")
    assert (row.state, row.approvers) == ("approved", ("bob",))
    assert state(journal, run) == "approved"
    entry = next(journal.entries(run=run.id, kinds=["gate.approved"]))
    assert (entry.who, entry.body["plan_hash"], entry.body["comment"]) == ("bob", PLAN, "looks right")


def test_the_requester_may_not_approve_but_may_withdraw(journal: Journal, run: RunRow) -> None:
    ask(journal, run)
    before = journal.anchor()
    with pytest.raises(NotAllowed, match="cannot approve it"):
        approvals.decide(journal, run.id, ALICE, PLAN, "approve")
    assert journal.anchor() == before
    assert approvals.decide(journal, run.id, ALICE, PLAN, "refuse").state == "refused"


def test_two_are_needed_and_one_who_answers_twice_counts_once(journal: Journal, run: RunRow) -> None:
    ask(journal, run, required=2)
    assert approvals.decide(journal, run.id, BOB, PLAN, "approve").state == "waiting"
    assert approvals.decide(journal, run.id, BOB, PLAN, "approve").state == "waiting"
    assert len(list(journal.entries(kinds=["gate.approved"]))) == 1
    assert approvals.decide(journal, run.id, CAROL, PLAN, "approve").state == "approved"


def test_one_refusal_closes_the_gate(journal: Journal, run: RunRow) -> None:
    ask(journal, run, required=2)
    approvals.decide(journal, run.id, BOB, PLAN, "approve")
    assert approvals.decide(journal, run.id, BOB, PLAN, "refuse", "I was wrong").state == "refused"
    with pytest.raises(Stale, match="refused already"):
        approvals.decide(journal, run.id, CAROL, PLAN, "approve")


@pytest.mark.parametrize(
    ("person", "roles", "allowed"),
    [
        (BOB, (), True),
        (BOB, ("dba",), True),
        (BOB, ("leader",), False),
        (GUEST, (), False),
        (GUEST, ("reader",), True),
        (Actor("stranger"), (), False),
        (Actor("stranger"), ("dba",), False),
    ],
)
def test_roles_come_from_the_policy(journal: Journal, run: RunRow, person: Actor, roles, allowed: bool) -> None:
    ask(journal, run, roles=roles)
    if allowed:
        assert approvals.decide(journal, run.id, person, PLAN, "approve").state == "approved"
    else:
        for answer in ("approve", "refuse"):
            with pytest.raises(NotAllowed):
                approvals.decide(journal, run.id, person, PLAN, answer)
        assert state(journal, run) == "waiting"


def test_an_approval_is_for_one_plan(journal: Journal, run: RunRow) -> None:
    ask(journal, run)
    with pytest.raises(Stale, match="not the one that was shown"):
        approvals.decide(journal, run.id, BOB, "b" * 64, "approve")
    ask(journal, run, plan="b" * 64)
    assert state(journal, run) == "expired"
    with pytest.raises(Stale, match="expired already"):
        approvals.decide(journal, run.id, BOB, PLAN, "approve")
    assert approvals.decide(journal, run.id, BOB, "b" * 64, "approve").state == "approved"


def test_asking_again_changes_nothing(journal: Journal, run: RunRow) -> None:
    first = ask(journal, run)
    assert ask(journal, run, required=5) == first
    assert len(list(journal.entries(kinds=["gate.requested"]))) == 1


def test_an_unanswered_gate_expires_once(journal: Journal, run: RunRow) -> None:
    ask(journal, run, expiry_s=-1)
    assert state(journal, run) == "expired"
    assert state(journal, run) == "expired"
    with pytest.raises(Stale, match="expired already"):
        approvals.decide(journal, run.id, BOB, PLAN, "approve")
    assert [entry.kind for entry in journal.entries(run=run.id)][-2:] == ["gate.requested", "gate.expired"]


def test_a_run_that_asks_for_nothing_or_is_over_cannot_be_approved(journal: Journal, run: RunRow) -> None:
    with pytest.raises(Invalid, match="waits for no approval"):
        approvals.decide(journal, run.id, BOB, PLAN, "approve")
    ask(journal, run)
    journal.set_run(run.id, "cancelled", who="alice")
    with pytest.raises(Stale, match="already cancelled"):
        approvals.decide(journal, run.id, BOB, PLAN, "approve")


def test_approvals_at_the_same_instant_are_all_counted(journal: Journal, run: RunRow) -> None:
    ask(journal, run, required=4)
    start = threading.Barrier(4)

    def answer(name: str) -> None:
        start.wait(5)
        approvals.decide(journal, run.id, Actor(name, frozenset(), RIGHTS, known=True), PLAN, "approve")

    threads = [threading.Thread(target=answer, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    row = approvals.status(journal, run.id, "promote", PLAN)
    assert row is not None
    assert (row.state, len(row.approvers)) == ("approved", 4)
