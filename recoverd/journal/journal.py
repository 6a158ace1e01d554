"""The journal: append-only, hash-chained, and the single truth for resume, review and audit."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import IO, Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.exc import DBAPIError

from recoverd.errors import TimedOut, TryAgain, Unreachable
from recoverd.journal.database import Database
from recoverd.journal.entries import Entry
from recoverd.journal.faults import is_lost
from recoverd.journal.reads import Reads
from recoverd.journal.rows import Mode, RunRow, State, Trigger
from recoverd.journal.schema import ensure_schema
from recoverd.journal.tables import entries, head
from recoverd.journal.transaction import Transaction
from recoverd.journal.verify import Anchor, Verification, export_chain, verify_chain
from recoverd.journal.watch import Marker, Watch
from recoverd.settings import settings


class Journal(Reads):
    """Open it with `Journal.open`. One object serves all threads of a process, and its forks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._watch = Watch(database)
        self._open = threading.local()

    @classmethod
    def open(cls, url: str | None = None) -> Journal:
        """The journal at `url` (by default that of the settings), its tables up to date.

        Raises:
            Unreachable: The database does not answer, or the file cannot be opened.
            Refused: It was written by a newer recoverd.
        """
        database = Database(url or settings().journal_address)
        ensure_schema(database)
        return cls(database)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Entries and projections that become true together; an exception inside leaves nothing.

        Raises:
            TryAgain: Locked, full or lost database; nothing was recorded.
            TimedOut: The connection broke during the commit and did not come back: whether it was recorded is unknown.
        """
        if getattr(self._open, "busy", False):
            raise RuntimeError("a journal transaction is open in this thread already: hand its tx on")
        self._open.busy = True
        try:
            with self.database.write() as connection:
                tx = Transaction(connection)
                yield tx
                tx.flush()
                broken = _commit(connection)
            if broken:
                self._settle(tx)
        finally:
            self._open.busy = False

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
        """One entry in a transaction of its own."""
        with self.transaction() as tx:
            return tx.append(kind, who=who, run=run, step=step, incident=incident, body=body)

    def create_run(
        self,
        procedure: str,
        target: str,
        *,
        trigger: Trigger,
        requester: str,
        reason: str,
        mode: Mode = "act",
        options: Mapping[str, Any] | None = None,
    ) -> RunRow:
        """`Transaction.create_run` in a transaction of its own."""
        with self.transaction() as tx:
            return tx.create_run(
                procedure, target, trigger=trigger, requester=requester, reason=reason, mode=mode, options=options
            )

    def set_run(
        self,
        run: str,
        state: State,
        *,
        who: str,
        summary: str | None = None,
        executor: str | None = None,
        expected: State | Collection[State] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> RunRow:
        """`Transaction.set_run` in a transaction of its own."""
        with self.transaction() as tx:
            return tx.set_run(run, state, who=who, summary=summary, executor=executor, expected=expected, body=body)

    def note_run(self, run: str, *, flow_run: str | None = None, summary: str | None = None) -> RunRow:
        """`Transaction.note_run` in a transaction of its own."""
        with self.transaction() as tx:
            return tx.note_run(run, flow_run=flow_run, summary=summary)

    def now(self) -> datetime:
        """The journal's clock: the database's on PostgreSQL, this machine's on SQLite."""
        if self.database.is_sqlite:
            return datetime.now(timezone.utc)
        found: datetime = self.database.read(select(func.clock_timestamp()))[0][0]
        return found.astimezone(timezone.utc)

    def rehearse(self) -> None:
        """Build the statements that a run will need, over connections that stay open: the first use costs most.

        Nothing is written: the transaction in which an entry and a run are made is given up.
        """
        self.outcome("", "")
        self.decision("", "")
        self.intention("", "")
        self.list_runs(target="", procedure="", states=["succeeded"], limit=1)
        self.list_runs(target="", limit=1)
        list(self.entries(run="", limit=1))
        list(self.entries(run="", kinds=["step.intended"], limit=1))
        with self.database.write() as connection:
            tx = Transaction(connection)
            run = tx.create_run("rehearsal", "", trigger="hand", requester="recoverd", reason="never written").id
            tx.set_run(run, "running", who="recoverd", executor="")
            tx.note_run(run, flow_run="")
            tx.flush()

    def marker(self) -> Marker:
        """Where the journal is now, for `changed_since`. Take it before reading what is watched."""
        return self._watch.marker()

    def changed_since(self, marker: Marker) -> bool:
        """Whether any process has written since `marker`: cheap to ask every 50 ms, true rather once too often."""
        return self.marker() != marker

    def wait_for_change(self, marker: Marker, timeout_s: float, poll_s: float = 0.05) -> bool:
        """Wait until something is written after `marker`; False when nothing was within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.changed_since(marker):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(poll_s, left_s))
        return True

    def anchor(self) -> Anchor:
        """The newest entry's number and hash: kept elsewhere, it proves later that nothing up to it was replaced."""
        row = self._rows(select(head.c.seq, head.c.hash).where(head.c.id == 1))[0]
        return Anchor(row.seq, row.hash)

    def verify(self, anchor: Anchor | None = None) -> Verification:
        """Read the whole chain, in constant memory, and say which entries were edited, removed or moved."""
        return verify_chain(self.database, anchor)

    def export(self, fp: IO[str]) -> Anchor:
        """Write all entries as JSON Lines and a last line that says where they end, for `verify_export`."""
        return export_chain(self, fp)

    def close(self) -> None:
        """Close its connections; a later use opens new ones."""
        self._watch.close()
        self.database.close()

    def _rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        return self.database.read(statement)

    def _settle(self, tx: Transaction) -> None:
        """The connection broke during the commit: ask whether it happened."""
        try:
            with self.database.write() as connection:
                Transaction(connection)  # waits for the head, which the broken transaction holds until it has ended
                statement = select(entries.c.hash).where(entries.c.seq == tx.seq)
                found = connection.execute(statement).scalar_one_or_none()
        except TryAgain as error:
            raise TimedOut(
                f"the journal's database went away during a commit ({self.database.where})",
                "whether it was recorded is unknown: read the journal once it answers, before repeating",
            ) from error
        if not tx.appended or found != tx.hash:
            raise Unreachable(
                f"the journal's database went away: nothing of this was recorded ({self.database.where})", "repeat"
            )


def _commit(connection: Connection) -> bool:
    """Commit; True when the connection broke meanwhile."""
    try:
        connection.commit()
    except DBAPIError as error:
        if not is_lost(error):
            raise
        return True
    return False
