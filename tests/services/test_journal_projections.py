"""Runs, alerts and what the runner asks: true in the same instant as their entries."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from itertools import product

import pytest

from recoverd.errors import Invalid, Stale
from recoverd.journal import TRANSITIONS, Journal, RunRow


def new_run(journal: Journal, target: str = "orders", urgency: int = 0, procedure: str = "failover") -> RunRow:
    with journal.transaction() as tx:
        return tx.create_run(
            procedure, target, trigger="hand", requester="alice", reason="test", options={"n": 1}, urgency=urgency
        )


def test_a_run_and_its_request_are_written_together(journal: Journal) -> None:
    row = new_run(journal)
    (entry,) = journal.entries(run=row.id)
    assert (entry.kind, entry.who, entry.seq) == ("run.requested", "alice", row.seq)
    assert entry.body["options"] == row.options == {"n": 1}
    assert journal.get_run(row.id) == row
    assert row.state == "requested"


def test_a_failing_transaction_leaves_neither_row_nor_entry(journal: Journal) -> None:
    def broken() -> None:
        with journal.transaction() as tx:
            tx.create_run("failover", "orders", trigger="hand", requester="alice", reason="test")
            tx.append("step.done", who="x")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        broken()
    assert journal.list_runs() == []
    assert list(journal.entries()) == []
    assert journal.verify().ok


def test_a_run_is_found_by_either_end_of_its_id_when_only_one_fits(journal: Journal) -> None:
    row = new_run(journal)
    assert journal.get_run(row.id[-4:]) == row
    assert journal.get_run(row.id[:8]) == row
    new_run(journal)
    with pytest.raises(Invalid, match="fits several"):
        journal.get_run(row.id[:8])
    for unknown in ("nothing", "", "%"):
        with pytest.raises(Invalid):
            journal.get_run(unknown)


def test_run_ids_sort_by_time_and_are_safe_in_addresses(journal: Journal) -> None:
    row = new_run(journal)
    assert row.id.startswith(f"fa-{row.created_at:%Y%m%d-%H%M}-")
    assert len(row.id) == 21
    assert row.id.replace("-", "").isalnum()


def test_only_the_drawn_transitions_are_possible(journal: Journal) -> None:
    for old, new in product(TRANSITIONS, repeat=2):
        row = new_run(journal)
        for state in way_to(old):
            journal.set_run(row.id, state, who="test")
        before = journal.anchor()
        if new in TRANSITIONS[old]:
            assert journal.set_run(row.id, new, who="test", expected=old).state == new
            assert journal.anchor().seq == before.seq + 1
        else:
            with pytest.raises(Stale, match=f"is {old} and cannot become {new}"):
                journal.set_run(row.id, new, who="test")
            assert journal.anchor() == before


def way_to(state: str) -> list[str]:
    return {
        "requested": [],
        "running": ["running"],
        "undone": ["running", "succeeded", "undone"],
        "succeeded": ["running", "succeeded"],
    }.get(state, [state])


def test_a_run_is_taken_over_only_by_who_says_that_it_runs(journal: Journal) -> None:
    row = new_run(journal)
    journal.set_run(row.id, "running", who="a", executor="one:1")
    with pytest.raises(Stale, match="already running on one:1"):
        journal.set_run(row.id, "running", who="b", executor="two:2")
    assert journal.set_run(row.id, "running", who="b", executor="two:2", expected="running").executor == "two:2"
    assert [entry.kind for entry in journal.entries(run=row.id)] == ["run.requested", "run.started", "run.resumed"]


def test_a_requested_run_is_claimed_once(journal: Journal) -> None:
    row = new_run(journal)
    with journal.transaction() as tx:
        assert tx.claim_run(row.id, who="runner", executor="one:1") is not None
    with journal.transaction() as tx:
        assert tx.claim_run(row.id, who="runner", executor="two:2") is None
    assert journal.get_run(row.id).executor == "one:1"


def test_a_run_keeps_its_first_start_and_gets_its_end(journal: Journal) -> None:
    row = new_run(journal)
    started = journal.set_run(row.id, "running", who="a").started_at
    assert started is not None
    queued = journal.set_run(row.id, "requested", who="a")
    assert queued.executor is None
    again = journal.set_run(row.id, "running", who="a")
    assert again.started_at == started
    ended = journal.set_run(row.id, "succeeded", who="a", summary="writes go to db-2")
    assert ended.ended
    assert ended.ended_at is not None
    assert ended.ended_at >= started
    assert ended.summary == "writes go to db-2"


def test_waiting_runs_come_most_urgent_first_then_oldest(journal: Journal) -> None:
    slow, first, second = new_run(journal), new_run(journal, urgency=9), new_run(journal, urgency=9)
    assert [row.id for row in journal.pending_runs()] == [first.id, second.id, slow.id]
    journal.set_run(first.id, "cancelled", who="alice")
    assert [row.id for row in journal.pending_runs()] == [second.id, slow.id]


def test_runs_are_listed_by_filter_newest_first(journal: Journal) -> None:
    one, two, three = new_run(journal), new_run(journal, "billing"), new_run(journal, procedure="rejoin")
    assert [row.id for row in journal.list_runs()] == [three.id, two.id, one.id]
    assert [row.id for row in journal.list_runs(target="orders", procedure="failover")] == [one.id]
    assert [row.id for row in journal.list_runs(limit=1)] == [three.id]
    assert journal.list_runs(states=["running"]) == []


def test_an_outcome_stands_until_it_is_undone_and_the_first_decision_stays(journal: Journal) -> None:
    assert journal.outcome("r", "fence") is None
    for kind, body in (("decided", {"by": 1}), ("decided", {"by": 2}), ("intended", {"n": 1}), ("done", {"n": 2})):
        journal.append(f"step.{kind}", who="x", run="r", step="fence", body=body)
    assert journal.decision("r", "fence") == {"by": 1}
    assert journal.intention("r", "fence") == {"n": 1}
    assert journal.outcome("r", "fence") == {"n": 2}
    assert journal.outcome("other", "fence") is None
    journal.append("step.undone", who="x", run="r", step="fence")
    assert journal.outcome("r", "fence") is None


def test_the_first_of_two_equal_alerts_wins_and_the_others_are_counted(journal: Journal) -> None:
    def receive() -> bool:
        with journal.transaction() as tx:
            row, is_new = tx.receive_alert(
                "am:f1:t1:firing",
                source="alertmanager",
                name="PostgresDown",
                status="firing",
                starts_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
                body={"labels": {"a": "b"}},
            )
            if is_new:
                run = tx.create_run(
                    "failover", "orders", trigger="alert", requester="alertmanager", reason="down", alert=row.key
                )
                tx.settle_alert(row.key, "started", who="recoverd", reason="route 1", run=run.id)
            return is_new

    assert [receive() for _ in range(3)] == [True, False, False]
    (alert,) = journal.list_alerts()
    assert (alert.count, alert.outcome, alert.body) == (3, "started", {"labels": {"a": "b"}})
    assert [row.id for row in journal.list_runs(alert=alert.key)] == [alert.run]
    kinds = [entry.kind for entry in journal.entries()]
    assert kinds == ["alert.received", "run.requested", "alert.accepted", "alert.duplicate", "alert.duplicate"]


def test_a_body_that_nobody_understands_is_kept(journal: Journal) -> None:
    with journal.transaction() as tx:
        row = tx.quarantine("alertmanager", 'zero \0 and half a \ud83d character, password="hunter2"', "not JSON")
    assert journal.list_quarantine() == [row]
    assert "hunter2" not in row.body
    assert next(journal.entries()).kind == "alert.quarantined"


def test_whatever_comes_in_is_written_and_still_verifies(journal: Journal) -> None:
    odd = {"\ud800": "\udcff", "nul": "\0", "emoji": "🗄", "float": 0.1, "big": 2**70, "nested": [{"a": [None, True]}]}
    journal.append("step.done", who="\0\ud800", run="\0", step="🗄", body=odd)
    assert journal.verify().ok
    entry = next(journal.entries())
    assert entry.body["nul"] == "\0"
    assert entry.body["big"] == 2**70


def test_pages_of_entries_leave_none_out(journal: Journal) -> None:
    with journal.transaction() as tx:
        for number in range(1203):
            tx.append("step.done", who="x", run=str(number % 2), body={})
    assert [e.seq for e in journal.entries()] == list(range(1, 1204))
    assert [e.seq for e in journal.entries(after=1200)] == [1201, 1202, 1203]
    assert len(list(journal.entries(run="1", limit=550))) == 550
    assert list(journal.entries(kinds=["step.failed"])) == []


def test_a_change_by_another_process_is_noticed_and_silence_is_not(journal: Journal, journal_address: str) -> None:
    other = Journal.open(journal_address)
    marker = journal.marker()
    assert not journal.changed_since(marker)
    other.append("step.done", who="other")
    assert journal.changed_since(marker)
    marker = journal.marker()
    journal.append("step.done", who="me")
    assert journal.changed_since(marker)
    assert not journal.wait_for_change(journal.marker(), timeout_s=0.05, poll_s=0.01)
    other.close()


def test_the_clock_of_the_journal_is_near_this_one(journal: Journal) -> None:
    assert abs((journal.now() - datetime.now(timezone.utc)).total_seconds()) < 5
    with journal.transaction() as tx:
        first = tx.now()
        time.sleep(0.001)
        assert tx.now() > first


def test_a_transaction_inside_a_transaction_is_a_mistake_that_is_said(journal: Journal) -> None:
    with journal.transaction(), pytest.raises(RuntimeError, match="hand its tx on"):
        journal.append("step.done", who="x")
