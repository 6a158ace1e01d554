"""Whether an alert that has acted once acts once more.

The run it started may have been refused for a reason that passes: the cooldown, another run on the target, a look that
could not tell. Nobody raises a new alert then, for the old one still fires. So it counts again when it is sent or listed
again, a while after the refusal. Nothing is tried again that was done, that failed, or that was refused because the alert
is wrong or late.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from gateway.alerts_model import Alert
from gateway.routes import Decision
from recoverd.journal import AlertRow, Journal, RunRow, Transaction

AGAIN_AFTER_S = 30.0
"""From the end of a refused run to the next one on that target, at least: as often as the sentinel repeats itself."""

LONGEST_PAUSE_S = 600.0
SHARE_OF_AGE = 0.1
"""The longer an alert has been known, the longer the pause: not a run every half minute for a night."""


def is_due_again(
    record: Journal | Transaction, alert: Alert, row: AlertRow, decision: Decision, after_s: float = AGAIN_AFTER_S
) -> bool:
    """Whether an alert that is known, and comes again, may start a run once more.

    Args:
        record: The journal, or the transaction in which the run would be started.
        alert: As it comes.
        row: As it stands in the journal.
        decision: What it asks for.
        after_s: How long after a refusal, in seconds, while the alert is young.
    """
    if alert.status != "firing" or decision.mode == "record":
        return False
    if record.get_alert(replace(alert, status="resolved").key) is not None:
        return False  # an old message that was long on its way
    newest = next(iter(record.list_runs(procedure=decision.procedure, target=decision.target, limit=1)), None)
    return acts_again(row, newest, _passes(record, newest), record.now(), after_s)


def acts_again(
    alert: AlertRow, newest: RunRow | None, passes: bool, now: datetime, after_s: float = AGAIN_AFTER_S
) -> bool:
    """The rule, for an alert that still fires.

    Args:
        alert: As it stands in the journal.
        newest: The newest run of the procedure on the target that it asks for, whoever started it.
        passes: Whether that run was refused for a reason that passes.
        now: The time, by the journal's clock.
        after_s: How long after that refusal, in seconds, while the alert is young.
    """
    if alert.run is None:
        if alert.outcome != "refused":
            return False  # it never asked for a run
        if newest is None or newest.created_at < alert.received_at:
            return True  # its route had started too many: the intake counts them anew
    if newest is None or newest.state != "refused" or newest.ended_at is None or not passes:
        return False
    age_s = (newest.ended_at - alert.received_at).total_seconds()
    return (now - newest.ended_at).total_seconds() >= max(after_s, min(age_s * SHARE_OF_AGE, LONGEST_PAUSE_S))


def _passes(record: Journal | Transaction, run: RunRow | None) -> bool:
    """Whether a run was refused for a reason that passes, by its own word."""
    if run is None or run.state != "refused":
        return False
    ends = list(record.entries(run=run.id, kinds=["run.finished"]))
    return bool(ends) and bool(ends[-1].body.get("passes"))
