"""One transaction of the journal: entries and projections that become true together, or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update

from recoverd.errors import Look
from recoverd.journal.alerts import AlertWrites
from recoverd.journal.entries import Entry, canonical, hashed_fields, seal
from recoverd.journal.runs import RunWrites
from recoverd.journal.tables import entries, head


class Transaction(RunWrites, AlertWrites):
    """Given out by `Journal.transaction()`; it holds the head of the chain, so that writers come one after another."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._sqlite = connection.dialect.name == "sqlite"
        self.seq, self.hash = self._head_locked()
        self.appended = False
        self._clock = (self._database_time(), time.monotonic())
        self._unsaved: list[Entry] = []

    def append(
        self,
        kind: str,
        *,
        who: str,
        run: str | None = None,
        step: str | None = None,
        incident: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Write one fact. It is on disk when the transaction ends without an error."""
        entry = seal(
            self.seq + 1,
            self.now(),
            kind,
            who=who,
            body=body or {},
            prev_hash=self.hash,
            run=run,
            incident=incident,
            step=step,
        )
        self._unsaved.append(entry)
        self.appended = True
        self.seq, self.hash = entry.seq, entry.hash
        return entry

    def now(self) -> datetime:
        """The journal's clock: the database's on PostgreSQL, where several machines write; else this machine's."""
        started, monotonic = self._clock
        return started + timedelta(seconds=time.monotonic() - monotonic)

    def flush(self) -> None:
        """Send what was appended to the database; done by itself before reads and at the end."""
        if not self._unsaved:
            return
        unsaved, self._unsaved = self._unsaved, []
        self.connection.execute(entries.insert(), [_stored(entry) for entry in unsaved])
        self.connection.execute(update(head).where(head.c.id == 1).values(seq=self.seq, hash=self.hash))

    def _rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        self.flush()
        return self.connection.execute(statement).all()

    def _head_locked(self) -> tuple[int, str]:
        statement = select(head.c.seq, head.c.hash).where(head.c.id == 1)
        row = self.connection.execute(statement if self._sqlite else statement.with_for_update()).one_or_none()
        if row is None:
            raise Look("the head of the journal's chain is missing", "keep a copy; run recoverd journal verify")
        return row.seq, row.hash

    def _database_time(self) -> datetime:
        if self._sqlite:
            return datetime.now(timezone.utc)
        found: datetime = self.connection.execute(select(func.clock_timestamp())).scalar_one()
        return found.astimezone(timezone.utc)


def _stored(entry: Entry) -> dict[str, Any]:
    return {**hashed_fields(entry), "body": canonical(entry.body), "hash": entry.hash}
