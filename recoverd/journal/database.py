"""The journal's database: durable, serial for writers, private, safe across threads and forks."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import Executable

from recoverd.errors import Invalid, Look
from recoverd.journal.faults import is_lost, translated
from recoverd.journal.forks import Door, watch_forks

BUSY_TIMEOUT_MS = 10_000
IDLE_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5


class Database:
    """One SQLite file or PostgreSQL database.

    Args:
        address: SQLAlchemy address; `sqlite:///path` or `postgresql://…`.
    """

    def __init__(self, address: str) -> None:
        url = make_url(address.replace("postgres://", "postgresql://", 1))
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise Invalid(f"the journal cannot be kept in {url.get_backend_name()}", "use sqlite:/// or postgresql://")
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.url = url.set(drivername="sqlite" if self.is_sqlite else "postgresql+psycopg2")
        self.where = url.render_as_string(hide_password=True)
        self.path = _file_of(url.database) if self.is_sqlite else None
        self._file_id: tuple[int, int] | None = None
        self._door = Door()
        self._serial = threading.RLock()  # SQLite: threads queue here instead of polling each other's file lock
        self.engine = self._new_engine()
        watch_forks(self)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A write transaction; on SQLite it holds the write lock from its start. The caller commits."""
        with self._door.passed(), self._turn(), translated(self.where), self._begun() as connection:
            yield connection

    def read(self, statement: Executable) -> Sequence[Row[Any]]:
        """The rows of one statement, by itself. A connection that broke while idle is replaced once."""
        with self._door.passed(), translated(self.where):
            try:
                return self._read_once(statement)
            except DBAPIError as error:
                if not is_lost(error):
                    raise
                return self._read_once(statement)

    def remember_file(self) -> None:
        """Note which file this is, so that its loss is seen instead of written into."""
        if self.path is not None:
            found = self.path.stat()
            self._file_id = (found.st_dev, found.st_ino)

    def close(self) -> None:
        """Close all idle connections; the next use opens new ones."""
        self.engine.dispose()

    def before_fork(self) -> None:
        """Let operations end, and close SQLite."""
        self._door.shut()
        if self.is_sqlite:
            self.engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._door.open()

    def after_fork_in_child(self) -> None:
        """New locks, new connections; the parent's sockets stay open and untouched."""
        self._door = Door()
        self._serial = threading.RLock()
        self.engine.dispose(close=False)
        self.engine = self._new_engine()

    def _read_once(self, statement: Executable) -> Sequence[Row[Any]]:
        options = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        with self.engine.connect().execution_options(**options) as connection:
            return connection.execute(statement).all()

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        self._check_file()
        connection = self._begin()
        try:
            yield connection
        finally:
            connection.close()  # rolls back what was not committed

    def _begin(self) -> Connection:
        try:
            return self._begin_once()
        except DBAPIError as error:
            if not is_lost(error):
                raise
            return self._begin_once()  # nothing was done yet on the connection that had broken while idle

    def _begin_once(self) -> Connection:
        connection = self.engine.connect().execution_options(journal_write=True)
        try:
            connection.begin()
            if not self.is_sqlite:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self.is_sqlite:
            yield
            return
        with self._serial:
            yield

    def _check_file(self) -> None:
        if self.path is None or self._file_id is None:
            return
        try:
            found = self.path.stat()
        except FileNotFoundError:
            found = None
        if found is None or (found.st_dev, found.st_ino) != self._file_id:
            raise Look(
                f"the journal's file {self.path} was removed or replaced while it was open",
                "put the file back, or restart recoverd if it was restored on purpose; nothing of this was recorded",
            )

    def _new_engine(self) -> Engine:
        if self.is_sqlite:
            return _sqlite_engine(self.url)
        return create_engine(
            self.url,
            hide_parameters=True,
            pool_size=4,
            max_overflow=12,
            pool_timeout=10,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "application_name": "recoverd",
                "keepalives_idle": 10,
                "keepalives_interval": 3,
                "keepalives_count": 3,
                "tcp_user_timeout": 20_000,
                "options": f"-c lock_timeout={BUSY_TIMEOUT_MS} -c statement_timeout={3 * BUSY_TIMEOUT_MS}"
                f" -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}",
            },
        )


def _sqlite_engine(url: Any) -> Engine:
    engine = create_engine(url, hide_parameters=True, pool_size=4, max_overflow=12, pool_timeout=10)

    @event.listens_for(engine, "connect")
    def durable(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: see `begin`
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("journal_write"):
            _begin_immediate(connection)

    return engine


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock. SQLite's own waiting sleeps up to 100 ms a time, so that a busy writer keeps others out."""
    raw: Any = connection.connection.driver_connection
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < deadline:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    break  # said again below, as an error of the journal
                time.sleep(random.uniform(0.0003, 0.002))  # noqa: S311 - only to step out of rhythm
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def _file_of(database: str | None) -> Path:
    if not database or database == ":memory:":
        raise Invalid("a journal in memory would be lost", "give a file: sqlite:////var/lib/recoverd/journal.db")
    return Path(database).absolute()


def private_file(path: Path) -> None:
    """Create `path` (0600) and its directory (0700) where they are missing; take a file away from group and others.

    A file that is there is never opened here: closing it would drop every lock that this process holds on it, SQLite's
    too, and another process would take the log of the journal away from under it.

    Raises:
        Invalid: It cannot be there, or is not ours.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (PermissionError, FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        raise Invalid(
            f"{path} cannot be opened: {error.strerror}",
            "be the user that recoverd runs as, or name another home with --home or RECOVERD_HOME",
        ) from error
    if path.stat().st_mode & 0o077 and path.stat().st_uid == os.geteuid():
        path.chmod(0o600)


def _create(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
