"""`recoverd check`: would a recovery work now? Looks, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import Output, complete_service, the_inventory, the_journal
from gateway.cli.output import Format, emit, note, rows_table
from recoverd.words import counted

if TYPE_CHECKING:
    from flows.finding import Finding
    from recoverd.inventory import Inventory

MOST_AT_ONCE = 8


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


def check(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="[SERVICE]", help="Only this service, or this backup of files.", autocompletion=complete_service
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and problems.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Only the files: ask no host.")] = False,
    output: Output = Format.table,
) -> None:
    """See whether a recovery would work now: reach, credentials, replication, configuration, fences, ways in.

    Changes nothing. Exits with 0 when there is no problem (warnings do not count), with 1 when there is one.
    """
    inventory = the_inventory()
    names = [inventory.target(service).name] if service else [*inventory.services, *inventory.files]
    found = [*_of_files(inventory), *([] if offline else _of_services(inventory, names))]
    shown = [finding for finding in found if finding.level != "ok" or not quiet]
    rows = [asdict(finding) for finding in shown]
    emit(rows, output, lambda: rows_table(rows, ("level", "area", "where", "what", "hint")) if rows else None)
    counts = {level: sum(finding.level == level for finding in found) for level in ("problem", "warning", "ok")}
    wrong = f"{counted(counts['problem'], 'problem')}, {counted(counts['warning'], 'warning')}"
    note(f"{wrong}, {counts['ok']} ok in {', '.join(names)}")
    if counts["problem"]:
        raise typer.Exit(1)


def _of_files(inventory: Inventory) -> Iterator[Finding]:
    """What can be seen without asking any host: the inventory, its secrets, its routes."""
    from flows.finding import Finding
    from recoverd.inventory.findings import findings

    doubts = findings(inventory)
    for doubt in doubts:
        secret = doubt.subject.startswith("secret ")
        if "has no fence device" not in doubt.what:  # said member by member below
            yield Finding("problem" if secret else "warning", "inventory", doubt.subject, doubt.what, doubt.hint)
    yield from _secrets(inventory)
    yield from _routes(inventory)
    if not doubts:
        yield Finding("ok", "inventory", inventory.root.name, "its files fit together, and no secret is open to others")


def _secrets(inventory: Inventory) -> Iterator[Finding]:
    """Secrets that cannot be read now. Those in Prefect are left to Prefect: it may run elsewhere."""
    from flows.finding import Finding
    from recoverd.errors import RecoverdError
    from recoverd.inventory.findings import secrets_of

    for reference in secrets_of(inventory):
        if reference.prefect_block is not None:
            continue
        try:
            reference.resolve()
        except RecoverdError as error:
            # An environment variable may well be set for `recoverd serve` alone.
            yield Finding(
                "warning" if reference.env else "problem",
                "credentials",
                f"secret {reference}",
                error.message,
                error.hint,
            )


def _routes(inventory: Inventory) -> Iterator[Finding]:
    """Whether the routes of alerts.yaml lead to procedures and services that there are."""
    from deployments.catalogue import PROCEDURES
    from flows.finding import Finding
    from gateway.routes import RouteTable
    from recoverd.errors import Invalid

    if not inventory.routes:
        hint = "add a route to alerts.yaml, or start procedures by hand"
        yield Finding("warning", "routes", "alerts.yaml", "no alert starts anything: there are no routes", hint)
        return
    try:
        RouteTable(inventory, PROCEDURES)
    except Invalid as error:
        for line in error.message.splitlines()[1:]:
            yield Finding("problem", "routes", "alerts.yaml", line, error.hint)
    else:
        yield Finding("ok", "routes", "alerts.yaml", f"{len(inventory.routes)} routes lead to procedures and services")


def _of_services(inventory: Inventory, names: list[str]) -> list[Finding]:
    with ThreadPoolExecutor(max_workers=min(MOST_AT_ONCE, max(1, len(names))), thread_name_prefix="check") as pool:
        return [finding for found in pool.map(lambda name: _of_service(inventory, name), names) for finding in found]


def _of_service(inventory: Inventory, name: str) -> tuple[Finding, ...]:
    from flows.readiness import judge
    from recoverd.execution import rehearsal
    from tasks.readiness import survey

    if name in inventory.files:
        return tuple(_of_archives(inventory, name))
    with rehearsal("check", name, inventory):
        found = judge(survey(name), inventory.service(name), inventory)
        if name in inventory.pgbackrest:
            return (*found, *_of_repositories(inventory, name))
        return (*found, *_of_backup(inventory, name)) if name in inventory.backups else found


def _of_archives(inventory: Inventory, name: str) -> Iterator[Finding]:
    """What stands in the way of a backup or a restore of files, a host after another."""
    from datetime import datetime, timezone

    from flows.readiness_backups import judge_backup_needs
    from recoverd.execution import rehearsal
    from tasks.readiness_backups import look_at_backup

    for archive in inventory.archives_of(name):
        with rehearsal("check", archive, inventory):
            needs = look_at_backup(archive)
        for one in judge_backup_needs(needs, inventory.backup_of(archive), (), datetime.now(timezone.utc)):
            yield replace(one, where=f"{archive}, {one.where}")


def _of_repositories(inventory: Inventory, name: str) -> Iterator[Finding]:
    """What stands in the way of a restore by pgBackRest."""
    from datetime import datetime, timezone

    from flows.engine import engine_of
    from flows.readiness_holdings import judge_holdings

    seen = engine_of(name).survey(name, read=False)
    yield from judge_holdings(seen, inventory.pgbackrest[name].max_age_s, datetime.now(timezone.utc))


def _of_backup(inventory: Inventory, name: str) -> Iterator[Finding]:
    """What stands in the way of a backup or a restore of the service, and whether that is rehearsed."""
    from datetime import datetime, timezone

    from deployments.drills import standings
    from flows.finding import Finding
    from flows.readiness_backups import judge_backup_needs, judge_drills
    from recoverd.drills import past_drills
    from recoverd.errors import RecoverdError
    from tasks.readiness_backups import look_at_backup

    backup, now = inventory.backup_of(name), datetime.now(timezone.utc)
    yield from judge_backup_needs(look_at_backup(name), backup, inventory.service(name).hosts, now)
    yield from _of_wal(inventory, name)
    try:
        journal = the_journal()
        past, standing = past_drills(journal, name), standings(journal, inventory)[name]
    except RecoverdError as error:
        yield Finding("warning", "drills", name, f"its drills cannot be looked up: {error.message}", error.hint)
        return
    yield from judge_drills(standing, past, backup, now)


def _of_wal(inventory: Inventory, name: str) -> Iterator[Finding]:
    """How the continuous WAL of the service stands."""
    from flows.archiving import look_only
    from flows.finding import Finding
    from flows.readiness_backups import judge_wal
    from flows.standing import troubles
    from flows.stocking import Archive
    from recoverd.errors import RecoverdError

    rules = inventory.backup_of(name).wal
    if not rules.enabled:
        return
    try:
        found = troubles(look_only(Archive(name)), rules.max_lag_s)
    except RecoverdError as error:
        yield Finding("warning", "backups", "WAL", f"nobody can tell how it stands: {error.message}", error.hint)
        return
    yield from judge_wal(name, {what: words for what, words in found.items() if not what.startswith("site ")})
