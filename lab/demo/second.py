"""The second act: a table is dropped by mistake, and comes back as it was the moment before, from the three sites of the backup."""

from __future__ import annotations

from datetime import datetime, timezone

from lab.demo.live import Live
from lab.demo.report import Summary
from lab.demo.screen import Screen
from lab.demo.stage import Stage
from lab.layout import SERVICE
from lab.ledger import check_ledger
from recoverd.errors import Unproven
from recoverd.journal import Journal

LATE_ROWS = 1_000
LATE = """
INSERT INTO demo_orders SELECT n, 'customer ' || n %% 997, 'after the backup', n * 37 %% 20000
    FROM generate_series((SELECT max(id) + 1 FROM demo_orders), (SELECT max(id) FROM demo_orders) + %s) n;
"""


def play_second(stage: Stage, screen: Screen, summary: Summary, journal: Journal) -> None:
    """Back up, make the mistake, bring the table back, and hold the client's ledger against the database."""
    stage.start_writer("second.jsonl")
    back_up(stage, screen, summary, journal)
    drop_and_restore(stage, screen, summary, journal)
    stage.writer.stop()
    found = check_ledger(stage.writer.ledger, stage.connect)
    gap_s, _ = stage.ledger().longest_gap()
    screen.say(
        f"writes {found.acknowledged} acknowledged to app-1 since the backup began: {len(found.lost)} lost; "
        f"the longest wait was {gap_s:.2f} s"
    )
    if found.lost or not found.acknowledged:
        raise Unproven(f"{len(found.lost)} of {found.acknowledged} writes are gone", f"recoverd show {summary.restore}")


def back_up(stage: Stage, screen: Screen, summary: Summary, journal: Journal) -> None:
    """A base backup on all three sites. WAL comes to them by itself, since recoverd serves."""
    screen.head(f"A backup on three sites, and WAL on them since then: recoverd run backup {SERVICE}")
    started = stage.recoverd.command("run", "backup", SERVICE, "--reason", "before anybody makes a mistake")
    live = Live(screen, journal, datetime.now(timezone.utc))
    row = live.follow(lambda: journal.find_run(started["id"]), timeout_s=120, waiting_for="backup is requested")
    summary.backup, summary.backup_s = row.id, seconds(row.created_at, row.ended_at)
    screen.say(row.summary)
    with stage.cursor() as cursor:
        cursor.execute(LATE, (LATE_ROWS,))
    screen.say(f"{LATE_ROWS} more rows are written into demo_orders after it")


def drop_and_restore(stage: Stage, screen: Screen, summary: Summary, journal: Journal) -> None:
    """Drop the table, and bring it back beside a service that runs on. Raises Unproven when a row is missing."""
    summary.table_before = count(stage)
    moment = now_of(stage)
    with stage.cursor() as cursor:
        cursor.execute("DROP TABLE demo_orders")
    dropped_at = datetime.now(timezone.utc)
    screen.head("Now somebody drops the table demo_orders by mistake; the service runs on")
    screen.say(f"its last good moment: {moment}")
    arguments = ("--to", moment, "--table", "public.demo_orders", "--as", "demo_orders")
    screen.say(f"recoverd run restore {SERVICE} --to '{moment}' --table public.demo_orders --as demo_orders")
    live = Live(screen, journal, dropped_at)
    started = stage.recoverd.command(
        "run", "restore", SERVICE, *arguments, "--reason", "demo_orders was dropped by mistake"
    )
    row = live.follow(lambda: journal.find_run(started["id"]), timeout_s=120, waiting_for="restore is requested")
    summary.restore, summary.restore_state = row.id, row.state
    summary.table_after = count(stage)
    summary.table_back_s = seconds(dropped_at, datetime.now(timezone.utc))
    screen.say(f"rows   {summary.table_before[0]} before, with their sum: {words(summary)}")
    screen.say(f"RTO    {summary.table_back_s:.1f} s from the mistake to the table; app-1 wrote on meanwhile")
    if summary.table_after != summary.table_before:
        raise Unproven("the table is not what it was before it was dropped", f"recoverd show {row.id}")


def now_of(stage: Stage) -> str:
    """The server's clock, as a moment for `--to`."""
    with stage.cursor() as cursor:
        cursor.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')")
        return str(cursor.fetchall()[0][0])


def count(stage: Stage) -> tuple[int, int]:
    """Number and sum of the rows of demo_orders, as the service's users see them."""
    with stage.cursor() as cursor:
        cursor.execute("SELECT count(*), coalesce(sum(cents), 0) FROM demo_orders")
        number, total = cursor.fetchall()[0]
    return int(number), int(total)


def words(summary: Summary) -> str:
    """Whether the rows are back."""
    return "all back" if summary.table_after == summary.table_before else f"NOT the same now: {summary.table_after}"


def seconds(began: datetime, ended: datetime | None) -> float:
    """From one to the other; 0 while it has not ended."""
    return 0.0 if ended is None else round((ended - began).total_seconds(), 1)
