"""Notices, for almost nothing, that some process has written to the journal."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from itertools import count

from sqlalchemy import select

from recoverd.journal.database import BUSY_TIMEOUT_MS, Database
from recoverd.journal.forks import watch_forks
from recoverd.journal.tables import head

_connections = count()


@dataclass(frozen=True)
class Marker:
    """A place in the journal's history; equal markers of one Journal mean that nothing was written between them."""

    connection: int
    version: int


class Watch:
    """A connection of its own that never writes: SQLite tells it when any other one has."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._sqlite: sqlite3.Connection | None = None
        self._number = 0
        watch_forks(self)

    def marker(self) -> Marker:
        """Where the journal is now."""
        if not self._database.is_sqlite:
            return Marker(0, int(self._database.read(select(head.c.seq))[0][0]))
        with self._lock:
            connection = self._connected()
            return Marker(self._number, int(connection.execute("PRAGMA data_version").fetchone()[0]))

    def close(self) -> None:
        """Close the connection; the next marker opens another and differs from all before."""
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """SQLite connections must not live through a fork."""
        self._lock.acquire()
        self._drop()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew."""
        self._lock = threading.Lock()

    def _connected(self) -> sqlite3.Connection:
        if self._sqlite is None:
            self._sqlite = sqlite3.connect(
                str(self._database.path),
                timeout=BUSY_TIMEOUT_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
            self._number = next(_connections)
        return self._sqlite

    def _drop(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
            self._sqlite = None
