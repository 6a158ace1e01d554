"""The rows of the projections, as the rest of recoverd sees them, and the states a run may pass through."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

State = Literal["requested", "running", "waiting", "succeeded", "failed", "refused", "undone", "cancelled"]
Mode = Literal["act", "ask", "record"]
Trigger = Literal["alert", "sentinel", "hand", "schedule"]
ApprovalState = Literal["waiting", "approved", "refused", "expired"]
Answer = Literal["approve", "refuse"]

ENDED: frozenset[State] = frozenset({"succeeded", "failed", "refused", "undone", "cancelled"})

# From each state, those that may follow. Back to "requested" is how a run whose executor died is queued again.
TRANSITIONS: dict[State, frozenset[State]] = {
    "requested": frozenset({"running", "waiting", "refused", "failed", "cancelled"}),
    "running": frozenset({"running", "requested", "waiting", "succeeded", "failed", "refused", "cancelled"}),
    "waiting": frozenset({"running", "requested", "refused", "failed", "cancelled"}),
    "succeeded": frozenset({"undone"}),
    "failed": frozenset({"requested", "running", "undone"}),
    "cancelled": frozenset({"undone"}),
    "refused": frozenset(),
    "undone": frozenset(),
}


@dataclass(frozen=True)
class RunRow:
    """One execution of a procedure on a target.

    Attributes:
        id: Short and safe in URLs: first letters of the procedure, day, minute and a random end.
        urgency: Higher starts first when several wait.
        alert: Key of the alert that started it.
        flow_run: Prefect's id of the flow run.
        executor: `host:pid` of the process that executes it.
        summary: One sentence of result.
    """

    id: str
    seq: int
    procedure: str
    target: str
    state: State
    mode: Mode
    trigger: Trigger
    requester: str
    reason: str
    options: dict[str, Any]
    urgency: int
    incident: str | None
    alert: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    flow_run: str | None
    executor: str | None
    summary: str

    @classmethod
    def rehearsal(cls, procedure: str, target: str, options: dict[str, Any]) -> RunRow:
        """The row of a dry run: written nowhere."""
        now = datetime.now(timezone.utc)
        texts = {
            "id": "rehearsal",
            "procedure": procedure,
            "target": target,
            "requester": "",
            "reason": "",
            "summary": "",
        }
        nothing = dict.fromkeys(("incident", "alert", "started_at", "ended_at", "flow_run", "executor"))
        known: dict[str, Any] = {"seq": 0, "urgency": 0, "created_at": now, "options": options, **texts, **nothing}
        return cls(state="running", mode="act", trigger="hand", **known)

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.state in ENDED


@dataclass(frozen=True)
class AlertRow:
    """One alert, however often it was sent.

    Attributes:
        key: What makes it one alert: source, fingerprint, start and status.
        count: How often it has arrived.
        outcome: What became of it: received, started, recorded, refused, resolved.
        run: The run it started.
        body: The alert as its parser understood it.
    """

    key: str
    seq: int
    source: str
    name: str
    status: str
    target: str | None
    starts_at: datetime | None
    received_at: datetime
    last_at: datetime
    count: int
    outcome: str
    reason: str
    run: str | None
    incident: str | None
    body: dict[str, Any]


@dataclass(frozen=True)
class QuarantineRow:
    """A body from a known sender that could not be understood; kept for a person to read."""

    seq: int
    at: datetime
    source: str
    reason: str
    body: str


@dataclass(frozen=True)
class ApprovalDecision:
    """What one person answered at a gate."""

    person: str
    answer: Answer
    comment: str
    at: datetime


@dataclass(frozen=True)
class ApprovalRow:
    """A gate of a run, bound to the hash of the plan that is to be approved.

    Attributes:
        required: How many different people must approve.
        roles: One of these is needed to decide; empty means that any known person may.
    """

    run: str
    gate: str
    plan_hash: str
    seq: int
    state: ApprovalState
    summary: str
    required: int
    roles: tuple[str, ...]
    requester: str
    requested_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    decisions: tuple[ApprovalDecision, ...]

    @property
    def approvers(self) -> tuple[str, ...]:
        """Who has approved so far, each once."""
        return tuple(dict.fromkeys(d.person for d in self.decisions if d.answer == "approve"))


@dataclass(frozen=True)
class LockRow:
    """The lock of one target; without a run it is free. The epoch only grows.

    Attributes:
        gives_way: What the run waits for, while a run for which users wait may take the target; None while it changes things.
    """

    target: str
    run: str | None
    epoch: int
    acquired_at: datetime | None
    expires_at: datetime | None
    gives_way: str | None
