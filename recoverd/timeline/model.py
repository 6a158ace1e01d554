"""The record of a run as a reviewer reads it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from recoverd.journal.entries import instant_text

What = Literal[
    "alert", "run", "look", "decision", "change", "intention", "proof", "account", "approval", "lock", "trouble", "record",
]  # fmt: skip


Read = tuple[What, str, str, tuple[str, ...]]
"""What a reader makes of an entry: what it is, its title, its text, details."""


@dataclass(frozen=True)
class Moment:
    """Something that happened.

    Attributes:
        at: When it was written down.
        since_s: Seconds since the beginning of the trouble (`Timeline.began_at`).
        seconds: How long it took; None where that says nothing.
        what: Of what sort it is.
        title: What was done, in the imperative; empty where `text` says all.
        text: What came of it.
        who: The person or the part of recoverd behind it.
        details: Reasons, conditions and hints, a line each.
        step: Key of the step in the journal.
        seq: Number of the entry in the journal; 0 for what the alert says of the time before.
    """

    at: datetime
    since_s: float
    seconds: float | None
    what: What
    title: str
    text: str
    who: str
    details: tuple[str, ...] = ()
    step: str = ""
    seq: int = 0


@dataclass(frozen=True)
class Phase:
    """A stretch of the recovery: what ended it, when (seconds since the beginning), and how long it took."""

    name: str
    since_s: float
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """All of it.

    Attributes:
        began_at: What times count from: the alert's startsAt, else the request of the run.
        began: What that is, in words.
        phases: The recovery time by phase, as far as it came.
        rto_s: From the beginning to the first committed write; None when none was proven.
        rpo: What of the data was lost, in words; empty when the run gives no account.
        account: The facts of the run's own account, as the journal has them.
        first_seq, last_seq: Where in the journal it stands.
        last_hash: Hash of the last entry, for whoever compares it with the journal later.
    """

    run: str
    procedure: str
    target: str
    state: str
    mode: str
    trigger: str
    requester: str
    reason: str
    alert: str
    incident: str
    summary: str
    began_at: datetime
    began: str
    ended_at: datetime | None
    moments: tuple[Moment, ...]
    phases: tuple[Phase, ...] = ()
    rto_s: float | None = None
    rto_objective_s: float | None = None
    rpo: str = ""
    rpo_objective: str = ""
    account: dict[str, Any] | None = None
    first_seq: int = 0
    last_seq: int = 0
    last_hash: str = ""


def as_data(timeline: Timeline) -> dict[str, Any]:
    """The timeline as plain JSON values."""
    data = {name: _plain(value) for name, value in vars(timeline).items()}
    data["moments"] = [{name: _plain(value) for name, value in vars(moment).items()} for moment in timeline.moments]
    data["phases"] = [vars(phase) for phase in timeline.phases]
    return data


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return instant_text(value)
    return list(value) if isinstance(value, tuple) else value
