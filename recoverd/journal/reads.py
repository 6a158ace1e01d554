"""What can be asked of the journal, inside and outside a transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, Table, select

from recoverd.errors import Invalid
from recoverd.journal.entries import Entry, parse_instant
from recoverd.journal.rows import AlertRow, ApprovalDecision, ApprovalRow, LockRow, QuarantineRow, RunRow, State
from recoverd.journal.tables import alerts, approvals, entries, locks, quarantine, runs

PAGE = 500


class Reads:
    """Questions; a subclass says how a statement is run."""

    def _rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        raise NotImplementedError

    def entries(
        self,
        run: str | None = None,
        kinds: Collection[str] | None = None,
        after: int = 0,
        limit: int | None = None,
        *,
        incident: str | None = None,
        step: str | None = None,
    ) -> Iterator[Entry]:
        """Entries in the order of the chain, fetched a page at a time, from `after` (exclusive) on."""
        statement = select(entries).order_by(entries.c.seq)
        for column, value in ((entries.c.run, run), (entries.c.incident, incident), (entries.c.step, step)):
            statement = statement if value is None else statement.where(column == value)
        if kinds is not None:
            statement = statement.where(entries.c.kind.in_(list(kinds)))
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            page = self._rows(statement.where(entries.c.seq > after).limit(size))
            yield from (entry_of(row) for row in page)
            if len(page) < size:
                return
            after, left = page[-1].seq, None if left is None else left - size

    def outcome(self, run: str, step: str) -> dict[str, Any] | None:
        """What the step's newest `step.done` says; None when it was never done, or undone since."""
        row = self._first(_step_entries(run, step, "step.done", "step.undone").order_by(entries.c.seq.desc()))
        return json.loads(row.body) if row is not None and row.kind == "step.done" else None

    def decision(self, run: str, step: str) -> dict[str, Any] | None:
        """What was decided the first time: a decision is kept for the rest of the run."""
        row = self._first(_step_entries(run, step, "step.decided").order_by(entries.c.seq))
        return None if row is None else dict(json.loads(row.body))

    def intention(self, run: str, step: str) -> dict[str, Any] | None:
        """What the newest attempt of the step wrote before it changed anything."""
        row = self._first(_step_entries(run, step, "step.intended").order_by(entries.c.seq.desc()))
        return None if row is None else dict(json.loads(row.body))

    def get_run(self, run: str) -> RunRow:
        """The run with this id, or whose id alone starts or ends so. Raises Invalid when there is not exactly one."""
        exact = self.find_run(run)
        if exact is not None:
            return exact
        near = self._rows(
            select(runs)
            .where(runs.c.id.startswith(run, autoescape=True) | runs.c.id.endswith(run, autoescape=True))
            .limit(4)
        )
        if not run or not near:
            raise Invalid(f"there is no run {run!r}", "recoverd runs lists them")
        if len(near) > 1:
            raise Invalid(f"{run!r} fits several runs", "one of " + ", ".join(row.id for row in near))
        return run_of(near[0])

    def find_run(self, run: str) -> RunRow | None:
        """The run with exactly this id."""
        row = self._first(select(runs).where(runs.c.id == run))
        return None if row is None else run_of(row)

    def list_runs(
        self,
        *,
        states: Collection[State] | None = None,
        target: str | None = None,
        procedure: str | None = None,
        incident: str | None = None,
        alert: str | None = None,
        limit: int = 100,
    ) -> list[RunRow]:
        """Runs that fit all filters, the newest first."""
        statement = select(runs).order_by(runs.c.seq.desc()).limit(limit)
        if states is not None:
            statement = statement.where(runs.c.state.in_(list(states)))
        for name, value in (("target", target), ("procedure", procedure), ("incident", incident), ("alert", alert)):
            statement = statement if value is None else statement.where(runs.c[name] == value)
        return [run_of(row) for row in self._rows(statement)]

    def pending_runs(self, limit: int = 100) -> list[RunRow]:
        """Runs that wait for an executor: the most urgent first, then the oldest."""
        statement = select(runs).where(runs.c.state == "requested").order_by(runs.c.urgency.desc(), runs.c.seq)
        return [run_of(row) for row in self._rows(statement.limit(limit))]

    def get_alert(self, key: str) -> AlertRow | None:
        """The alert with this key."""
        row = self._first(select(alerts).where(alerts.c.key == key))
        return None if row is None else AlertRow(**row._mapping)

    def list_alerts(self, *, status: str | None = None, limit: int = 100) -> list[AlertRow]:
        """Alerts, the newest first."""
        statement = select(alerts).order_by(alerts.c.seq.desc()).limit(limit)
        statement = statement if status is None else statement.where(alerts.c.status == status)
        return [AlertRow(**row._mapping) for row in self._rows(statement)]

    def list_quarantine(self, limit: int = 100) -> list[QuarantineRow]:
        """Bodies that could not be understood, the newest first."""
        return [QuarantineRow(**row._mapping) for row in self._newest(quarantine, limit)]

    def get_approval(self, run: str, gate: str, plan_hash: str) -> ApprovalRow | None:
        """The gate of this run for exactly this plan."""
        found = [row for row in self.list_approvals(run=run, gate=gate) if row.plan_hash == plan_hash]
        return found[0] if found else None

    def list_approvals(
        self, *, run: str | None = None, gate: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[ApprovalRow]:
        """Gates that fit all filters, the newest first."""
        statement = select(approvals).order_by(approvals.c.seq.desc()).limit(limit)
        for name, value in (("run", run), ("gate", gate), ("state", state)):
            statement = statement if value is None else statement.where(approvals.c[name] == value)
        return [approval_of(row) for row in self._rows(statement)]

    def list_locks(self) -> list[LockRow]:
        """All locks that were ever taken, held or not."""
        return [LockRow(**row._mapping) for row in self._rows(select(locks).order_by(locks.c.target))]

    def _first(self, statement: Select[Any]) -> Row[Any] | None:
        rows = self._rows(statement.limit(1))
        return rows[0] if rows else None

    def _newest(self, table: Table, limit: int) -> Sequence[Row[Any]]:
        return self._rows(select(table).order_by(table.c.seq.desc()).limit(limit))


def entry_of(row: Row[Any]) -> Entry:
    """A row of the chain as an entry."""
    values = dict(row._mapping)
    return Entry(**{**values, "at": parse_instant(values["at"]), "body": json.loads(values["body"])})


def run_of(row: Row[Any]) -> RunRow:
    """A row of `runs`."""
    return RunRow(**row._mapping)


def approval_of(row: Row[Any]) -> ApprovalRow:
    """A row of `approvals` with its decisions."""
    values = dict(row._mapping)
    decisions = tuple(ApprovalDecision(**{**one, "at": parse_instant(one["at"])}) for one in values["decisions"])
    return ApprovalRow(**{**values, "roles": tuple(values["roles"]), "decisions": decisions})


def _step_entries(run: str, step: str, *kinds: str) -> Select[Any]:
    return select(entries.c.kind, entries.c.body).where(
        entries.c.run == run, entries.c.step == step, entries.c.kind.in_(kinds)
    )
