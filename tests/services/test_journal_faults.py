"""A full disk, a locked, lost or foreign database: an error that says what to do, and nothing half written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from throw_away_postgres import PgServer

from recoverd.errors import Busy, Invalid, Look, Refused, TimedOut, TryAgain, Unreachable
from recoverd.journal import Journal, database


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", directory], check=True)
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


@pytest.mark.lab
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_is_said_and_what_was_written_stays(small_disk: Path) -> None:
    journal = Journal.open(f"sqlite:///{small_disk}/journal.db")
    written = 0

    def fill() -> None:
        nonlocal written
        for _ in range(200):
            journal.append("step.done", who="x", body={"text": os.urandom(20_000).hex()})
            written += 1

    with pytest.raises(TryAgain, match="disk of the journal is full") as caught:
        fill()
    assert "nothing of this was recorded" in caught.value.message
    assert "free space" in caught.value.hint
    assert written > 5
    assert journal.verify().count == written
    assert journal.verify().ok
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert journal.append("step.done", who="x").seq == written + 1
    journal.close()


def test_a_locked_file_is_busy_after_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Busy, match="locked by another process"):
        journal.append("step.done", who="x")
    assert list(journal.entries()) == []
    other.execute("ROLLBACK")
    assert journal.append("step.done", who="x").seq == 1
    other.close()


def test_a_file_that_was_removed_is_not_written_into(tmp_path: Path) -> None:
    journal = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    journal.append("step.done", who="x")
    kept = (tmp_path / "journal.db").rename(tmp_path / "elsewhere.db")
    with pytest.raises(Look, match="removed or replaced"):
        journal.append("step.done", who="x")
    kept.rename(tmp_path / "journal.db")
    assert journal.append("step.done", who="x").seq == 2


def test_a_file_that_is_no_journal_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_text("minutes of the meeting " * 100)
    with pytest.raises(Look, match="not a journal"):
        Journal.open(f"sqlite:///{tmp_path}/journal.db")
    assert (tmp_path / "journal.db").read_text().startswith("minutes")


def test_a_journal_of_a_newer_recoverd_is_refused(journal: Journal, journal_address: str) -> None:
    with journal.database.engine.connect() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.commit()
    with pytest.raises(Refused, match="9999"):
        Journal.open(journal_address)


@pytest.mark.parametrize("address", ["mysql://h/db", "sqlite://", "sqlite:///:memory:"])
def test_only_databases_that_keep_things_are_taken(address: str) -> None:
    with pytest.raises(Invalid):
        Journal.open(address)


@pytest.mark.postgres
def test_a_database_that_does_not_answer_is_unreachable(pg_server: PgServer) -> None:
    with pytest.raises(Unreachable, match='database "nowhere" does not exist'):
        Journal.open(pg_server.url("nowhere"))
    with pytest.raises(Unreachable, match="does not answer") as caught:
        Journal.open("postgresql://u:hunter2@127.0.0.1:1/journal")
    assert "hunter2" not in str(caught.value)


@pytest.mark.postgres
def test_a_restarted_database_is_found_again_by_the_same_journal(pg_server: PgServer) -> None:
    journal = Journal.open(pg_server.new_database())
    journal.append("step.done", who="x")
    marker = journal.marker()
    pg_server.stop("immediate")
    try:
        for use in (lambda: journal.append("step.done", who="x"), journal.list_runs, journal.marker):
            with pytest.raises(Unreachable):
                use()
    finally:
        pg_server.start()
    assert not journal.changed_since(marker)
    assert journal.append("step.done", who="x").seq == 2
    assert journal.verify().ok
    journal.close()


@pytest.mark.postgres
@pytest.mark.parametrize("happened", [True, False])
def test_a_connection_lost_in_the_commit_is_asked_about_afterwards(
    pg_server: PgServer, monkeypatch: pytest.MonkeyPatch, happened: bool
) -> None:
    """The answer to COMMIT is lost on the way: what counts is what the database holds."""
    journal = Journal.open(pg_server.new_database())
    journal.append("step.done", who="x")

    def append() -> None:
        with journal.transaction() as tx:
            tx.append("step.done", who="y")
            tx.flush()
            if happened:
                tx.connection.exec_driver_sql("COMMIT")
            tx.connection.connection.driver_connection.close()

    if happened:
        append()
    else:
        with pytest.raises(Unreachable, match="nothing of this was recorded"):
            append()
    assert len(list(journal.entries())) == (2 if happened else 1)
    assert journal.verify().ok
    journal.close()


@pytest.mark.postgres
def test_a_commit_whose_fate_cannot_be_asked_is_called_unknown(pg_server: PgServer) -> None:
    journal = Journal.open(pg_server.new_database())

    def append() -> None:
        with journal.transaction() as tx:
            tx.append("step.done", who="y")
            tx.flush()
            pg_server.stop("immediate")

    try:
        with pytest.raises(TimedOut, match="went away during a commit"):
            append()
    finally:
        pg_server.start()
    assert list(journal.entries()) == []
    journal.close()
