"""The journal's entries of a run, put together into its timeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from recoverd.journal import AlertRow, Entry, RunRow
from recoverd.timeline.model import Moment, Timeline
from recoverd.timeline.moments import moment
from recoverd.timeline.phases import account_of, first_write, instant, phases

_OUTCOMES = {"step.done", "step.failed"}
_BREAKS = {"run.resumed", "run.queued", "run.started"}


def build(row: RunRow, entries: Iterable[Entry], alert: AlertRow | None = None) -> Timeline:
    """The timeline of a run.

    Args:
        row: The run.
        entries: Its entries, in their order.
        alert: The alert that started it.
    """
    written = list(entries)
    began_at, began = beginning(row, alert)
    account = account_of(written)
    # A planned switchover proves writes too, but it counts no outage from its request.
    is_recovery = row.procedure == "failover" or account is not None
    write = first_write(written) if is_recovery else None
    rto_s = None if write is None else round((write - began_at).total_seconds(), 4)
    if account and account.get("rto_s") is not None:
        rto_s = float(account["rto_s"])
    return Timeline(
        run=row.id,
        procedure=row.procedure,
        target=row.target,
        state=row.state,
        mode=row.mode,
        trigger=row.trigger,
        requester=row.requester,
        reason=row.reason,
        alert=row.alert or "",
        incident=row.incident or "",
        summary=row.summary,
        began_at=began_at,
        began=began,
        ended_at=row.ended_at,
        moments=(*_before(alert, began_at), *moments(written, began_at)),
        phases=phases(began_at, written) if is_recovery else (),
        rto_s=rto_s,
        rto_objective_s=account.get("rto_objective_s") if account else None,
        rpo=loss_words(account["loss"]) if account and isinstance(account.get("loss"), dict) else "",
        rpo_objective=_objective(account),
        account=account,
        first_seq=written[0].seq if written else 0,
        last_seq=written[-1].seq if written else 0,
        last_hash=written[-1].hash if written else "",
    )


def beginning(row: RunRow, alert: AlertRow | None) -> tuple[datetime, str]:
    """What times count from, and what that is."""
    if row.options.get("starts_at"):
        return instant(row.options["starts_at"]), "the start of the alert"
    if alert is not None and alert.starts_at is not None:
        return alert.starts_at, "the start of the alert"
    return row.created_at, "the request"


def moments(entries: Sequence[Entry], began_at: datetime) -> tuple[Moment, ...]:
    """The entries as moments: an intention and its outcome are one, unless the run was broken off between them."""
    found: list[Moment] = []
    intended: dict[str, Entry] = {}
    kept = _with_outcome(entries)
    for entry in entries:
        if entry.kind == "step.intended" and entry.seq in kept:
            intended[entry.step or ""] = entry
            continue
        before = intended.pop(entry.step or "", None) if entry.kind in _OUTCOMES else None
        found.append(moment(entry, began_at, intended_at=before.at if before else None))
    return tuple(found)


def loss_words(loss: dict[str, Any]) -> str:
    """What was lost, in words, from the facts of the account."""
    if not loss.get("known"):
        return f"not known yet: {loss.get('reason') or 'the old primary was not asked'}"
    size, commits = int(loss.get("bytes") or 0), int(loss.get("transactions") or 0)
    if not size and not commits:
        return "nothing was lost"
    return f"{commits} transaction{'' if commits == 1 else 's'} ({size} bytes of WAL) did not reach the new primary"


def _with_outcome(entries: Sequence[Entry]) -> set[int]:
    """Numbers of the intentions whose outcome follows within the same execution."""
    found: set[int] = set()
    waiting: dict[str, int] = {}
    for entry in entries:
        if entry.kind in _BREAKS:
            waiting.clear()
        elif entry.kind == "step.intended":
            waiting[entry.step or ""] = entry.seq
        elif entry.kind in _OUTCOMES and (seq := waiting.pop(entry.step or "", None)) is not None:
            found.add(seq)
    return found


def _before(alert: AlertRow | None, began_at: datetime) -> tuple[Moment, ...]:
    """What the alert says of the time before the run."""
    if alert is None:
        return ()
    annotations = alert.body.get("annotations") or {}
    said = annotations.get("summary") or annotations.get("description") or ""
    found = []
    if alert.starts_at is not None:
        text = f"{alert.name} began, says {alert.source}" + (f": {said}" if said else "")
        found.append(Moment(alert.starts_at, _since(began_at, alert.starts_at), None, "alert", "", text, alert.source))
    received = f"{alert.name} received from {alert.source}"
    since_s = _since(began_at, alert.received_at)
    found.append(
        Moment(alert.received_at, since_s, None, "alert", "", received, alert.source, (), alert.key, alert.seq)
    )
    return tuple(found)


def _objective(account: dict[str, Any] | None) -> str:
    if not account or account.get("rpo_objective_bytes") is None:
        return ""
    return f"{account['rpo_objective_bytes']} bytes"


def _since(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 4)
