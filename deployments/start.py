"""The one door through which every run starts, whatever asks for it; and the ways to end it or let it go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.catalogue import PROCEDURES, Procedure
from deployments.catalogue import procedure as find_procedure
from recoverd.errors import Stale
from recoverd.inventory import Policy
from recoverd.journal import Journal, Mode, RunRow, Transaction, Trigger
from recoverd.policy import allowed_mode, most_cautious, only_recorded

CANCEL_ASKED = "run.cancelling"


def start(
    procedure: str,
    target: str,
    *,
    trigger: Trigger,
    requester: str,
    reason: str,
    mode: Mode = "act",
    policy: Policy | None = None,
    options: Mapping[str, Any] | None = None,
    alert: str | None = None,
    incident: str | None = None,
    run: str | None = None,
    tx: Transaction | None = None,
    journal: Journal | None = None,
    catalogue: Mapping[str, Procedure] = PROCEDURES,
) -> RunRow:
    """Request a run. It is on disk when this returns (or when the caller's transaction ends), and starts by itself.

    Args:
        procedure: Name of the procedure.
        target: Name of the service.
        trigger: What asks: an alert, the sentinel, a person, a schedule.
        requester: Who asks.
        reason: Why, for the record.
        mode: Whether it acts, asks before it acts, or is only recorded: refused at once, with the reason.
        policy: That of the service: the more careful of what it allows this trigger and of `mode` counts. None where the
            caller has asked it already.
        options: Options of the procedure.
        alert: Key of the alert.
        incident: The incident it belongs to.
        run: The id to give it, where asking twice must not start twice; the run that has it already is returned.
        tx: The caller's journal transaction, so that the alert and its run become true together.
        journal: Where to write without `tx`; None opens the journal of the settings.
        catalogue: The procedures that there are.

    Raises:
        Invalid: There is no such procedure.
    """
    if tx is None:
        with (journal or Journal.open()).transaction() as own:
            return start(
                procedure, target, trigger=trigger, requester=requester, reason=reason, mode=mode, policy=policy,
                options=options, alert=alert, incident=incident, run=run, tx=own, catalogue=catalogue,
            )  # fmt: skip
    known = find_procedure(procedure, catalogue)
    existing = tx.find_run(run) if run is not None else None
    if existing is not None:
        return existing
    allowed = mode if policy is None else most_cautious(mode, allowed_mode(policy, known.name, trigger))
    row = tx.create_run(
        known.name,
        target,
        trigger=trigger,
        requester=requester,
        reason=reason,
        mode=allowed,
        options=options,
        alert=alert,
        incident=incident,
        urgency=known.urgency,
        run=run,
    )
    if row.mode != "record":
        return row
    return tx.set_run(row.id, "refused", who="policy", summary=only_recorded(known.name, target, trigger))


def cancel(run: str, *, who: str, reason: str, journal: Journal | None = None) -> RunRow:
    """End a run before it is through. One that executes is asked to stop, and is killed when it does not.

    What it has done already stays done; the journal says how to take it back.

    Raises:
        Invalid: There is no such run.
        Stale: It has ended already.
    """
    record = journal or Journal.open()
    row = record.get_run(run)
    with record.transaction() as tx:
        row = tx.get_run(row.id)
        if row.ended:
            raise Stale(f"run {row.id} has already {row.state}", f"recoverd show {row.id}")
        if row.state != "running":
            return tx.set_run(row.id, "cancelled", who=who, summary=f"cancelled by {who}: {reason}")
        tx.append(CANCEL_ASKED, who=who, run=row.id, incident=row.incident, body={"reason": reason})
        return row


def cancel_asked(journal: Journal, run: str) -> str | None:
    """Who asked that the run's present execution be cancelled; None when nobody did."""
    entries = list(journal.entries(run=run, kinds=[CANCEL_ASKED, "run.queued"]))
    return entries[-1].who if entries and entries[-1].kind == CANCEL_ASKED else None


def resume(run: str, *, who: str, reason: str, journal: Journal | None = None) -> RunRow:
    """Let a run that waits or has failed go on; what it has done already is not repeated.

    Raises:
        Invalid: There is no such run.
        Stale: It is in no state to go on from.
    """
    record = journal or Journal.open()
    row = record.get_run(run)
    with record.transaction() as tx:
        return tx.set_run(row.id, "requested", who=who, expected=("waiting", "failed"), body={"reason": reason})
