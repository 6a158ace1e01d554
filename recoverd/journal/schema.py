"""Brings the journal's tables up to date when it is opened; costs one query when they are."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from recoverd.errors import Busy, Refused
from recoverd.journal.database import Database, private_file
from recoverd.journal.faults import is_lost, translated

HEAD = "0002"  # the newest revision in migrations/versions; a test keeps the two equal
KNOWN = ("0001", "0002")
MIGRATION_TIMEOUT_S = 60.0
_ADVISORY_KEY = 0x7265636F7665  # "recove"


def ensure_schema(database: Database) -> None:
    """Create or upgrade the tables. Safe for any number of processes at once.

    Raises:
        Refused: The journal was written by a newer recoverd.
        Busy: Another process has been migrating for longer than a minute.
    """
    if database.path is not None:
        private_file(database.path)
    if current(database) != HEAD:
        with translated(database.where), _alone(database) as connection:
            found = _revision(connection)
            if found != HEAD:
                _upgrade(connection, found)
    database.remember_file()


def current(database: Database) -> str | None:
    """The revision that the tables have; None when there are none."""
    with translated(database.where):
        try:
            return str(database.read(text("SELECT version_num FROM alembic_version"))[0][0])
        except (OperationalError, ProgrammingError) as error:
            if _no_table(error):
                return None
            raise


def _upgrade(connection: Connection, found: str | None) -> None:
    if found is not None and found not in KNOWN:
        raise Refused(f"the journal has revision {found}, which this recoverd does not know", "upgrade recoverd here")
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def _revision(connection: Connection) -> str | None:
    present = connection.dialect.has_table(connection, "alembic_version")
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()) if present else None


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A write transaction that no other process migrates beside."""
    if database.path is None:
        with database.write() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = %s", (int(MIGRATION_TIMEOUT_S * 1000),))
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_ADVISORY_KEY,))
            yield connection
        return
    with _flock(database.path.with_name(database.path.name + ".migrate")):
        # Several processes that switch a new file to WAL at once get "locked" without any waiting: hence the flock.
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        with database.write() as connection:
            yield connection


@contextmanager
def _flock(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + MIGRATION_TIMEOUT_S
        while not _taken(handle):
            if time.monotonic() > deadline:
                raise Busy("another process has been preparing the journal for a minute", f"see who holds {path}")
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _no_table(error: OperationalError | ProgrammingError) -> bool:
    code = getattr(error.orig, "pgcode", None)
    return code == "42P01" or (not is_lost(error) and "no such table" in str(error.orig))
