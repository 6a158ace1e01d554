"""Recovery time by phase. The run's own account counts; a run that never got so far is measured by its entries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from recoverd.journal import Entry
from recoverd.timeline.model import Phase

# By kind of entry and name of step: the phase that it ends. Of several the last counts, of runs the first start.
MILESTONES = {
    ("step.decided", "diagnose"): "confirmed",
    ("step.done", "fence_by_ssh"): "fenced",
    ("step.done", "power_off"): "fenced",
    ("step.decided", "settle_copy"): "restored beside",
    ("step.done", "put_in_place"): "swapped in",
    ("step.done", "start_restored"): "started",
    ("step.done", "promote"): "promoted",
    ("step.observed", "await_leader"): "promoted",
    ("step.done", "ask_for_failover"): "promoted",
    ("step.done", "claim_address"): "address moved",
}


def milestone_of(entry: Entry) -> str | None:
    """The phase that an entry ends; None for most."""
    return "approved" if entry.kind == "gate.approved" else MILESTONES.get((entry.kind, name_of(entry)))


def phases(began_at: datetime, entries: Sequence[Entry]) -> tuple[Phase, ...]:
    """The phases of a run, each from the end of the one before it; one that did not happen is left out."""
    account = account_of(entries)
    if account and account.get("phases"):
        return tuple(
            Phase(str(phase["name"]), _since(began_at, instant(phase["ended_at"])), float(phase["seconds"]))
            for phase in account["phases"]
        )
    ended = sorted((at, name) for name, at in _milestones(entries).items())
    found, before = [], began_at
    for at, name in ended:
        found.append(Phase(name, _since(began_at, at), _since(before, at)))
        before = at
    return tuple(found)


def account_of(entries: Sequence[Entry]) -> dict[str, Any] | None:
    """The facts that the run's account step wrote down; None when it never came to that."""
    for entry in reversed(entries):
        if entry.kind == "step.observed" and name_of(entry) == "account":
            facts = entry.body.get("facts")
            return facts if isinstance(facts, dict) else None
    return None


def first_write(entries: Sequence[Entry]) -> datetime | None:
    """When the first write through an entry point was committed."""
    proven = [
        instant(facts["committed_at"])
        for entry in entries
        if entry.kind == "step.observed" and name_of(entry) == "prove_write"
        and isinstance(facts := entry.body.get("facts"), dict) and facts.get("committed_at")
    ]  # fmt: skip
    return min(proven, default=None)


def name_of(entry: Entry) -> str:
    """The name of the entry's step, without its arguments."""
    return (entry.step or "").partition("(")[0]


def decision_of(entries: Sequence[Entry], step: str) -> dict[str, Any]:
    """What the first decision of that name came to; empty when none was made."""
    found = [entry.body["decision"] for entry in entries if entry.kind == "step.decided" and name_of(entry) == step]
    return dict(found[0]) if found else {}


def instant(text: Any) -> datetime:
    """A time as entries hold it."""
    return datetime.fromisoformat(str(text).replace("Z", "+00:00"))


def _milestones(entries: Sequence[Entry]) -> dict[str, datetime]:
    reached: dict[str, datetime] = {}
    for entry in entries:
        if entry.kind == "run.requested":
            reached.setdefault("received", entry.at)
        elif entry.kind == "run.started":
            reached.setdefault("started", entry.at)
        elif (name := milestone_of(entry)) is not None:
            reached[name] = entry.at
    write = first_write(entries)
    return reached if write is None else {**reached, "write proven": write}


def _since(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 4)
