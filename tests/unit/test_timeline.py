"""The timeline of a run: what a reviewer reads, from entries alone."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from recoverd.journal import AlertRow, Entry, RunRow
from recoverd.timeline import as_data, as_markdown, as_text, build
from recoverd.timeline.markdown import escape
from recoverd.timeline.moments import since_words

BEGAN = datetime(2026, 11, 22, 9, 15, 2, tzinfo=timezone.utc)
RUN = "fa-20261122-0915-k3f9"


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def text_at(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")


class Record:
    """Entries, one after the other."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, since: float, /, kind: str, step: str | None = None, who: str = "recoverd", **body: Any) -> None:
        seq = len(self.entries) + 1
        self.entries.append(Entry(seq, at(since), kind, RUN, None, step, who, body, "0" * 64, f"{seq:064x}"))

    def act(self, since: float, /, step: str, title: str, summary: str, **body: Any) -> None:
        self.add(since - 0.1, "step.intended", step, title=title, seconds=0.0)
        self.add(since, "step.done", step, title=title, seconds=0.12, summary=summary, data={}, changed=True, **body)


def row(**changed: Any) -> RunRow:
    made = RunRow.rehearsal("failover", "orders-db", {})
    facts: dict[str, Any] = {
        "id": RUN,
        "state": "succeeded",
        "trigger": "alert",
        "requester": "route:primary down",
        "reason": "PostgresDown",
        "created_at": at(0.9),
        "ended_at": at(3),
        "summary": "orders-db failed over from db-1 to db-2 in 1.90 s",
    }
    return replace(made, **(facts | changed))


def alert() -> AlertRow:
    return AlertRow(
        key="am:1", seq=1, source="alertmanager", name="PostgresDown", status="firing", target="orders-db",
        starts_at=BEGAN, received_at=at(0.8), last_at=at(0.8), count=1, outcome="started", reason="", run=RUN,
        incident=None, body={"annotations": {"summary": "db-1 does not answer"}},
    )  # fmt: skip


@pytest.fixture
def record() -> Record:
    made = Record()
    made.add(
        0.9, "run.requested", who="route:primary down", procedure="failover", target="orders-db", reason="it fires"
    )
    made.add(1.0, "run.started", executor="ctl:77")
    made.add(1.1, "step.observed", "observe_service(orders-db)", title="look", seconds=0.05, summary="db-1 silent")
    made.add(
        1.2, "step.decided", "diagnose(at the start)", title="diagnose", seconds=0.0, summary="dead: nobody reaches it",
        decision={"verdict": "dead", "reasons": ["nobody reaches it", "SSH is silent too"]},
    )  # fmt: skip
    made.act(1.4, "power_off(orders-db,db-1,power)", "power db-1 off", "db-1 is off", undo={"act": "x:y"})
    made.act(1.6, "promote(orders-db,db-2)", "promote db-2", "db-2 is the primary", irreversible="a new timeline")
    made.act(1.7, "claim_address(orders-db,a,db-2)", "move the address", "db-2 holds it", undo={"act": "x:y"})
    facts = {"committed_at": text_at(1.9)}
    made.add(
        1.95, "step.observed", "prove_write(orders-db,a,app-1)", title="prove", seconds=0.1, summary="ok", facts=facts
    )
    return made


def test_phases_count_from_the_alert_and_add_up_to_the_recovery_time(record: Record) -> None:
    found = build(row(), record.entries, alert())
    assert [phase.name for phase in found.phases] == [
        "received", "started", "confirmed", "fenced", "promoted", "address moved", "write proven",
    ]  # fmt: skip
    assert found.rto_s == pytest.approx(1.9)
    assert sum(phase.seconds for phase in found.phases) == pytest.approx(found.rto_s)


def test_the_runs_own_account_counts_where_there_is_one(record: Record) -> None:
    facts = {
        "phases": [{"name": "everything", "ended_at": text_at(1.9), "seconds": 1.9}],
        "rto_s": 1.9,
        "rto_objective_s": 1,
        "rpo_objective_bytes": 1024,
        "loss": {"known": True, "bytes": 512, "transactions": 3},
    }
    record.add(2.5, "step.observed", "account(orders-db,db-2)", title="account", seconds=0.1, summary="x", facts=facts)
    text = as_text(build(row(), record.entries, alert()))
    assert "1.900 s of 1 s allowed: missed" in text
    assert "3 transactions (512 bytes of WAL) did not reach the new primary (1024 bytes allowed)" in text
    assert "everything" in text


def test_a_run_by_hand_counts_from_its_request(record: Record) -> None:
    found = build(row(trigger="hand"), record.entries)
    assert found.began_at == at(0.9)
    assert found.began == "the request"


def test_a_planned_switchover_counts_no_outage(record: Record) -> None:
    found = build(row(procedure="switchover"), record.entries)
    assert (found.phases, found.rto_s) == ((), None)


def test_an_intention_and_its_outcome_are_one_moment(record: Record) -> None:
    found = build(row(), record.entries, alert())
    promoted = [moment for moment in found.moments if moment.step.startswith("promote")]
    assert [moment.what for moment in promoted] == ["change"]
    assert promoted[0].details == ("intended at +1.500 s; cannot be taken back: a new timeline",)


def test_an_intention_without_an_outcome_is_told(record: Record) -> None:
    record.add(2.0, "step.intended", "follow(orders-db,db-3,db-2)", title="let db-3 follow", seconds=0.0)
    last = build(row(), record.entries, alert()).moments[-1]
    assert last.what == "intention"
    assert "not written down" in last.text


def test_a_run_that_was_broken_off_shows_where(record: Record) -> None:
    record.add(2.0, "step.intended", "follow(orders-db,db-3,db-2)", title="let db-3 follow", seconds=0.0)
    record.add(9.0, "run.resumed", executor="ctl:99")
    record.add(9.2, "step.done", "follow(orders-db,db-3,db-2)", title="let db-3 follow", summary="ok", changed=True)
    tail = build(row(), record.entries, alert()).moments[-3:]
    assert [moment.what for moment in tail] == ["intention", "run", "change"]


def test_reasons_are_told_once(record: Record) -> None:
    decided = next(moment for moment in build(row(), record.entries).moments if moment.what == "decision")
    assert decided.details == ("SSH is silent too",)


def test_the_alert_stands_before_the_run(record: Record) -> None:
    first, second, third, *_ = build(row(), record.entries, alert()).moments
    assert first.text == "PostgresDown began, says alertmanager: db-1 does not answer"
    assert (first.since_s, second.since_s) == (0.0, 0.8)
    assert third.what == "run"


def test_approvals_say_who_and_why(record: Record) -> None:
    record.add(
        2.0, "gate.requested", "failover", summary="fail over?", required=1, roles=["command"],
        expires_at=text_at(3600), plan={"promote": ["db-2"]}, plan_hash="ab" * 32,
    )  # fmt: skip
    record.add(60.0, "gate.approved", "failover", who="lead", comment="I saw it", approvals=1, required=1)
    text = as_text(build(row(), record.entries, alert()))
    assert "asked: fail over?" in text
    assert "needs 1 of: command" in text
    assert "approved (1 of 1) by lead: I saw it" in text
    assert "+1:00.0" in text


def test_lines_keep_to_the_width(record: Record) -> None:
    record.add(2.0, "step.failed", "x()", title="a title " * 20, error="an error " * 40, hint="a hint " * 30)
    text = as_text(build(row(), record.entries, alert()), width=90)
    assert max(map(len, text.splitlines())) <= 100


def test_markdown_of_hostile_words_stays_one_table(record: Record) -> None:
    record.add(2.0, "step.failed", "x()", title="a | b\n# c", error="<script>`*", hint="[x](y)")
    document = as_markdown(build(row(reason="| | |\n\n# no"), record.entries, alert()))
    table = [line for line in document.splitlines() if line.startswith("| +")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {6}
    assert "<script>" not in document
    assert "\n# no" not in document
    assert escape("a|b") == "a\\|b"


def test_data_is_plain(record: Record) -> None:
    import json

    data = json.loads(json.dumps(as_data(build(row(), record.entries, alert()))))
    assert data["began_at"] == "2026-11-22T09:15:02.000000Z"
    assert data["moments"][0]["what"] == "alert"
    assert data["last_hash"] == record.entries[-1].hash


def test_a_run_without_entries_has_a_timeline_too() -> None:
    assert "failover of orders-db" in as_text(build(row(), []))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "+0.000 s"), (-0.5, "-0.500 s"), (59.9994, "+59.999 s"), (125.1, "+2:05.1"), (3725, "+1:02:05")],
)
def test_times_are_written_for_people(seconds: float, words: str) -> None:
    assert since_words(seconds) == words


@pytest.mark.parametrize(
    ("kind", "body", "what", "words"),
    [
        ("wal.changed", {"what": "began", "words": "offsite lacks WAL"}, "trouble", "offsite lacks WAL"),
        ("wal.changed", {"what": "ended", "words": "offsite lacks WAL"}, "record", "no longer so: offsite lacks WAL"),
        ("site.bad", {"bad": {"own": ["part-1"]}}, "trouble", "own had part-1 damaged or not at all"),
        ("site.tampered", {"site": "own", "evidence": ["a", "b"]}, "trouble", "the site own is tampered: a"),
        ("site.lifted", {"site": "own", "reason": "a new disk"}, "record", "the site own is used again: a new disk"),
    ],
)
def test_what_befell_a_site_reads_as_a_sentence(kind: str, body: dict[str, Any], what: str, words: str) -> None:
    record = Record()
    record.add(1.0, kind, service="orders-db", **body)
    (one,) = build(row(), record.entries, None).moments
    assert (one.what, one.text) == (what, words)
