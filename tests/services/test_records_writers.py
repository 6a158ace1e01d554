"""While six others write, nothing newer is overwritten; whatever is killed, and whenever, each row is changed exactly once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records_history import FIX, HISTORY, check, history, writers
from records_kit import Data, data_here
from throw_away_postgres import PgServer

from recoverd.connections import Sql
from recoverd.journal import RunRow

pytestmark = pytest.mark.postgres

ROWS = 3000
WRONG = {"table": "customers", "set": "province = '44'", "where": "province = '11'"}


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(HISTORY)
        made.grant("customers")
        yield made


def fill(data: Data, rows: int) -> None:
    data.sql(f"insert into customers select n, '11' from generate_series(0, {rows - 1}) n")


def waiting_run(data: Data, **options: Any) -> RunRow:
    run = data.execute(data.request(**{**WRONG, **options}))
    assert run.state == "waiting", run.summary
    data.approve(run)
    return run


def test_under_six_writers_nothing_newer_is_overwritten_and_every_row_is_accounted_for(data: Data) -> None:
    fill(data, ROWS)
    run = waiting_run(data, batch_rows=100)
    with writers(data, ROWS) as commits:
        wait_for(lambda: min(commits) > 20)
        run = data.execute(run)
        assert min(commits) > 20
    assert run.state == "succeeded", run.summary
    facts = data.facts(run)
    assert check(data, "11", "44") == facts["applied"]
    assert facts["applied"] + facts["conflicts"] == ROWS
    assert facts["applied"] > 0
    assert facts["conflicts"] > 0


def test_an_undo_under_six_writers_overwrites_nothing_newer(data: Data) -> None:
    fill(data, ROWS)
    run = data.run(**WRONG)
    data.sql(
        "truncate history; insert into history (id, op, new, app) select id, 'INSERT', province, 'start' from customers"
    )
    back = data.execute(data.request(undo=run.id, batch_rows=100))
    data.approve(back)
    with writers(data, ROWS) as commits:
        wait_for(lambda: min(commits) > 20)
        back = data.execute(back)
    assert back.state == "succeeded", back.summary
    assert 0 < check(data, "44", "11") == data.facts(back)["applied"] < ROWS


@pytest.mark.timeout(300)
@pytest.mark.parametrize("when", ["rows", "_wait"])
def test_killed_at_every_statement_a_fix_changes_each_row_exactly_once(data: Data, when: str) -> None:
    """Before each statement in turn, or when it has just been sent; the last turn is that in which it comes to its end unharmed."""
    at, ended = 0, False
    while not ended:
        at += 1
        data.sql("truncate history", "delete from customers", "truncate history")
        fill(data, 10)
        run = waiting_run(data, batch_rows=5)
        ended = not killed_child(data, run, at, when)
        run = data.journal.get_run(run.id) if ended else data.execute(run)
        assert run.state == "succeeded", (at, run.summary)
        assert check(data, "11", "44") == 10, at
        assert data.facts(run)["applied"] == 10
        assert data.facts(run)["batches"] == 2
    assert at > 40


def killed_child(data: Data, run: RunRow, at: int, when: str) -> bool:
    """Execute a run in a process of its own that kills itself at its n-th call of a method of `Sql`; whether it came to that."""
    child = os.fork()
    if child == 0:
        plain, counted = getattr(Sql, when), [0]

        def call(self: Sql, *arguments: Any, **more: Any) -> Any:
            counted[0] += 1
            if counted[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(self, *arguments, **more)

        setattr(Sql, when, call)
        try:
            data.execute(run)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_server_that_crashes_in_the_middle_is_waited_for_and_the_fix_goes_on(data: Data) -> None:
    fill(data, 2000)
    data.configure("pause_ms: 20")
    run = waiting_run(data, batch_rows=50)
    crashed: list[int] = []

    def crash() -> None:
        wait_for(lambda: int(data.value("select count(*) from recoverd.fix_batches")) > 3)
        data.server.kill()
        crashed.append(1)
        wait_for(lambda: not data.server.is_running())
        data.server.start()

    thread = threading.Thread(target=crash)
    thread.start()
    run = data.execute(run)
    thread.join(60)
    assert crashed
    assert run.state == "succeeded", run.summary
    assert check(data, "11", "44") == 2000


def test_two_executions_at_once_do_not_both_apply_a_fix(data: Data) -> None:
    """The second takes the fix with a newer epoch, as after a takeover; the first, paused meanwhile, changes nothing more."""
    from recoverd.errors import Stale
    from tasks import records_fixing

    fill(data, 100)
    run = waiting_run(data, batch_rows=10)
    plain, seen = records_fixing.apply_batch, list[Exception]()

    def paused(*arguments: Any) -> Any:
        if len(seen) == 0 and arguments[3] == 50:
            data.sql("update recoverd.fixes set epoch = epoch + 1")
        try:
            return plain(*arguments)
        except Stale as error:
            seen.append(error)
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records_fixing, "apply_batch", paused)
        run = data.execute(run)
    assert run.state == "failed"
    assert len(seen) == 1
    assert check(data, "11", "44") == 50
    assert sum(entry.app == FIX for entries in history(data).values() for entry in entries) == 50


def wait_for(condition: Any, timeout_s: float = 30) -> None:
    deadline = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if condition():
            return
        deadline.wait(0.02)
    raise AssertionError("it did not come about in time")
