"""Drills by themselves: which services are due, and the incident where the last good drill is too old."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from deployments.catalogue import PROCEDURES, Procedure
from deployments.schedules import load_schedules
from deployments.start import start
from flows.drill import overdue_subject
from flows.drilling import Standing, standing_of
from recoverd.drills import PROCEDURE, past_drills
from recoverd.inventory import Inventory
from recoverd.journal import Journal, RunRow, State, Transaction
from recoverd.raised import raise_incident

ACTIVE: tuple[State, ...] = ("requested", "running", "waiting")
AGAIN_AFTER_S = 6 * 3600.0
"""After an attempt that came to nothing (refused, cancelled, killed) the next one waits so long."""
_ALL_RUNS = 10_000


def standings(record: Journal | Transaction, inventory: Inventory) -> dict[str, Standing]:
    """Where each service that is backed up stands with its drills."""
    past = past_drills(record)
    found = {}
    for service in (*inventory.backups, *inventory.pgbackrest):
        rules = inventory.restore_rules_of(service)
        drills = [one for one in past if one.service == service]
        first = None if any(one.passed for one in drills) else _first_backup(record, service)
        found[service] = standing_of(service, rules.drill, drills, first, can=rules.drill_host is not None)
    return found


def _first_backup(record: Journal | Transaction, service: str) -> datetime | None:
    runs = record.list_runs(procedure="backup", target=service, states=["succeeded"], limit=_ALL_RUNS)
    return runs[-1].ended_at if runs else None


def scheduled(inventory: Inventory, catalogue: Mapping[str, Procedure] = PROCEDURES) -> dict[str, str]:
    """Services whose drills start by a line of schedules.yaml, with its cron expression: by nothing else then."""
    lines = load_schedules(inventory.root, catalogue)
    return {line.target: line.cron for line in lines if line.procedure == PROCEDURE and line.active}


def keep_up(
    journal: Journal,
    inventory: Inventory,
    *,
    ahead: timedelta = timedelta(),
    catalogue: Mapping[str, Procedure] = PROCEDURES,
) -> list[RunRow]:
    """Start the drills that are due, and raise an incident for each service whose drills are overdue. May be repeated at will.

    Args:
        journal: Where it stands, and where runs and incidents go: several that do this at once do it once.
        inventory: What exists.
        ahead: How far from now it looks.
        catalogue: The procedures that there are.
    """
    by_line, now = scheduled(inventory, catalogue), journal.now() + ahead
    if not any(one.is_due(now) or one.is_overdue(now) for one in standings(journal, inventory).values()):
        return []  # mostly so, and nobody had to wait for the journal
    started = []
    with journal.transaction() as tx:
        for service, standing in standings(tx, inventory).items():
            if standing.is_overdue(now):
                _raise(tx, inventory, standing)
            if standing.is_due(now) and service not in by_line and not _tried(tx, service, now):
                started.append(_start(tx, inventory, standing, catalogue))
    return started


def _start(tx: Transaction, inventory: Inventory, standing: Standing, catalogue: Mapping[str, Procedure]) -> RunRow:
    service, days = standing.service, inventory.restore_rules_of(standing.service).drill.every_days
    return start(
        PROCEDURE, service, trigger="schedule", requester="recoverd", tx=tx, catalogue=catalogue,
        policy=inventory.policy_of(service), reason=f"due since {standing.due_at:%Y-%m-%d}: every {days} days",
    )  # fmt: skip


def _tried(tx: Transaction, service: str, now: datetime) -> bool:
    """Whether a drill is under way, or was tried a short while ago."""
    newest = tx.list_runs(procedure=PROCEDURE, target=service, limit=1)
    if not newest:
        return False
    return newest[0].state in ACTIVE or newest[0].created_at > now - timedelta(seconds=AGAIN_AFTER_S)


def _raise(tx: Transaction, inventory: Inventory, standing: Standing) -> None:
    service, since = standing.service, standing.since
    last = f"the last one that passed was on {since:%Y-%m-%d}" if standing.last_passed_at else "none has ever passed"
    raise_incident(
        tx, overdue_subject(service), service,
        f"the restore drill of {service} is overdue since {standing.overdue_at:%Y-%m-%d %H:%M} UTC: {last}",
        f"recoverd drill restore {service} --reason …; without it nobody knows whether its backup comes back",
        criticality=inventory.service(service).criticality,
    )  # fmt: skip
