"""The intake on a real journal: every alert is recorded once, at most one run starts, and all of it or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from intake_kit import SINCE, alert, inventory, route

from deployments.start import start
from gateway.alerts_model import SENTINEL, Alert, Sender
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.errors import Invalid, TryAgain
from recoverd.inventory import Inventory
from recoverd.journal import Journal

SENDER = Sender("alertmanager")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


@pytest.fixture
def intake(journal: Journal) -> Iterator[Intake]:
    yield from intakes(journal, inventory())


def intakes(journal: Journal, of: Inventory, **changes: Any) -> Iterator[Intake]:
    writer = Writer(journal)
    writer.start()
    options: dict[str, Any] = {"start": start, **changes}
    table = RouteTable(of, ("failover", "rejoin"))
    yield Intake(journal, writer, table, options.pop("start"), Metrics(journal), **options)
    writer.stop()


def kinds(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.entries()]


def test_an_alert_starts_a_run_and_both_are_one_transaction(intake: Intake, journal: Journal):
    (verdict,) = intake.accept(SENDER, [alert()])
    (run,) = journal.list_runs()
    assert (verdict.outcome, verdict.run) == ("started", run.id)
    assert (run.procedure, run.target, run.mode, run.trigger, run.alert) == (
        "failover",
        "orders",
        "act",
        "alert",
        alert().key,
    )
    assert run.reason.startswith("PostgresDown since 2026-11-22 02:53:27 UTC, says alertmanager")
    row = journal.get_alert(alert().key)
    assert row is not None
    assert (row.outcome, row.run, row.starts_at) == ("started", run.id, SINCE)
    assert kinds(journal) == ["alert.received", "run.requested", "alert.accepted"]


def test_an_alert_that_comes_again_never_acts_twice(intake: Intake, journal: Journal):
    (first,) = intake.accept(SENDER, [alert()])
    journal.set_run(str(first.run), "refused", who="test")
    again = intake.accept(Sender("other-alertmanager"), [alert(), alert()])
    assert [each.outcome for each in again] == ["duplicate", "duplicate"]
    assert len(journal.list_runs()) == 1


def test_two_alerts_for_one_service_are_both_recorded_and_one_run_starts(intake: Intake, journal: Journal):
    with ThreadPoolExecutor(2) as pool:
        barrier = threading.Barrier(2)
        found = list(pool.map(lambda name: together(barrier, intake, alert(name)), ["one", "other"]))
    assert sorted(each.outcome for each in found) == ["recorded", "started"]
    (run,) = journal.list_runs()
    absorbed = next(each for each in found if each.outcome == "recorded")
    assert absorbed.run == run.id
    assert run.id in absorbed.reason
    assert [entry.run for entry in journal.entries(kinds=["alert.recorded"])] == [run.id]


def test_a_run_that_has_ended_absorbs_nothing(intake: Intake, journal: Journal):
    (first,) = intake.accept(SENDER, [alert("one")])
    journal.set_run(str(first.run), "refused", who="test")
    assert intake.accept(SENDER, [alert("other")])[0].outcome == "started"


def test_a_resolved_alert_is_recorded_and_starts_nothing(intake: Intake, journal: Journal):
    (verdict,) = intake.accept(SENDER, [alert(status="resolved", ends_at=SINCE + timedelta(minutes=1))])
    assert verdict.outcome == "resolved"
    assert (kinds(journal), journal.list_runs()) == (["alert.resolved"], [])


def test_an_alert_for_an_unknown_service_is_recorded_loudly(
    intake: Intake, journal: Journal, caplog: pytest.LogCaptureFixture
):
    labels = {"alertname": "PostgresDown", "service": "ordres"}
    (verdict,) = intake.accept(SENDER, [alert(labels=labels)])
    assert (verdict.outcome, verdict.loud) == ("recorded", True)
    deadline = time.monotonic() + 5  # it is said after the commit, by the thread that made it
    while "not in the inventory" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "not in the inventory" in caplog.text
    assert kinds(journal) == ["alert.received", "alert.recorded"]


def test_mode_and_trigger_reach_the_run(journal: Journal):
    of = inventory(policy={"failover": {"alert": "act", "sentinel": "ask"}})
    for intake in intakes(journal, of):
        intake.accept(SENTINEL, [alert(scope="sentinel")])
    (run,) = journal.list_runs()
    assert (run.mode, run.trigger) == ("ask", "sentinel")


def test_a_storm_is_absorbed_by_one_run_a_service(intake: Intake, journal: Journal):
    storm = [alert(f"fp-{number % 50}") for number in range(1000)]
    found = [each.outcome for part in range(0, 1000, 100) for each in intake.accept(SENDER, storm[part : part + 100])]
    assert [found.count(each) for each in ("started", "recorded", "duplicate")] == [1, 49, 950]
    assert len(journal.list_alerts(limit=1000)) == 50
    assert journal.verify().ok


def test_a_route_starts_no_more_runs_than_its_cap_and_refused_ones_do_not_count(journal: Journal):
    for intake in intakes(journal, inventory(), most_runs_per_hour=2):
        outcomes = []
        for number in range(4):
            (verdict,) = intake.accept(SENDER, [alert(f"fp-{number}")])
            outcomes.append(verdict.outcome)
            if verdict.run:
                journal.set_run(verdict.run, "refused" if number == 0 else "failed", who="test")
    assert outcomes == ["started", "started", "started", "refused"]
    assert kinds(journal)[-1] == "alert.refused"


def test_what_cannot_be_understood_is_kept_beside_what_can(intake: Intake, journal: Journal):
    intake.submit(SENDER, [alert()], quarantine=(b"\xff{", "not JSON")).result(5)
    (kept,) = journal.list_quarantine()
    assert (kept.source, kept.reason, kept.body) == ("alertmanager", "not JSON", "\\xff{")
    assert len(journal.list_runs()) == 1


def test_a_start_that_fails_leaves_nothing_and_takes_no_other_alert_with_it(journal: Journal):
    def fragile(procedure: str, target: str, **named: Any) -> Any:
        if target == "billing":
            start(procedure, target, **named)
            raise RuntimeError("broken after it wrote")
        return start(procedure, target, **named)

    good = [alert(f"fp-{number}") for number in range(5)]
    bad = alert("bad", labels={"alertname": "PostgresDown", "service": "billing"})
    for intake in intakes(journal, inventory(), start=fragile):
        futures = [intake.submit(SENDER, [each]) for each in (*good, bad)]
        assert sum(len(each.result(5)) for each in futures[:-1]) == 5
        with pytest.raises(RuntimeError):
            futures[-1].result(5)
    assert journal.get_alert(bad.key) is None
    assert [run.target for run in journal.list_runs()] == ["orders"]


def test_a_start_that_is_refused_is_recorded_with_its_reason(journal: Journal):
    def refusing(*_args: Any, **_named: Any) -> Any:
        raise Invalid("there is no procedure 'failover'")

    for intake in intakes(journal, inventory(), start=refusing):
        (verdict,) = intake.accept(SENDER, [alert()])
    assert (verdict.outcome, verdict.reason, verdict.loud) == ("refused", "there is no procedure 'failover'", True)


def test_a_poller_sees_only_what_was_never_taken_in(intake: Intake):
    intake.accept(SENDER, [alert("known")])
    assert [each.fingerprint for each in intake.due([alert("known"), alert("new")])] == ["new"]


def test_the_runner_is_told_once_there_is_something_to_run(journal: Journal):
    told = threading.Event()
    for intake in intakes(journal, inventory(route(mode="record")), notify=told.set):
        intake.accept(SENDER, [alert()])
        assert not told.is_set()
    for intake in intakes(journal, inventory(), notify=told.set):
        intake.accept(SENDER, [alert("other")])
        assert told.wait(5)


def test_requests_that_wait_together_share_a_commit(journal: Journal):
    writer = Writer(journal)
    seen: list[int] = []
    release = threading.Event()
    writer.start()
    first = writer.submit(lambda tx: release.wait(5))
    others = [writer.submit(lambda tx: seen.append(id(tx))) for _ in range(10)]
    release.set()
    assert first.result(5)
    for each in others:
        each.result(5)
    writer.stop()
    assert len(set(seen)) == 1


def test_a_writer_that_has_stopped_says_so(journal: Journal):
    writer = Writer(journal)
    writer.start()
    writer.stop()
    with pytest.raises(TryAgain):
        writer.submit(lambda tx: None)


def together(barrier: threading.Barrier, intake: Intake, one: Alert) -> Any:
    barrier.wait(5)
    return intake.accept(SENDER, [one])[0]
