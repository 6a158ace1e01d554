"""What was measured, in words and as JSON. Nothing here is assumed: what is not known is None and said to be unknown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from recoverd.journal import Entry, Journal, RunRow
from recoverd.timeline import Timeline, as_markdown, build
from recoverd.timeline.phases import name_of


@dataclass
class Summary:
    """The demo's result; `--json` writes it.

    Attributes:
        fault_at: When the fault was injected, in seconds since the epoch.
        alert_after_s: From the fault to the start of the alert, which recovery time counts from.
        rto_s: From the start of the alert to the first committed write through an entry point.
        users_waited_s: The longest time that the client went without an acknowledged write.
        acknowledged, kept, lost: Commits that the client was told of, by the ledger against the new primary.
        lost_found: How many of the lost ones recoverd saved from the old primary, row by row.
        unanswered_kept, unanswered_gone: Writes that the client got no answer to, and whether they are there: nobody
            had promised it either.
        loss: WAL of the old primary that never reached the new one, as recoverd measured it; None while unknown.
        rows_before, rows_after: Number and sum of the rows that were loaded before the fault.
        writers: Hosts that take writes at the end.
        backup, restore: Runs of the second act; the first took `backup_s`.
        table_before, table_after: Number and sum of the rows of the table before it was dropped, and once it was back.
        table_back_s: From the mistake to the table.
        looks, two_writers: How often that was looked at during the demo, and how often there were two.
    """

    lab: str
    fault: str
    host: str
    fault_at: float = 0.0
    run: str = ""
    state: str = ""
    new_primary: str = ""
    alert_after_s: float | None = None
    rto_s: float | None = None
    rto_objective_s: float | None = None
    phases: list[dict[str, Any]] = field(default_factory=list)
    users_waited_s: float | None = None
    rejoin: str = ""
    rejoin_state: str = ""
    loss: dict[str, Any] | None = None
    rpo_objective: str = ""
    salvage: str = ""
    acknowledged: int = 0
    kept: int = 0
    lost: int = 0
    lost_found: int = 0
    unanswered_kept: int = 0
    unanswered_gone: int = 0
    rows_before: tuple[int, int] = (0, 0)
    rows_after: tuple[int, int] = (0, 0)
    writers: list[str] = field(default_factory=list)
    looks: int = 0
    two_writers: int = 0
    journal_entries: int = 0
    journal_whole: bool = False
    backup: str = ""
    backup_s: float = 0.0
    restore: str = ""
    restore_state: str = ""
    table_before: tuple[int, int] = (0, 0)
    table_after: tuple[int, int] = (0, 0)
    table_back_s: float = 0.0
    took_s: float = 0.0

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def take_failover(self, timeline: Timeline) -> None:
        """What the failover's own account says."""
        account = timeline.account or {}
        self.run, self.state = timeline.run, timeline.state
        self.new_primary = str(account.get("new_primary", ""))
        self.alert_after_s = round(timeline.began_at.timestamp() - self.fault_at, 3)
        self.rto_s, self.rto_objective_s = timeline.rto_s, timeline.rto_objective_s
        self.phases = [asdict(phase) for phase in timeline.phases]
        self.rpo_objective = timeline.rpo_objective
        self.take_loss(account.get("loss"))

    def take_rejoin(self, row: RunRow, entries: list[Entry]) -> None:
        """What the rejoin measured of the old primary's WAL, and where it put the rows that only that one had."""
        self.rejoin, self.rejoin_state = row.id, row.state
        for entry in entries:
            if entry.kind == "step.observed" and name_of(entry) == "survey_loss":
                self.take_loss(entry.body.get("facts"))
            if entry.kind == "step.done" and name_of(entry) == "decode":
                self.salvage = str((entry.body.get("data") or {}).get("directory", ""))

    def take_loss(self, loss: object) -> None:
        """A measured loss replaces what was known before; one that could not be measured does not."""
        if isinstance(loss, dict) and loss.get("known"):
            self.loss = {"bytes": loss.get("bytes"), "transactions": loss.get("transactions")}


def timeline_of(journal: Journal, row: RunRow) -> Timeline:
    """The timeline of a run, from the journal."""
    return build(row, journal.entries(run=row.id), journal.get_alert(row.alert) if row.alert else None)


def document(journal: Journal, row: RunRow) -> str:
    """The same as Markdown."""
    return as_markdown(timeline_of(journal, row))


def cost_words(summary: Summary) -> Iterator[str]:
    """How long it took."""
    yield f"recovery time by phase, from the start of the alert, {summary.alert_after_s:.2f} s after the fault:"
    for phase in summary.phases:
        yield f"  {phase['name']:<15} {phase['seconds']:8.3f} s   at {phase['since_s']:8.3f} s"
    allowed = f" ({summary.rto_objective_s:g} s allowed)" if summary.rto_objective_s is not None else ""
    yield f"RTO    {summary.rto_s:.2f} s{allowed}, from the alert to the first committed write"
    if summary.users_waited_s is not None:
        yield f"users  {summary.users_waited_s:.2f} s without an acknowledged write, by app-1's own ledger"


def loss_words(summary: Summary) -> Iterator[str]:
    """What of the data was lost."""
    if summary.loss is None:
        yield "RPO    not known: the old primary could not be asked for what it had not sent"
    else:
        allowed = f" ({summary.rpo_objective} allowed)" if summary.rpo_objective else ""
        yield (
            f"RPO    {summary.loss['transactions']} transactions, {summary.loss['bytes']} bytes of WAL on "
            f"{summary.host} never reached {summary.new_primary}{allowed}"
        )
    yield f"writes {summary.acknowledged} acknowledged to app-1: {summary.kept} kept, {summary.lost} lost"
    if summary.lost:
        yield "       asynchronous replication allows that: PostgreSQL answers before a standby has the row. With"
        yield "       synchronous replication none is lost: python -m lab.demo --sync"
    if summary.unanswered_kept or summary.unanswered_gone:
        yield f"       of those without an answer {summary.unanswered_kept} there, {summary.unanswered_gone} not there"
    if summary.salvage:
        found = f", {summary.lost_found} of the {summary.lost} lost ones among it" if summary.lost else ""
        yield f"       what only {summary.host} had was saved before it was changed, row by row{found}:"
        yield f"       {summary.salvage}"
    same = "all there" if summary.rows_after == summary.rows_before else f"NOT the same now: {summary.rows_after}"
    yield f"rows   {summary.rows_before[0]} loaded before the fault, with their sum: {same}"
    never = "never two" if not summary.two_writers else f"TWO in {summary.two_writers} of them"
    yield f"safety {', '.join(summary.writers) or 'nobody'} takes writes now; in {summary.looks} looks meanwhile {never}"
    whole = "whole" if summary.journal_whole else "NOT WHOLE"
    yield f"record {summary.journal_entries} entries, each chained to the one before by its hash: {whole}"
