"""A containment that is timed ends by itself: once, also after attempts that came to nothing, and somebody is told of those."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.containments import keep_time
from recoverd.isolation.containments import Containment, note_containment, overdue, standing
from recoverd.journal import Journal, RunRow
from recoverd.raised import open_incidents

LATER = timedelta(hours=5)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield made
    made.close()


def contained(journal: Journal, hours: int | None = 4, *, state: str = "succeeded") -> RunRow:
    with journal.transaction() as tx:
        run = tx.create_run("contain", "group:web", trigger="hand", requester="ann", reason="x")
        until = tx.now() + timedelta(hours=hours) if hours else None
        note_containment(
            tx, Containment(run=run.id, target="group:web", hosts=("web-1",), accounts=("mallory",), until=until)
        )
        tx.append("step.intended", who="recoverd", run=run.id, step="lock(web-1,mallory)", body={})
        tx.set_run(run.id, "running", who="recoverd")
        if state != "running":
            tx.set_run(run.id, state, who="recoverd")  # type: ignore[arg-type]
    return journal.get_run(run.id)


def ended(journal: Journal, run: RunRow, state: str) -> None:
    with journal.transaction() as tx:
        tx.set_run(run.id, "running", who="recoverd")
        tx.set_run(run.id, state, who="recoverd", summary="mallory was changed since")  # type: ignore[arg-type]


def test_nothing_is_released_before_its_time(journal: Journal) -> None:
    contained(journal)
    contained(journal, None)
    assert keep_time(journal) == []
    assert keep_time(journal, ahead=timedelta(hours=3)) == []


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_what_is_over_is_released_once_however_its_run_ended(journal: Journal, state: str) -> None:
    run = contained(journal, state=state)
    started = keep_time(journal, ahead=LATER)
    assert [(one.procedure, one.target, one.options, one.trigger) for one in started] == [
        ("undo", "group:web", {"run": run.id}, "schedule")
    ]
    assert keep_time(journal, ahead=LATER) == [], "its release is under way"


def test_a_run_that_still_works_is_left_to_its_end(journal: Journal) -> None:
    contained(journal, state="running")
    assert keep_time(journal, ahead=LATER) == []


def test_a_release_that_failed_is_told_and_tried_again(journal: Journal) -> None:
    run = contained(journal, -1)
    first = keep_time(journal)[0]
    ended(journal, first, "failed")
    assert keep_time(journal) == []
    told = open_incidents(journal)
    assert [run.id in one.summary for one in told] == [True]
    assert "mallory was changed since" in told[0].summary
    again = keep_time(journal, ahead=LATER)
    assert [one.procedure for one in again] == ["undo"]
    ended(journal, again[0], "succeeded")
    journal.set_run(run.id, "undone", who="recoverd")
    assert keep_time(journal, ahead=LATER) == []
    assert open_incidents(journal) == ()


def test_the_first_deadline_counts_when_a_run_goes_on(journal: Journal) -> None:
    run = contained(journal, state="running")
    first = standing(journal)[0]
    with journal.transaction() as tx:
        later = first.model_copy(update={"until": first.until + LATER if first.until else None})
        assert note_containment(tx, later) == first
    assert standing(journal, "web-1") == (first,)
    assert standing(journal, "web-2") == ()
    assert overdue([first], journal.now()) == ()
    assert run.id == first.run
