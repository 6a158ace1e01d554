"""One entry of the journal as one moment of a timeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from recoverd.journal import Entry
from recoverd.timeline import moments_sites
from recoverd.timeline.model import Moment, Read, What
from recoverd.timeline.phases import name_of


def moment(entry: Entry, began_at: datetime, *, intended_at: datetime | None = None) -> Moment:
    """What a reviewer is told of an entry.

    Args:
        entry: The entry.
        began_at: What times count from.
        intended_at: For an outcome: when it was intended.
    """
    what, title, text, details = _READERS.get(entry.kind, _other)(entry)
    if intended_at is not None:
        intended = f"intended at {since_words((intended_at - began_at).total_seconds())}"
        details = ("; ".join([intended, *details]),)
    seconds = entry.body.get("seconds")
    return Moment(
        at=entry.at,
        since_s=round((entry.at - began_at).total_seconds(), 4),
        seconds=float(seconds) if isinstance(seconds, int | float) and what != "intention" else None,
        what=what,
        title=title,
        text=text,
        who=entry.who,
        details=tuple(line for line in details if line),
        step=entry.step or "",
        seq=entry.seq,
    )


def since_words(seconds: float) -> str:
    """Seconds since the beginning: `+1.234 s`, from a minute on `+2:05.1`, from an hour on `+1:02:05`."""
    sign, size = ("-" if seconds < 0 else "+"), abs(seconds)
    if size < 60:
        return f"{sign}{size:.3f} s"
    minutes, rest = divmod(size, 60)
    if minutes < 60:
        return f"{sign}{int(minutes)}:{rest:04.1f}"
    return f"{sign}{int(minutes // 60)}:{int(minutes % 60):02d}:{int(rest):02d}"


# Looks that are more than that: what a run ends with.
_LOOKS: dict[str, What] = {"prove_write": "proof", "check_end": "proof", "account": "account"}


def _requested(entry: Entry) -> Read:
    body = entry.body
    words = f"{body.get('procedure')} of {body.get('target')} requested by {entry.who}: {body.get('reason')}"
    details = [f"mode: {body['mode']}"] if body.get("mode") not in (None, "act") else []
    details += [f"{key}: {value}" for key, value in (body.get("options") or {}).items()]
    return "run", "", words, tuple(details)


def _started(entry: Entry) -> Read:
    again = "taken up again" if entry.kind == "run.resumed" else "begun"
    return "run", "", f"{again} by {entry.body.get('executor', entry.who)}", ()


def _queued(entry: Entry) -> Read:
    why = entry.body.get("reason") or entry.body.get("why") or f"it was {entry.body.get('from', 'away')}"
    return "run", "", f"queued to go on: {why}", ()


def _waiting(entry: Entry) -> Read:
    by = entry.body.get("gave_way_to")
    return "run", "", f"waits until run {by} has ended" if by else "waits for a person", ()


def _finished(entry: Entry) -> Read:
    body = entry.body
    error, hint = body.get("error") or "", body.get("hint") or ""
    words = f"{body.get('state', 'ended')}" + (f": {error}" if error else "")
    return "run", "", words, (f"HINT: {hint}" if hint else "",)


def _cancelling(entry: Entry) -> Read:
    return "run", "", f"{entry.who} asks to cancel it: {entry.body.get('reason', '')}", ()


def _observed(entry: Entry) -> Read:
    return _LOOKS.get(name_of(entry), "look"), _title(entry), str(entry.body.get("summary", "")), ()


def _decided(entry: Entry) -> Read:
    summary = str(entry.body.get("summary", ""))
    decision = entry.body.get("decision")
    return "decision", _title(entry), summary, tuple(_reasons(decision, summary)) if isinstance(decision, dict) else ()


def _done(entry: Entry) -> Read:
    body, details = entry.body, []
    summary = str(body.get("summary", ""))
    if not body.get("changed"):
        return "change", _title(entry), f"already so: {summary}", ()
    if body.get("irreversible"):
        details.append(f"cannot be taken back: {body['irreversible']}")
    elif body.get("undo"):
        details.append("can be taken back")
    return "change", _title(entry), summary, tuple(details)


def _intended(entry: Entry) -> Read:
    return "intention", _title(entry), "its outcome was not written down: the process ended here", ()


def _failed(entry: Entry) -> Read:
    hint = entry.body.get("hint")
    return "trouble", _title(entry), str(entry.body.get("error", "")), (f"HINT: {hint}" if hint else "",)


def _undone(entry: Entry) -> Read:
    return "change", _title(entry), f"taken back: {entry.body.get('summary', '')}".rstrip(": "), ()


def _gate_requested(entry: Entry) -> Read:
    body, details = entry.body, []
    roles = ", ".join(body.get("roles") or ()) or "any role that may approve"
    details.append(f"needs {body.get('required', 1)} of: {roles}; until {_short(body.get('expires_at'))}")
    details += [f"{key}: {_flat(value)}" for key, value in (body.get("plan") or {}).items()]
    details.append(f"plan {str(body.get('plan_hash', ''))[:12]}")
    return "approval", "", f"asked: {body.get('summary', '')}", tuple(details)


def _gate_answered(entry: Entry) -> Read:
    body = entry.body
    answer = entry.kind.partition(".")[2]
    comment = f": {body['comment']}" if body.get("comment") else ""
    count = f" ({body['approvals']} of {body['required']})" if answer == "approved" and "required" in body else ""
    who = entry.who if answer != "expired" else str(body.get("why", "nobody answered"))
    return "approval", "", f"{answer}{count} by {who}{comment}" if answer != "expired" else f"expired: {who}", ()


def _alert(entry: Entry) -> Read:
    body = entry.body
    words = {"duplicate": "came again", "accepted": "accepted", "resolved": "is over, says the sender"}
    kind = entry.kind.partition(".")[2]
    reason = f": {body['reason']}" if body.get("reason") else ""
    name = body.get("name") or body.get("key", "")
    return "alert", "", f"{name} {words.get(kind, kind)}{reason}".strip(), ()


def _lock(entry: Entry) -> Read:
    body, kind = entry.body, entry.kind.partition(".")[2]
    words = {"acquired": "locked", "released": "released", "stolen": f"taken over by run {body.get('by')}"}
    words |= {"preempted": f"given up to run {body.get('by')}"}
    if body.get("from"):
        words |= {"acquired": f"taken from run {body['from']} and locked"}
    why = f": {body['why']}" if body.get("why") else ""
    return "lock", "", f"{body.get('target')} {words.get(kind, kind)}, epoch {body.get('epoch')}{why}", ()


def _evidence(entry: Entry) -> Read:
    body = entry.body
    return "record", "", f"{body.get('what')}: {body.get('files')} files in {body.get('directory')}", ()


def _sentinel(entry: Entry) -> Read:
    body = entry.body
    return (
        "look",
        f"the sentinel sees {body.get('service')}",
        f"{body.get('verdict')}",
        tuple(body.get("reasons") or ()),
    )


def _hosts(entry: Entry) -> Read:
    body = entry.body
    return "record", "", f"{body.get('selector')} means {_flat(body.get('hosts') or [])}", ()


def _proof(entry: Entry) -> Read:
    body = entry.body
    words = "proven cut off" if body.get("proven") else "NOT PROVEN"
    return "proof", f"{body.get('host')} {words}", str(body.get("summary") or ""), ()


def _other(entry: Entry) -> Read:
    return "record", _title(entry), str(entry.body.get("summary") or entry.kind), ()


_READERS: dict[str, Callable[[Entry], Read]] = {
    "run.requested": _requested,
    "run.started": _started,
    "run.resumed": _started,
    "run.queued": _queued,
    "run.waiting": _waiting,
    "run.finished": _finished,
    "run.undone": _finished,
    "run.cancelling": _cancelling,
    "step.observed": _observed,
    "step.decided": _decided,
    "step.intended": _intended,
    "step.done": _done,
    "step.failed": _failed,
    "step.undone": _undone,
    "evidence.stored": _evidence,
    "hosts.chosen": _hosts,
    "isolate.proven": _proof,
    "sentinel.observed": _sentinel,
    "wal.changed": moments_sites.wal,
    "site.bad": moments_sites.bad,
    **dict.fromkeys(("site.damaged", "site.tampered", "site.clean", "site.lifted"), moments_sites.judged),
    "gate.requested": _gate_requested,
    "gate.approved": _gate_answered,
    "gate.refused": _gate_answered,
    "gate.expired": _gate_answered,
    **dict.fromkeys(("alert.accepted", "alert.duplicate", "alert.recorded", "alert.refused", "alert.resolved"), _alert),
    **dict.fromkeys(("lock.acquired", "lock.released", "lock.stolen", "lock.preempted"), _lock),
}


def _title(entry: Entry) -> str:
    return str(entry.body.get("title") or entry.step or "")


def _reasons(decision: dict[str, Any], summary: str) -> list[str]:
    """Sentences of the decision that its summary does not say already."""
    found = []
    for value in decision.values():
        if isinstance(value, list):
            found += [item for item in value if isinstance(item, str) and " " in item and item not in summary]
    return found


def _flat(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)


def _short(instant: Any) -> str:
    return str(instant or "")[:19].replace("T", " ") + " UTC"
