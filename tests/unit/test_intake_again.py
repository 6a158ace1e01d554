"""An alert that still fires after its run was refused for a reason that has passed acts once more, and no other does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from intake_kit import alert, inventory, route
from test_intake import SENDER, intakes

from deployments.start import start
from gateway.again import acts_again
from gateway.intake import Intake
from recoverd.journal import AlertRow, Journal, RunRow, State

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=timezone.utc)


def known(outcome: str = "started", run: str | None = "fa-1", ago_s: float = 60) -> AlertRow:
    at = NOW - timedelta(seconds=ago_s)
    return AlertRow(
        key="k", seq=1, source="am", name="PostgresDown", status="firing", target="orders", starts_at=at,
        received_at=at, last_at=at, count=1, outcome=outcome, reason="", run=run, incident=None, body={},
    )  # fmt: skip


def newest(state: State = "refused", ended_ago_s: float | None = 31, created_ago_s: float = 59) -> RunRow:
    ended = None if ended_ago_s is None else NOW - timedelta(seconds=ended_ago_s)
    made = RunRow.rehearsal("failover", "orders", {})
    return replace(made, state=state, created_at=NOW - timedelta(seconds=created_ago_s), ended_at=ended)


HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("row", "run", "passes", "again"),
    [
        (known(), newest(), True, True),
        (known(), newest(), False, False),  # refused because the alert is false or late
        (known(), newest(ended_ago_s=29), True, False),  # too soon
        (known(), newest("succeeded"), True, False),
        (known(), newest("failed"), True, False),
        (known(), newest("cancelled"), True, False),
        (known(), newest("running", None), True, False),
        (known(), newest("waiting", None), True, False),
        (known("recorded"), newest(), True, True),  # it was absorbed by the run that was refused
        (known("recorded", None), newest(), True, False),  # it never asked for a run
        (known("refused", None), None, False, True),  # its route had started too many
        (known("refused", None), newest("succeeded", created_ago_s=61), False, True),  # a run before the alert
        (known("refused", None), newest("succeeded"), False, False),
        (known(ago_s=HOUR_S), newest(ended_ago_s=300), True, False),  # the pause grows with the age of the alert
        (known(ago_s=HOUR_S), newest(ended_ago_s=360), True, True),
        (known(ago_s=100 * HOUR_S), newest(ended_ago_s=600), True, True),  # but not without end
    ],
)
def test_only_a_refusal_that_passes_is_tried_again(
    row: AlertRow, run: RunRow | None, passes: bool, again: bool
) -> None:
    assert acts_again(row, run, passes, NOW) is again


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


@pytest.fixture
def intake(journal: Journal) -> Iterator[Intake]:
    yield from intakes(journal, inventory(), again_after_s=0)


def refuse(journal: Journal, run: str | None, *, passes: bool = True) -> None:
    body = {"passes": True} if passes else {}
    journal.set_run(str(run), "refused", who="recoverd", body=body)


def test_an_alert_that_still_fires_after_the_cooldown_starts_a_second_run(intake: Intake, journal: Journal) -> None:
    (first,) = intake.accept(SENDER, [alert()])
    assert intake.due([alert()]) == []
    refuse(journal, first.run)
    deadline = time.monotonic() + 10  # the pause is a share of the alert's age, which a slow machine lets grow
    while intake.due([alert()]) != [alert()]:
        assert time.monotonic() < deadline
    (again,) = intake.accept(SENDER, [alert()])
    assert again.outcome == "started"
    assert f"run {first.run} was refused for a reason that passes" in again.reason
    assert [run.id for run in journal.list_runs()] == [again.run, first.run]
    row = journal.get_alert(alert().key)
    assert row is not None
    assert (row.run, row.outcome, row.count) == (again.run, "started", 2)
    assert intake.accept(SENDER, [alert()])[0].outcome == "duplicate"


def test_of_two_notifications_at_the_same_instant_one_acts_again(intake: Intake, journal: Journal) -> None:
    (first,) = intake.accept(SENDER, [alert()])
    refuse(journal, first.run)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: intake.accept(SENDER, [alert()])[0].outcome, range(16)))
    assert sorted(found) == ["duplicate"] * 15 + ["started"]
    assert len(journal.list_runs()) == 2


def test_an_alert_that_is_wrong_or_over_is_not_tried_again(intake: Intake, journal: Journal) -> None:
    (wrong,) = intake.accept(SENDER, [alert()])
    refuse(journal, wrong.run, passes=False)
    assert intake.due([alert()]) == []
    assert intake.accept(SENDER, [alert()])[0].outcome == "duplicate"
    (over,) = intake.accept(SENDER, [alert("other")])
    refuse(journal, over.run)
    intake.accept(SENDER, [alert("other", status="resolved")])
    assert intake.due([alert("other")]) == []
    assert intake.accept(SENDER, [alert("other")])[0].outcome == "duplicate"  # a message that was long on its way


def test_several_alerts_for_one_service_start_one_run_after_the_refusal(intake: Intake, journal: Journal) -> None:
    first, absorbed = (intake.accept(SENDER, [alert(name)])[0] for name in ("one", "other"))
    assert (absorbed.outcome, absorbed.run) == ("recorded", first.run)
    refuse(journal, first.run)
    found = intake.accept(SENDER, [alert("other"), alert("one")])
    assert [each.outcome for each in found] == ["started", "duplicate"]
    assert len(journal.list_runs()) == 2


def test_after_a_run_that_succeeded_no_other_alert_of_the_same_trouble_acts(intake: Intake, journal: Journal) -> None:
    first, _absorbed = (intake.accept(SENDER, [alert(name)])[0] for name in ("one", "other"))
    refuse(journal, first.run)
    (second,) = intake.accept(SENDER, [alert("one")])
    journal.set_run(str(second.run), "running", who="runner", executor="host:1")
    journal.set_run(str(second.run), "succeeded", who="recoverd")
    assert intake.due([alert("one"), alert("other")]) == []
    assert [each.outcome for each in intake.accept(SENDER, [alert("one"), alert("other")])] == ["duplicate"] * 2


def test_a_route_that_had_started_too_many_is_asked_again_without_a_trace_until_it_may(journal: Journal) -> None:
    for intake in intakes(journal, inventory(), again_after_s=0, most_runs_per_hour=1):
        (first,) = intake.accept(SENDER, [alert("one")])
        journal.set_run(str(first.run), "running", who="runner", executor="host:1")
        journal.set_run(str(first.run), "failed", who="recoverd")
        labels = {"alertname": "PostgresDown", "service": "billing"}
        capped = alert("other", labels=labels)
        assert intake.accept(SENDER, [capped])[0].outcome == "refused"
        assert intake.accept(SENDER, [capped])[0].outcome == "duplicate"
        refusals = list(journal.entries(kinds=["alert.refused"]))
    assert len(refusals) == 1
    for intake in intakes(journal, inventory(), again_after_s=0, most_runs_per_hour=2):
        assert intake.accept(SENDER, [capped])[0].outcome == "started"


def test_a_policy_that_only_records_by_now_is_kept(journal: Journal) -> None:
    for intake in intakes(journal, inventory(), again_after_s=0):
        (first,) = intake.accept(SENDER, [alert()])
        refuse(journal, first.run)
    for intake in intakes(journal, inventory(route(mode="record")), again_after_s=0):
        assert intake.due([alert()]) == []
        assert intake.accept(SENDER, [alert()])[0].outcome == "duplicate"


def test_a_start_that_fails_the_second_time_changes_nothing(journal: Journal) -> None:
    for intake in intakes(journal, inventory(), again_after_s=0):
        (first,) = intake.accept(SENDER, [alert()])
        refuse(journal, first.run)

    def broken(*args: Any, **named: Any) -> Any:
        start(*args, **named)
        raise RuntimeError("broken after it wrote")

    for intake in intakes(journal, inventory(), start=broken, again_after_s=0):
        with pytest.raises(RuntimeError):
            intake.accept(SENDER, [alert()])
    row = journal.get_alert(alert().key)
    assert row is not None
    assert (row.run, row.count) == (first.run, 1)
