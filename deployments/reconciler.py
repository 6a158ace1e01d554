"""Brings together what the journal says and what is alive: at start, and all the time.

A run is executed again only when its executor is proven dead. Nothing here waits for Prefect: see mirror.py for that.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import httpx

from deployments.prefect_private import CANCEL_SIGNAL
from deployments.start import cancel_asked
from recoverd.errors import RecoverdError
from recoverd.journal import Journal, RunRow, Transaction
from recoverd.liveness import is_alive, is_executing
from recoverd.locks import gave_way_to

logger = logging.getLogger("recoverd.reconciler")

LOOK_EVERY_S = 1.0
CANCEL_LIMIT_S = 30.0
CLAIM_LIMIT_S = 60.0
MAX_DEATHS = 10
WHO = "reconciler"


class Reconciler:
    """One thread of the runner.

    Args:
        journal: The journal.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._wake = threading.Event()
        self._asked_to_stop: dict[str, float] = {}

    def look_now(self) -> None:
        """Something has died or changed: do not wait for the next round."""
        self._wake.set()

    def run_forever(self) -> NoReturn:
        """Look at everything, again and again."""
        while True:
            self._wake.clear()
            self.look()
            self._wake.wait(LOOK_EVERY_S)

    def look(self) -> None:
        """One round. What fails is logged and looked at again in the next."""
        for part in (self.take_over, self.go_on, self.stop_cancelled):
            attempt(part)

    def take_over(self) -> None:
        """Queue the runs again whose executor is dead; give up on those that kill every process they get."""
        for row in self._journal.list_runs(states=["running"]):
            if not self._is_dead(row):
                continue
            asked = cancel_asked(self._journal, row.id)
            deaths = 1 + sum(entry.who == WHO for entry in self._journal.entries(run=row.id, kinds=["run.queued"]))
            with self._journal.transaction() as tx:
                now = tx.find_run(row.id)
                if now is None or now.state != "running" or now.executor != row.executor:
                    continue  # another reconciler was quicker
                why = {"why": f"the process {row.executor} that executed it is gone", "deaths": deaths}
                if asked is not None:
                    tx.set_run(row.id, "cancelled", who=asked, summary=f"cancelled by {asked}", body=why)
                elif deaths >= MAX_DEATHS:
                    summary = f"its process died {deaths} times; look at why before resuming it"
                    tx.set_run(row.id, "failed", who=WHO, summary=summary, body=why)
                else:
                    tx.set_run(row.id, "requested", who=WHO, body=why)
            logger.warning("run %s: the process %s that executed it is gone", row.id, row.executor)

    def go_on(self) -> None:
        """Queue the runs again whose gate was answered, or not answered in time, and those whose way is free again."""
        for row in self._journal.list_runs(states=["waiting"]):
            if is_executing(row.id) or not self._may_be_over(row):
                continue
            with self._journal.transaction() as tx:
                now, over = tx.find_run(row.id), _over(tx, row)
                if over is not None and now is not None and now.state == "waiting":
                    who, why = over
                    tx.set_run(row.id, "requested", who=who, body={"why": why})

    def _may_be_over(self, row: RunRow) -> bool:
        """Whether to ask in a transaction, which keeps everybody else from writing: not every second for each that waits."""
        other = gave_way_to(self._journal, row)
        if other is not None:
            return _has_ended(self._journal.find_run(other))
        return bool(self._journal.list_approvals(run=row.id, limit=1))

    def stop_cancelled(self) -> None:
        """Signal the runs of this machine that someone wants to end; kill those that do not."""
        running = [row for row in self._journal.list_runs(states=["running"]) if _process_here(row) is not None]
        self._asked_to_stop = {run: at for run, at in self._asked_to_stop.items() if run in {row.id for row in running}}
        for row in running:
            if cancel_asked(self._journal, row.id) is None or not is_executing(row.id):
                continue
            since = self._asked_to_stop.get(row.id)
            if since is None:
                self._asked_to_stop[row.id] = time.monotonic()
                _signal(row, CANCEL_SIGNAL)
            elif time.monotonic() - since > CANCEL_LIMIT_S:
                _signal(row, signal.SIGKILL)

    def _is_dead(self, row: RunRow) -> bool:
        """Whether nothing executes this run any more. In doubt it lives.

        A process claims a run before it takes its file lock, so that an unlocked file, left by the executor before it,
        proves nothing while the process of the claim is there and has only just claimed.
        """
        if is_alive(row):
            return False
        process = _process_here(row)
        if process is None:
            return self._lease_ran_out(row)
        return not _exists(process) or self._never_began(row)

    def _never_began(self, row: RunRow) -> bool:
        """Whether it was claimed so long ago that a process which exists, but does not execute it, is another one."""
        claimed = list(self._journal.entries(run=row.id, kinds=["run.started", "run.resumed"]))
        with self._journal.transaction() as tx:
            return not claimed or (tx.now() - claimed[-1].at).total_seconds() > CLAIM_LIMIT_S

    def _lease_ran_out(self, row: RunRow) -> bool:
        """On another machine: its lock on the target was not renewed, and the run was not claimed just now."""
        held = [lock for lock in self._journal.list_locks() if lock.run == row.id]
        with self._journal.transaction() as tx:
            now = tx.now()
        return self._never_began(row) and all(lock.expires_at is None or lock.expires_at <= now for lock in held)


def _over(tx: Transaction, row: RunRow) -> tuple[str, str] | None:
    """Who ends the waiting of a run, and why; None while it has to wait."""
    other = gave_way_to(tx, row)
    if other is not None:
        return (WHO, f"run {other} has ended, to which it gave way") if _has_ended(tx.find_run(other)) else None
    gates = tx.list_approvals(run=row.id, limit=1)
    if gates and (gates[0].state != "waiting" or gates[0].expires_at <= tx.now()):
        return "approvals", f"the gate '{gates[0].gate}' is over"
    return None


def _has_ended(row: RunRow | None) -> bool:
    return row is None or row.ended


def _process_here(row: RunRow) -> int | None:
    """The process id of the run's executor when it is, or was, on this machine."""
    host, _, process = (row.executor or "").rpartition(":")
    return int(process) if host == socket.gethostname() and process.isdigit() else None


def _exists(process: int) -> bool:
    """Whether the process is there and not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def _signal(row: RunRow, number: signal.Signals) -> None:
    process = _process_here(row)
    if process is None:
        return
    try:
        os.kill(process, number)
        logger.info("run %s: sent %s to its process %d", row.id, number.name, process)
    except ProcessLookupError:
        return  # it ended meanwhile: the next round sees that


def attempt(part: Callable[[], None]) -> None:
    """Do one part of a round; what fails is logged, and done again in the next."""
    try:
        part()
    except (RecoverdError, httpx.HTTPError) as error:
        logger.warning("%s has to wait: %s", part.__name__, error)
    except Exception:
        logger.exception("%s failed", part.__name__)
