"""Containments that end by themselves: the undo of each whose time is over is started, and an incident raised where that fails."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from deployments.catalogue import PROCEDURES, Procedure
from deployments.start import start
from recoverd.isolation.containments import Containment, overdue, standing
from recoverd.journal import Journal, RunRow, State, Transaction
from recoverd.raised import close_incident, open_incidents, raise_incident

ACTIVE: tuple[State, ...] = ("requested", "running", "waiting")
AGAIN_AFTER_S = 300.0
"""After an attempt that came to nothing (a host was silent, somebody had changed an account) the next one waits so long."""
_SUBJECT = "containment "


def keep_time(
    journal: Journal, *, ahead: timedelta = timedelta(), catalogue: Mapping[str, Procedure] = PROCEDURES
) -> list[RunRow]:
    """Start the release of every containment whose time is over. May be repeated at will.

    Addresses have let go by themselves by then, in the kernel of their hosts; accounts wait for this.

    Args:
        journal: Where they stand, and where runs and incidents go: several that do this at once do it once.
        ahead: How far from now it looks.
        catalogue: The procedures that there are.
    """
    now = journal.now() + ahead
    closed = [one.subject for one in open_incidents(journal) if one.subject.startswith(_SUBJECT)]
    if not overdue(standing(journal), now) and not closed:
        return []  # mostly so, and nobody had to wait for the journal
    started = []
    with journal.transaction() as tx:
        stand = standing(tx)
        for subject in closed:
            if subject not in {_subject(one) for one in stand}:
                close_incident(tx, subject, "the containment was released")
        for one in overdue(stand, now):
            if _ended(tx, one) and not _tried(tx, one, now):
                started.append(_start(tx, one, catalogue))
    return started


def _ended(tx: Transaction, one: Containment) -> bool:
    """Whether the run that contains has ended; one that still works is left to come to its end."""
    row = tx.find_run(one.run)
    return row is not None and row.ended


def _tried(tx: Transaction, one: Containment, now: datetime) -> bool:
    """Whether its release is under way, or failed a short while ago; then an incident says so."""
    undos = [run for run in tx.list_runs(procedure="undo", target=one.target) if run.options.get("run") == one.run]
    if not undos:
        return False
    newest = undos[0]
    if newest.state in ACTIVE:
        return True
    raise_incident(
        tx, _subject(one), one.target,
        f"the containment of run {one.run} should have ended at {one.until:%Y-%m-%d %H:%M} UTC, and its release "
        f"{newest.id} {newest.state}: {newest.summary}",
        f"recoverd show {newest.id}; then by hand: recoverd undo {one.run} --reason …", run=newest.id,
    )  # fmt: skip
    return (newest.ended_at or newest.created_at) > now - timedelta(seconds=AGAIN_AFTER_S)


def _start(tx: Transaction, one: Containment, catalogue: Mapping[str, Procedure]) -> RunRow:
    return start(
        "undo", one.target, trigger="schedule", requester="recoverd", tx=tx, catalogue=catalogue,
        reason=f"the time of containment {one.run} was over at {one.until:%Y-%m-%d %H:%M:%S} UTC", options={"run": one.run},
    )  # fmt: skip


def _subject(one: Containment) -> str:
    return f"{_SUBJECT}{one.run} overdue"
