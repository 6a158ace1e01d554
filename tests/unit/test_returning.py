"""How a member comes back, who takes over as planned, and what of a run can be taken back: the rules alone."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from flows.powering import cut_off_by
from flows.returning import Need, way_back
from flows.undoing import later_decides, read_backwards, revives_a_primary
from recoverd.journal import Entry
from tasks.salvage import Loss, Piece, WalFacts

GOOD = WalFacts(data_dir=True, system_identifier="7", timeline=1, rewindable=True, waldump=True, psql=True)
OWN_WAL = Loss(known=True, bytes=99, transactions=1, pieces=(Piece(timeline=1, start=1, end=100),))
NO_WAL = Loss(known=True)


@pytest.mark.parametrize(
    ("facts", "loss", "need"),
    [
        (GOOD, NO_WAL, Need.START),
        (GOOD, OWN_WAL, Need.REWIND),
        (GOOD.model_copy(update={"rewindable": False}), OWN_WAL, Need.COPY),
        (GOOD.model_copy(update={"rewindable": False}), NO_WAL, Need.START),
        (GOOD.model_copy(update={"system_identifier": "8"}), NO_WAL, Need.COPY),
        (GOOD, Loss(known=False, reason="its WAL is gone"), Need.COPY),
        (WalFacts(data_dir=False), NO_WAL, Need.COPY),
        (GOOD.model_copy(update={"unfit": True}), OWN_WAL, Need.COPY),
        (GOOD.model_copy(update={"unfit": True}), NO_WAL, Need.COPY),
    ],
)
def test_nothing_is_overwritten_unless_it_is_known_what_it_holds(facts: WalFacts, loss: Loss, need: Need) -> None:
    assert way_back("db-1", facts, loss, "7").need is need


def test_a_host_that_our_own_run_powered_off_is_known_by_the_journal() -> None:
    off, on = "power_off(orders-db,db-1,power)", "power_on(orders-db,db-1,power)"
    assert cut_off_by([(off, True)], "db-1", ["power"]) == "power"
    assert cut_off_by([(off, True), (on, True)], "db-1", ["power"]) == ""
    assert cut_off_by([(off, False)], "db-1", ["power"]) == ""
    assert cut_off_by([(off, True)], "db-2", ["power"]) == ""


def entry(seq: int, kind: str, step: str, **body: Any) -> Entry:
    return Entry(
        seq=seq, at=datetime.now(timezone.utc), kind=kind, run="r", incident=None, step=step, who="recoverd",
        body={"title": step, **body}, prev_hash="", hash="",
    )  # fmt: skip


def undo(act: str, **arguments: Any) -> dict[str, Any]:
    return {"changed": True, "undo": {"act": act, "arguments": arguments, "of": "tasks.x:y"}}


def test_steps_are_taken_back_the_latest_first_and_those_that_changed_nothing_not_at_all() -> None:
    plan = read_backwards(
        [
            entry(1, "step.done", "a()", **undo("t:a")),
            entry(2, "step.done", "b()", changed=False),
            entry(3, "step.done", "c()", changed=True),
            entry(4, "step.done", "d()", **undo("t:d")),
            entry(5, "step.done", "e()", **undo("t:e")),
            entry(6, "step.undone", "e()", by="u-1"),
        ]
    )
    assert [step.act for step in plan.steps] == ["t:d", "t:a"]
    assert plan.left == ("c()",)


def test_what_the_same_undo_has_taken_back_already_still_belongs_to_its_plan() -> None:
    entries = [entry(1, "step.done", "a()", **undo("t:a")), entry(2, "step.undone", "a()", by="u-1")]
    assert [step.act for step in read_backwards(entries, by="u-1").steps] == ["t:a"]
    assert not read_backwards(entries, by="u-2").steps


def test_a_swap_that_was_begun_is_taken_back_even_where_nobody_knows_whether_it_came_to_its_end() -> None:
    begun = entry(2, "step.intended", "put_in_place(a,h)", arguments={"host": "h"}, remembered={"run": "r"})
    fence = entry(1, "step.done", "fence()", **undo("t:a"))
    plan = read_backwards([fence, begun, entry(3, "step.intended", "other()", arguments={}, remembered={})])
    assert [(step.act, step.half) for step in plan.steps] == [("tasks.replacing:put_back", True), ("t:a", False)]
    assert plan.steps[0].arguments == {"host": "h", "remembered": {"run": "r"}}
    ended = entry(4, "step.done", "put_in_place(a,h)", **undo("tasks.replacing:put_back"))
    assert [step.half for step in read_backwards([begun, ended]).steps] == [False]
    assert not read_backwards([begun, entry(5, "step.undone", "put_in_place(a,h)", by="r")]).steps


def test_a_fence_is_judged_by_what_the_same_run_did_on_its_host_after_it() -> None:
    fences = [entry(n, "step.done", f"f({n})", **undo("tasks.fencing:unfence", host=f"db-{n}")) for n in (1, 2)]
    copied = entry(3, "step.done", "swap_in()", **undo("tasks.rebuild:swap_back", host="db-1"))
    plan = read_backwards([*fences, copied])
    assert [step.arguments["host"] for step in plan.steps if later_decides(plan, step)] == ["db-1"]
    assert not later_decides(plan, plan.steps[0]), "the latest is judged by the world"


def test_a_step_that_cannot_be_taken_back_is_named_with_its_reason() -> None:
    plan = read_backwards([entry(1, "step.done", "promote(db-2)", changed=True, irreversible="a new timeline")])
    assert plan.final == ("promote(db-2) (a new timeline)",)


def test_taking_a_fence_away_revives_a_primary_unless_it_was_a_standby() -> None:
    def fenced(was_standby: bool) -> dict[str, Any]:
        return undo("tasks.fencing:unfence", host="db-1", remembered={"was_standby": was_standby})

    assert revives_a_primary(read_backwards([entry(1, "step.done", "f()", **fenced(False))])) == ("db-1",)
    assert revives_a_primary(read_backwards([entry(1, "step.done", "f()", **fenced(True))])) == ()
