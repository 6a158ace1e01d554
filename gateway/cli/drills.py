"""`recoverd drill restore` and `recoverd drills`: rehearsing a restore, and what the rehearsals of the past have shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Output, Target, complete_service, the_inventory, the_journal
from gateway.cli.output import Format, emit, note, rows_table, write
from gateway.cli.running import Queue, Reason, Timeout, Wait, start_by_hand

if TYPE_CHECKING:
    from flows.drilling import Standing
    from recoverd.drills import Drill
    from recoverd.inventory import Inventory
    from recoverd.journal import Journal

app = typer.Typer(no_args_is_help=True, help="Rehearse a recovery on an isolated target.")


def register(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="drill")
    parent.command("drills")(drills)


@app.command("restore")
def restore(
    service: Target,
    reason: Reason,
    site: Annotated[
        str | None, typer.Option("--site", help="One site, several with commas, or mixed; none: whose turn it is.")
    ] = None,
    set_id: Annotated[str | None, typer.Option("--set", metavar="ID", help="This set; none: one at random.")] = None,
    to: Annotated[
        str | None, typer.Option("--to", metavar="WHERE", help="latest, or as a restore takes it; none: at random.")
    ] = None,
    wait: Wait = False,
    timeout_s: Timeout = 3600,
    queue: Queue = False,
    output: Output = Format.table,
) -> None:
    """Restore a service's data into an isolated place on the drill host, prove and measure it, and clear it away.

    Production is not touched: no connection to it, no archive, no network.
    """
    from deployments.catalogue import procedure
    from recoverd.drills import PROCEDURE

    inventory = the_inventory()
    inventory.restore_rules_of(inventory.service(service).name)
    given = {"site": site, "set": set_id, "to": to}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    procedure(PROCEDURE).check_options(options)
    start_by_hand(inventory, PROCEDURE, service, reason, "act", options, wait, timeout_s, queue, output)


def drills(
    service: Annotated[
        str | None, typer.Argument(metavar="[SERVICE]", help="Only this service.", autocompletion=complete_service)
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="Most drills of a service, the newest.")
    ] = 10,
    output: Output = Format.table,
) -> None:
    """Show past drills with their trend, when the next is due, and what is overdue. From the journal alone.

    Exits with 1 where a service's drills are overdue or the last one failed.
    """
    inventory, journal = the_inventory(), the_journal()
    names = [inventory.service(service).name] if service else list(inventory.services)
    backed_up = [name for name in names if name in inventory.backups or name in inventory.pgbackrest]
    found = [_of_service(name, inventory, journal, limit) for name in backed_up]
    emit(found, output, lambda: _print(found))
    for name in sorted(set(names) - set(backed_up)):
        note(f"{name} is not backed up: backups.yaml does not name it")
    wrong = [f"{one['service']}: {words}" for one in found for words in one["wrong"]]
    for words in wrong:
        note(words)
    if wrong:
        raise typer.Exit(1)


def _of_service(name: str, inventory: Inventory, journal: Journal, limit: int) -> dict[str, Any]:
    from deployments.drills import scheduled, standings
    from flows.drilling import next_turn
    from flows.trend import trends
    from recoverd.drills import past_drills
    from recoverd.raised import open_incidents

    past, standing, now = past_drills(journal, name), standings(journal, inventory)[name], journal.now()
    rules = inventory.restore_rules_of(name)
    incidents = open_incidents(journal, name)
    line = scheduled(inventory).get(name)
    return {
        "service": name,
        "drill_host": rules.drill_host,
        "every_days": rules.drill.every_days,
        "max_age_days": rules.drill.age_limit_days,
        "schedule": line,
        "last_passed_at": _time(standing.last_passed_at),
        "due_at": None if line else _time(standing.due_at),
        "overdue_at": _time(standing.overdue_at),
        "overdue": standing.is_overdue(now),
        "next_turn": next_turn(inventory.sites_of_backup(name), past),
        "trend": [{**one.model_dump(mode="json"), "summary": one.summary} for one in trends(past)],
        "incidents": [{"id": one.id, "summary": one.summary, "hint": one.hint} for one in incidents],
        "wrong": _wrong(standing, past, now),
        "drills": [{**one.model_dump(mode="json"), "missed": list(one.missed)} for one in past[-limit:][::-1]],
    }


def _wrong(standing: Standing, past: tuple[Drill, ...], now: datetime) -> list[str]:
    found = [f"overdue since {_time(standing.overdue_at)}"] if standing.is_overdue(now) else []
    counting = [one for one in past if one.counts]
    if counting and not counting[-1].passed:
        found.append(f"the last drill failed ({counting[-1].run}): {counting[-1].why}")
    return found


def _print(found: list[dict[str, Any]]) -> None:
    for one in found:
        write(f"{one['service']}: {_when(one)}")
        rows = [_row(drill) for drill in one["drills"]]
        if rows:
            rows_table(rows, ("run", "at", "turn", "set", "MB", "rto_s", "rpo_s", "rows", "result"))
        for trend in one["trend"]:
            write(f"  RTO from {trend['turn']}: {trend['summary']}")
        for incident in one["incidents"]:
            write(f"  open incident {incident['id']}: {incident['summary']}")


def _when(one: dict[str, Any]) -> str:
    """When the next drill comes, and how that is set."""
    passed = f"last passed {one['last_passed_at'] or 'never'}"
    turn = f"next turn {one['next_turn']}"
    if one["drill_host"] is None:
        return f"{passed}; no drill host: name `restore.drill_host` in backups.yaml"
    if one["schedule"]:
        return f"{passed}; {turn}, by schedules.yaml ({one['schedule']}); too old after {one['max_age_days']} days"
    if not one["every_days"]:
        return f"{passed}; {turn}, by hand only (restore.drill.every_days is 0)"
    due = one["due_at"] or "once there is a backup"
    return f"{passed}; {turn}, due {due} (every {one['every_days']} days); too old after {one['max_age_days']} days"


def _row(drill: dict[str, Any]) -> dict[str, Any]:
    result = "passed" if drill["passed"] else f"FAILED: {drill['why']}"
    result += f"; missed: {'; '.join(drill['missed'])}" if drill["missed"] else ""
    result += "; interrupted" if drill["interrupted"] else ""
    wanted = drill["rto_wanted_s"]
    return {
        **drill,
        "at": str(drill["at"])[:16].replace("T", " "),
        "MB": round(drill["bytes"] / 1e6, 1),
        "rto_s": f"{drill['rto_s']:.1f}" + (f" of {wanted:g}" if wanted is not None else ""),
        "result": result,
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"
