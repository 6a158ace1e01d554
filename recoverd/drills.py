"""Drills as the journal has them: one entry a drill, with what it measured. Whoever reports on drills reads these alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.journal import Journal, Transaction

DRILL_DONE = "drill.done"
PROCEDURE = "drill-restore"
MIXED = "mixed"
"""The turn of all sites at once."""


class Drill(BaseModel):
    """What one drill of a restore came to.

    Attributes:
        at: When it began, UTC.
        turn: The site that it was about, or `mixed`.
        sites: Those that were read from.
        point: Where recovery ended, as steps name it.
        bytes: Encrypted bytes of the set that was brought.
        seconds: By phase; see `flows.measuring`.
        rto_s: From the first look to data that is proven.
        rpo_s: What would have been lost, had the service died when the drill began; None where nothing could be restored.
        rto_wanted_s, rpo_wanted_s: What it is measured against; None where there is no such objective.
        tables, rows: Counted in the restored data; None where that was not done, or took too long.
        bad: Files that a site had damaged or not at all, by site.
        passed: The data came back and was proven; an objective that was missed does not change that.
        why: What was wrong, when it was not.
        counts: Whether it says anything about the backup: not where the set was let go while the drill ran.
        interrupted: It was taken up again by another process, so that its times mean nothing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    service: str
    at: datetime
    host: str
    turn: str
    sites: tuple[str, ...] = ()
    set: str = ""
    point: str = ""
    bytes: int = 0
    seconds: dict[str, float] = {}
    rto_s: float = 0.0
    rpo_s: float | None = None
    rto_wanted_s: float | None = None
    rpo_wanted_s: float | None = None
    tables: int | None = None
    rows: int | None = None
    bad: dict[str, list[str]] = {}
    passed: bool = False
    why: str = ""
    counts: bool = True
    interrupted: bool = False

    @property
    def missed(self) -> tuple[str, ...]:
        """The objectives that it did not keep, in words."""
        if not self.passed or self.interrupted:
            return ()
        found = []
        if self.rto_wanted_s is not None and self.rto_s > self.rto_wanted_s:
            found.append(f"it took {self.rto_s:.1f} s, and the RTO is {self.rto_wanted_s:g} s")
        if self.rpo_wanted_s is not None and self.rpo_s is not None and self.rpo_s > self.rpo_wanted_s:
            found.append(f"{self.rpo_s:.0f} s of writes would be lost, and the RPO is {self.rpo_wanted_s:g} s")
        return tuple(found)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.passed:
            return f"the drill of {self.service} ({self.turn}) failed: {self.why}"
        rows = "" if self.rows is None else f", {self.rows} rows in {self.tables} tables"
        lost = "" if self.rpo_s is None else f", {self.rpo_s:.0f} s would have been lost"
        missed = f"; missed: {'; '.join(self.missed)}" if self.missed else ""
        return f"{self.set} of {self.service} came back from {', '.join(self.sites)} in {self.rto_s:.1f} s{lost}{rows}{missed}"


def note_drill(journal: Journal, drill: Drill) -> None:
    """Write what a drill came to, once."""
    with journal.transaction() as tx:
        if drill_of(tx, drill.run) is None:
            body: dict[str, Any] = {"summary": drill.summary, **drill.model_dump(mode="json")}
            tx.append(DRILL_DONE, who="recoverd", run=drill.run, body=body)


def drill_of(record: Journal | Transaction, run: str) -> Drill | None:
    """What the drill of a run came to; None while it has not ended."""
    for entry in record.entries(run=run, kinds=[DRILL_DONE]):
        return Drill.model_validate(entry.body)
    return None


def past_drills(record: Journal | Transaction, service: str | None = None) -> tuple[Drill, ...]:
    """All drills, of one service or of any, in the order in which they ended."""
    found = (Drill.model_validate(entry.body) for entry in record.entries(kinds=[DRILL_DONE]))
    return tuple(one for one in found if service in {None, one.service})
