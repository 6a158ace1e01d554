"""One procedure at a time on one target: a lease with an epoch, kept in the journal's database.

The epoch grows with every change of holder: a controller that was paused and wakes up late is recognised as old.
A run that only waits for something to go on by itself says so with `giving_way`; a run for which users wait may take the
target from it then, and at no other time.
Times are those of the journal's clock: the database's on PostgreSQL, this machine's on SQLite.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from recoverd.errors import Busy, GaveWay, RecoverdError, Stale
from recoverd.journal import Journal, RunRow, Transaction
from recoverd.journal.tables import locks
from recoverd.policy import may_pre_empt

PRE_EMPTED = "lock.preempted"


@dataclass
class Lease:
    """The right of a run to change a target, until `expires_at` by the journal's clock.

    Attributes:
        epoch: Grows with every holder; hosts refuse an epoch older than the last they saw.
    """

    target: str
    run: str
    epoch: int
    expires_at: datetime
    ttl_s: float
    journal: Journal = field(repr=False)

    def check(self) -> None:
        """Raise Stale unless this lease still holds: GaveWay when a more urgent run has taken it while this one waited.

        One read; a lease that ran out untaken is renewed first.
        """
        row, now = _read(self)
        if row is None or not _holds(row, self):
            raise self._stale(row)
        if row.expires_at <= now:
            self.renew()

    def renew(self) -> None:
        """Hold it for another `ttl_s`. Raises Stale when another run, or a newer epoch, has taken it."""
        with self.journal.database.write() as connection:
            expires_at = _clock(connection) + timedelta(seconds=self.ttl_s)
            changed = connection.execute(_mine(self).values(expires_at=expires_at)).rowcount
            connection.commit()
        if not changed:
            raise self._stale(_read(self)[0])
        self.expires_at = expires_at

    def release(self) -> bool:
        """Give it back; False when it was no longer held. The epoch stays in the table."""
        with self.journal.transaction() as tx:
            return self.release_within(tx)

    def release_within(self, tx: Transaction) -> bool:
        """The same within a transaction."""
        tx.flush()
        changed = tx.connection.execute(_mine(self).values(run=None, expires_at=None)).rowcount
        if changed:
            body = {"target": self.target, "epoch": self.epoch}
            tx.append("lock.released", who="recoverd", run=self.run, body=body)
        return bool(changed)

    @contextmanager
    def giving_way(self, what: str) -> Iterator[Lease]:
        """While the body runs, a run for which users wait may take the target: the body changes nothing, and calls `check`.

        After the body nobody takes it any more.

        Args:
            what: What is waited for, for the record of the run that gives way.

        Raises:
            GaveWay: A run has taken it.
        """
        self._give_way(what)
        try:
            yield self
        finally:
            self._give_way(None)

    def _give_way(self, what: str | None) -> None:
        with self.journal.database.write() as connection:
            changed = connection.execute(_mine(self).values(gives_way=what)).rowcount
            connection.commit()
        if not changed:
            raise self._stale(_read(self)[0])

    @contextmanager
    def kept(self) -> Iterator[Lease]:
        """Renew it in a thread, every third of its time, while the body runs; `check` still guards each act."""
        stop = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(stop,), name=f"lease {self.target}", daemon=True)
        keeper.start()
        try:
            yield self
        finally:
            stop.set()
            keeper.join(timeout=self.ttl_s)

    def _keep(self, stop: threading.Event) -> None:
        while not stop.wait(self.ttl_s / 3):
            try:
                self.renew()
            except Stale:
                return  # the next check() says so where it matters
            except RecoverdError:
                continue  # a locked or lost database: try again while time is left

    def _stale(self, row: Row[Any] | None) -> Stale:
        for entry in self.journal.entries(run=self.run, kinds=[PRE_EMPTED]):
            if entry.body["target"] == self.target and entry.body["epoch"] == self.epoch:
                return _gave_way(self.target, self.run, str(entry.body["by"]), str(entry.body["why"]))
        now = "nobody holds it" if row is None or row.run is None else f"run {row.run} holds it"
        return Stale(
            f"run {self.run} lost the lock on {self.target}: its epoch is {self.epoch}, {now}"
            + (f" with epoch {row.epoch}" if row is not None else ""),
            "nothing more is changed by this run; see recoverd runs for what happened since",
        )


def acquire(journal: Journal, target: str, run: str, ttl_s: float = 15.0) -> Lease:
    """Take the lock on `target` for `run`; a run that holds it already gets the same epoch again.

    Raises:
        GaveWay: Another run holds it, and this one has begun to change things: it goes on when that has ended.
        Busy: Another run holds it, and this one has changed nothing; the hint names the holder.
    """
    with journal.transaction() as tx:
        return acquire_within(tx, journal, target, run, ttl_s)


def acquire_within(tx: Transaction, journal: Journal, target: str, run: str, ttl_s: float) -> Lease:
    """The same within a transaction: it is held when that ends."""
    now = tx.now()
    expires_at = now + timedelta(seconds=ttl_s)
    row = _locked_row(tx, target)
    held = row is not None and row.run is not None and row.expires_at > now
    if held and row is not None and row.run == run:
        epoch = int(row.epoch)
        _store(tx, target, expires_at=expires_at, gives_way=None)
    else:
        why = _why_pre_empted(tx, row, run) if held and row is not None else ""
        if held and row is not None and not why:
            raise _busy(tx, row, run)
        epoch = 1 if row is None else int(row.epoch) + 1
        values = {"run": run, "epoch": epoch, "acquired_at": now, "expires_at": expires_at, "gives_way": None}
        _take(tx, row, target, values, why)
    return Lease(target, run, epoch, expires_at, ttl_s, journal)


def gave_way_to(record: Journal | Transaction, row: RunRow) -> str | None:
    """The run whose end a waiting run waits for; None when it waits for a person, or not at all."""
    if row.state != "waiting":
        return None
    waits = list(record.entries(run=row.id, kinds=["run.waiting"]))
    other = waits[-1].body.get("gave_way_to") if waits else None
    return None if other is None else str(other)


def _why_pre_empted(tx: Transaction, row: Row[Any], run: str) -> str:
    """Why a run may take the target from its holder; empty when it may not."""
    asking, holder = tx.find_run(run), tx.find_run(row.run)
    if row.gives_way is None or asking is None or holder is None:
        return ""
    if not may_pre_empt(asking.urgency, holder.urgency):
        return ""
    return f"users wait for this {asking.procedure}, and the {holder.procedure} only waited: {row.gives_way}"


def _take(tx: Transaction, row: Row[Any] | None, target: str, values: dict[str, Any], why: str) -> None:
    epoch = values["epoch"]
    if row is None:
        tx.connection.execute(locks.insert().values(target=target, **values))
    else:
        _store(tx, target, **values)
        if row.run is not None and row.run != values["run"]:
            body = {"target": target, "epoch": row.epoch, "by": values["run"]}
            more = {"why": why} if why else {"expired_at": row.expires_at}
            tx.append(PRE_EMPTED if why else "lock.stolen", who="recoverd", run=row.run, body={**body, **more})
    body = {"target": target, "epoch": epoch, "expires_at": values["expires_at"]}
    if why and row is not None:
        body |= {"from": row.run, "why": why}
    tx.append("lock.acquired", who="recoverd", run=values["run"], body=body)


def _store(tx: Transaction, target: str, **values: Any) -> None:
    tx.connection.execute(update(locks).where(locks.c.target == target).values(**values))


def _locked_row(tx: Transaction, target: str) -> Row[Any] | None:
    statement = select(locks).where(locks.c.target == target)
    if tx.connection.dialect.name != "sqlite":
        statement = statement.with_for_update()  # renewals do not wait for the head of the chain
    return tx.connection.execute(statement).one_or_none()


def _busy(tx: Transaction, row: Row[Any], run: str) -> RecoverdError:
    holder = tx.find_run(row.run)
    about = f" ({holder.procedure}, requested by {holder.requester})" if holder else ""
    held = f"{row.target} is locked by run {row.run}{about}"
    if any(tx.entries(run=run, kinds=["step.intended"], limit=1)):
        return _gave_way(row.target, run, row.run, held)
    return Busy(held, f"recoverd show {row.run} tells how far it is; repeat when it has ended")


def _gave_way(target: str, run: str, by: str, why: str) -> GaveWay:
    return GaveWay(
        f"run {run} gave way on {target} to run {by}: {why}",
        f"it goes on by itself when {by} has ended; nothing more is changed until then",
        by,
    )


def _mine(lease: Lease) -> Any:
    return update(locks).where(locks.c.target == lease.target, locks.c.run == lease.run, locks.c.epoch == lease.epoch)


def _holds(row: Row[Any], lease: Lease) -> bool:
    return bool(row.run == lease.run and row.epoch == lease.epoch)


def _read(lease: Lease) -> tuple[Row[Any] | None, datetime]:
    """The lock as it is, and the time by the journal's clock, in one statement."""
    database, where = lease.journal.database, locks.c.target == lease.target
    if database.is_sqlite:
        rows, now = database.read(select(locks).where(where)), datetime.now(timezone.utc)
    else:
        rows = database.read(select(locks, func.clock_timestamp().label("now")).where(where))
        now = _utc(rows[0].now) if rows else datetime.now(timezone.utc)
    return (rows[0] if rows else None), now


def _clock(connection: Connection) -> datetime:
    if connection.dialect.name == "sqlite":
        return datetime.now(timezone.utc)
    return _utc(connection.execute(select(func.clock_timestamp())).scalar_one())


def _utc(value: datetime) -> datetime:
    return value.astimezone(timezone.utc)
