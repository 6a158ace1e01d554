"""The demo, in order. Each act says what it does while it does it, and every wait has a limit."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path

from lab.cluster import wait_for_standbys
from lab.demo.live import Live
from lab.demo.report import Summary, cost_words, document, loss_words, timeline_of
from lab.demo.screen import Screen
from lab.demo.second import count, play_second
from lab.demo.stage import Stage
from lab.guard import Guard
from lab.layout import SERVICE
from lab.ledger import TABLE, check_ledger
from recoverd.errors import TimedOut, Unproven
from recoverd.journal import Journal, RunRow

OLD = "db-1"
ROWS = 50_000
STANDBYS = ("db-2", "db-3")
WRITES_BEFORE = 100
WRITES_TO_LOSE = 50
LOAD = """
CREATE TABLE demo_orders (id int PRIMARY KEY, customer text NOT NULL, item text NOT NULL, cents int NOT NULL);
INSERT INTO demo_orders SELECT n, 'customer ' || n %% 997, 'item ' || n %% 89, n * 37 %% 20000
    FROM generate_series(1, %s) n;
"""
WHAT_IS_DOWN = {
    "power-off": "the power of {host}, the primary, is cut",
    "kill": "the postmaster of {host}, the primary, is killed with kill -9",
    "freeze": "every process of PostgreSQL on {host}, the primary, is stopped with SIGSTOP: it hangs",
    "partition": "the network of {host}, the primary, is cut: it lives, and believes that it is the primary",
}


def play(stage: Stage, screen: Screen, fault: str) -> Summary:
    """All acts. Raises what kept one from its end."""
    began = time.monotonic()
    summary = Summary(lab=stage.name, fault=fault, host=OLD)
    prepare(stage, screen, summary)
    journal = stage.recoverd.journal()
    try:
        with Guard(stage.lab.layout, interval_s=0.25) as guard:
            live = fail_over(stage, screen, summary, journal)
            come_back(stage, screen, summary, live)
        summary.looks, summary.two_writers = guard.looks, len(guard.violations)
        reckon(stage, screen, summary, journal)
        if stage.backups:
            play_second(stage, screen, summary, journal)
    finally:
        journal.close()
    summary.took_s = round(time.monotonic() - began, 1)
    return summary


def prepare(stage: Stage, screen: Screen, summary: Summary) -> None:
    """A lab, a database with rows in it and a client that writes, monitoring, recoverd."""
    screen.head("A small data centre on this machine: network namespaces, real OpenSSH, real PostgreSQL")
    stage.raise_lab()
    layout = stage.lab.layout
    stage.start()
    screen.say(f"Alertmanager on {stage.alertmanager_url}; a prober asks {layout.virtual_address} every second")
    summary.rows_before = load(stage)
    screen.say(f"{summary.rows_before[0]} rows loaded through {layout.virtual_address}, the address of {SERVICE}")
    stage.start_writer()
    took_s = stage.recoverd.wait_until_ready(lambda waited: screen.wait(f"recoverd serve starts, {waited:.0f} s …"))
    screen.say(f"recoverd serve takes alerts on {stage.recoverd.url} (waited {took_s:.1f} s)")
    wait_for_writes(stage, screen, WRITES_BEFORE)
    wait_for_standbys(stage.lab.host(OLD), 2, timeout_s=20)
    how = "synchronous" if stage.sync else "asynchronous"
    screen.say(f"app-1 commits row after row: {len(stage.ledger().acknowledged)} so far; {how} replication")


def load(stage: Stage) -> tuple[int, int]:
    """Put rows into the database; returns their number and sum."""
    with stage.cursor() as cursor:
        cursor.execute(LOAD, (ROWS,))
    return count(stage)


def wait_for_writes(stage: Stage, screen: Screen, wanted: int, *, timeout_s: float = 20) -> None:
    """Wait until the client was told of as many commits as are `wanted`. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while (number := len(stage.ledger().acknowledged)) < wanted:
        if time.monotonic() > deadline:
            raise TimedOut(f"app-1 got only {number} commits in {timeout_s:g} s", f"see {stage.writer.log}")
        screen.wait(f"app-1 writes: {number} commits …")
        time.sleep(0.1)


def fail_over(stage: Stage, screen: Screen, summary: Summary, journal: Journal) -> Live:
    """Break the primary and watch: nobody but the alert tells recoverd."""
    if stage.lose:
        screen.head(f"First {OLD} is cut off from its standbys, and commits on: these writes are to be lost")
        screen.say(stage.lab.break_("partition", OLD, peers=STANDBYS))
        wait_for_writes(stage, screen, len(stage.ledger().acknowledged) + WRITES_TO_LOSE)
    screen.head(f"Now {WHAT_IS_DOWN[summary.fault].format(host=OLD)}")
    fault_at = datetime.now(timezone.utc)
    live = Live(screen, journal, fault_at, stage.ledger)
    summary.fault_at = fault_at.timestamp()
    live.show(0.0, "fault", stage.lab.break_(summary.fault, OLD))
    row = live.follow(
        lambda: newest(journal, "failover"), timeout_s=90, waiting_for="writes stand still; monitoring is to notice"
    )
    wait_for_users(live)
    summary.users_waited_s = round(stage.ledger().longest_gap()[0], 3)
    summary.take_failover(timeline_of(journal, row))
    (stage.lab.state / f"{row.id}.md").write_text(document(journal, row))
    screen.line()
    for words in cost_words(summary):
        screen.say(words)
    return live


def wait_for_users(live: Live, *, timeout_s: float = 10) -> None:
    """Wait until the client's writes are acknowledged again. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while not live.users_back:
        if time.monotonic() > deadline:
            raise TimedOut(f"the failover is done, but app-1 cannot write for {timeout_s:g} s more", "see writer.log")
        time.sleep(0.1)
        live.catch_up()


def come_back(stage: Stage, screen: Screen, summary: Summary, live: Live) -> None:
    """The old primary returns; by hand, as after a repair."""
    screen.head(f"{OLD} is repaired and comes back: recoverd run rejoin {SERVICE}")
    faults = [summary.fault] if summary.fault in ("power-off", "partition") else []
    for fault in faults + ["partition"] * (stage.lose and summary.fault != "partition"):
        done = stage.lab.mend(fault, OLD)
        live.show((datetime.now(timezone.utc) - live.began_at).total_seconds(), "repair", done)
    reason = f"{OLD} is repaired"
    started = stage.recoverd.command("run", "rejoin", SERVICE, "--reason", reason, "--option", "power_on=true")
    row = live.follow(lambda: live.journal.find_run(started["id"]), timeout_s=120, waiting_for="rejoin is requested")
    summary.take_rejoin(row, list(live.journal.entries(run=row.id)))
    wait_for_standbys(stage.lab.host(summary.new_primary), 2, timeout_s=20)


def reckon(stage: Stage, screen: Screen, summary: Summary, journal: Journal) -> None:
    """Hold the client's ledger against the database, and the rules against the world. Raises Unproven."""
    screen.head("What it cost, counted")
    stage.writer.stop()
    found = check_ledger(stage.writer.ledger, stage.connect)
    summary.acknowledged, summary.kept, summary.lost = found.acknowledged, found.kept, len(found.lost)
    summary.lost_found = len(set(found.lost) & salvaged(summary.salvage))
    summary.unanswered_kept, summary.unanswered_gone = len(found.unknown_present), len(found.unknown_absent)
    summary.rows_after = count(stage)
    summary.writers = list(stage.lab.writers())
    verified = journal.verify()
    summary.journal_entries, summary.journal_whole = verified.count, verified.ok
    for words in loss_words(summary):
        screen.say(words)
    wrong = list(broken_promises(summary, stage.sync))
    if wrong:
        raise Unproven("; ".join(wrong), f"recoverd show {summary.run}")


def salvaged(directory: str) -> set[int]:
    """Ids of the client's rows that recoverd saved from the old primary."""
    file = Path(directory) / "salvage.jsonl"
    if not directory or not file.exists():
        return set()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return {line["row"]["id"] for line in lines if line.get("table") == f"public.{TABLE}" and line.get("row")}


def broken_promises(summary: Summary, sync: bool) -> list[str]:
    """What must never be, and is; empty when all is well. Losses that asynchronous replication allows are not."""
    promises = {
        "more or fewer than one server takes writes": len(summary.writers) == 1 and not summary.two_writers,
        "no committed write was proven": summary.rto_s is not None,
        "rows that were replicated long before the fault are gone": summary.rows_after == summary.rows_before,
        "synchronous replication lost a write": not (sync and summary.lost),
        "more was lost than the report says": summary.lost <= ((summary.loss or {}).get("transactions") or 0),
        "a lost write was not saved": summary.lost_found == summary.lost,
        "the journal is not whole": summary.journal_whole,
    }
    return [words for words, kept in promises.items() if not kept]


def newest(journal: Journal, procedure: str) -> RunRow | None:
    """The newest run of a procedure."""
    rows = journal.list_runs(procedure=procedure, target=SERVICE, limit=1)
    return rows[0] if rows else None
