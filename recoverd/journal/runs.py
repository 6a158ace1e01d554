"""Runs: created, moved from state to state, each change with its entry in the same transaction."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update

from recoverd.errors import Invalid, Look, Stale
from recoverd.journal.entries import plain
from recoverd.journal.rows import ENDED, TRANSITIONS, Mode, RunRow, State, Trigger
from recoverd.journal.tables import runs
from recoverd.journal.writes import Writes
from recoverd.redact import redact

_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # nothing that is misread aloud
_ID_ATTEMPTS = 50


class RunWrites(Writes):
    """The part of a transaction that changes runs."""

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
        alert: str | None = None,
        incident: str | None = None,
        urgency: int = 0,
        run: str | None = None,
    ) -> RunRow:
        """Request a run: its row and its entry `run.requested`. `run` names its id; by default it gets a new one."""
        now = self.now()
        row = {
            "id": run or self._free_id(procedure, now),
            "procedure": procedure,
            "target": target,
            "state": "requested",
            "mode": mode,
            "trigger": trigger,
            "requester": requester,
            "reason": redact(reason),
            "options": plain(options or {}),
            "urgency": urgency,
            "incident": incident,
            "alert": alert,
            "created_at": now,
            "summary": "",
        }
        if self.find_run(str(row["id"])) is not None:
            raise Invalid(f"run {row['id']} exists already")
        facts = {key: value for key, value in row.items() if key not in ("id", "state", "summary", "incident")}
        entry = self.append("run.requested", who=requester, run=str(row["id"]), incident=incident, body=facts)
        self.connection.execute(runs.insert().values(**row, seq=entry.seq))
        return self._run(str(row["id"]))

    def set_run(
        self,
        run: str,
        state: State,
        *,
        who: str,
        summary: str | None = None,
        executor: str | None = None,
        flow_run: str | None = None,
        expected: State | Collection[State] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> RunRow:
        """Move a run to `state` and write its entry: run.started, .resumed, .queued, .waiting, .finished or .undone.

        Args:
            run: The full id.
            state: The new state.
            who: Who or what moves it.
            summary: One sentence; kept in the row.
            executor: `host:pid` that executes it from now on.
            flow_run: Prefect's id.
            expected: State or states that it must be in now; needed to take a running run over.
            body: More facts for the entry.

        Raises:
            Stale: It is not in an expected state, or `state` may not follow its present one.
        """
        row = self._run(run)
        _check_move(row, state, (expected,) if isinstance(expected, str) else expected)
        now = self.now()
        changes: dict[str, Any] = {"state": state, "ended_at": now if state in ENDED else None}
        if state == "running":
            changes["started_at"] = row.started_at or now
        if state == "requested":
            changes["executor"] = None
        given = {"summary": None if summary is None else redact(summary), "executor": executor, "flow_run": flow_run}
        changes.update({key: value for key, value in given.items() if value is not None})
        facts = {"state": state, "from": row.state, **{k: v for k, v in given.items() if v is not None}, **(body or {})}
        self.append(_kind(row, state), who=who, run=run, incident=row.incident, body=facts)
        self.connection.execute(update(runs).where(runs.c.id == run).values(**changes))
        return self._run(run)

    def claim_run(self, run: str, *, who: str, executor: str) -> RunRow | None:
        """Take a requested run for `executor`; None when it is not waiting for one (another was quicker, cancelled)."""
        row = self._run(run)
        return self.set_run(run, "running", who=who, executor=executor) if row.state == "requested" else None

    def note_run(
        self, run: str, *, flow_run: str | None = None, incident: str | None = None, summary: str | None = None
    ) -> RunRow:
        """Change what is not a state. Writes no entry of its own: append the fact that it stands for."""
        given = {"flow_run": flow_run, "incident": incident, "summary": None if summary is None else redact(summary)}
        changes = {key: value for key, value in given.items() if value is not None}
        if changes:
            self._run(run)
            self.connection.execute(update(runs).where(runs.c.id == run).values(**changes))
        return self._run(run)

    def _run(self, run: str) -> RunRow:
        row = self.find_run(run)
        if row is None:
            raise Invalid(f"there is no run {run!r}", "recoverd runs lists them")
        return row

    def _free_id(self, procedure: str, now: datetime) -> str:
        for _ in range(_ID_ATTEMPTS):
            candidate = new_run_id(procedure, now)
            if self.find_run(candidate) is None:
                return candidate
        raise Look(f"no free run id in {_ID_ATTEMPTS} attempts", "look at what starts so many runs")


def new_run_id(procedure: str, now: datetime) -> str:
    """Such as `fo-20261122-0915-k3f9`."""
    start = "".join(letter for letter in procedure.lower() if letter.isascii() and letter.isalpha())[:2] or "run"
    return f"{start}-{now:%Y%m%d-%H%M}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"


def _check_move(row: RunRow, state: State, expected: Collection[State] | None) -> None:
    if expected is not None and row.state not in expected:
        raise Stale(f"run {row.id} is {row.state}, not {' or '.join(expected)}", f"recoverd show {row.id}")
    if state not in TRANSITIONS[row.state]:
        raise Stale(f"run {row.id} is {row.state} and cannot become {state}", f"recoverd show {row.id}")
    if row.state == state and expected is None:
        holder = f" on {row.executor}" if row.executor else ""
        raise Stale(f"run {row.id} is already {state}{holder}", "take it over only when its executor is dead")


def _kind(row: RunRow, state: State) -> str:
    if state == "running":
        return "run.resumed" if row.started_at else "run.started"
    return {"requested": "run.queued", "waiting": "run.waiting", "undone": "run.undone"}.get(state, "run.finished")
