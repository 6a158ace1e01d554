"""`recoverd plan` and `recoverd runbook`: what a procedure would do, and how a person does it by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.fix_options import ExpectRows, FromCsv, Key, PlanHash, Rule, Strict, Where, fix_flags
from gateway.cli.options import (
    Accounts,
    Addresses,
    As,
    For,
    Force,
    Given,
    Into,
    MaybeTarget,
    On,
    OnHost,
    Output,
    Paths,
    Procedure,
    SetId,
    Sites,
    Table,
    Target,
    To,
    parsed_options,
    the_inventory,
    the_target,
    with_flags,
)
from gateway.cli.output import Format, emit, note, rows_table, save, write

if TYPE_CHECKING:
    from recoverd.errors import RecoverdError
    from recoverd.inventory import Inventory
    from recoverd.world import PlannedStep

REFUSED = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("plan")(plan)
    app.command("runbook")(runbook)


def plan(
    procedure: Procedure,
    target: MaybeTarget = None,
    on: On = None,
    option: Given = None,
    to: To = None,
    site: Sites = None,
    into: Into = None,
    set_id: SetId = None,
    host: OnHost = None,
    table: Table = None,
    as_name: As = None,
    path: Paths = None,
    accounts: Accounts = None,
    addresses: Addresses = None,
    for_time: For = None,
    force: Force = False,
    where: Where = None,
    expect_rows: ExpectRows = None,
    from_csv: FromCsv = None,
    rule: Rule = None,
    plan_hash: PlanHash = None,
    strict: Strict = False,
    key: Key = None,
    output: Output = Format.table,
) -> None:
    """Say what a procedure would do now: a dry run on real observations. Changes nothing; that of fix-record is kept, to be run.

    Exits with 3 where it would be refused.
    """
    from deployments.catalogue import procedure as find_procedure

    inventory = the_inventory()
    known = find_procedure(procedure)
    wanted = the_target(target, on)
    known.check_target(inventory, wanted)
    flags = {
        "to": to,
        "site": site,
        "into": into,
        "set": set_id,
        "host": host,
        "table": table,
        "as": as_name,
        "path": path,
        "accounts": accounts,
        "addresses": addresses,
        "for": for_time,
        **fix_flags(where, expect_rows, from_csv, rule, plan_hash, strict, key),
    }
    options = with_flags(option, **flags)
    if force:
        options["force"] = True
    known.check_options(options)
    found = rehearse(known.name, known.entrypoint, wanted, inventory, options)
    data = _plan_data(known.name, wanted, inventory, found)
    emit(data, output, lambda: _print_plan(data))
    if data["refused"] is None:
        return
    note(f"it would be refused: {data['refused']}")
    if found.error is None:
        note("what would follow is shown all the same, as if it had not been")
        raise typer.Exit(REFUSED)
    if found.error.hint:
        note(f"HINT: {found.error.hint}")
    raise typer.Exit(found.error.exit_code)


@dataclass(frozen=True)
class Rehearsed:
    """What a dry run gave: the steps as far as it came, and why it went no further."""

    steps: tuple[PlannedStep, ...]
    error: RecoverdError | None


def rehearse(name: str, entrypoint: str, target: str, inventory: Inventory, options: dict[str, Any]) -> Rehearsed:
    """Walk through a procedure without Prefect, journal or lock. Its body is `carry_out` in the flow's module."""
    import importlib

    from recoverd.errors import RecoverdError
    from recoverd.execution import rehearsal

    body: Callable[[str], Any] = importlib.import_module(entrypoint.partition(":")[0]).carry_out
    with rehearsal(name, target, inventory, options) as here:
        try:
            body(target)
        except RecoverdError as error:
            return Rehearsed(tuple(here.planned), error)
        return Rehearsed(tuple(here.planned), None)


def _plan_data(name: str, target: str, inventory: Inventory, found: Rehearsed) -> dict[str, Any]:
    from recoverd.gate import plan_hash

    steps = [
        {
            "number": number,
            "kind": step.kind,
            "title": step.title,
            "finding": step.finding,
            "changes": step.changes,
            "irreversible": step.irreversible,
        }
        for number, step in enumerate(found.steps, start=1)
    ]
    changes = [step.title for step in found.steps if step.changes or step.kind == "gate"]
    return {
        "procedure": name,
        "target": target,
        "touches": _touches(inventory, target),
        "steps": steps,
        "irreversible": [f"{step.title}: {step.irreversible}" for step in found.steps if step.irreversible],
        "refused": next((step.finding for step in found.steps if step.kind == "stop"), None)
        or (None if found.error is None else found.error.message),
        "hash": next((step.key for step in found.steps if step.kind == "plan"), "")
        or plan_hash({"procedure": name, "target": target, "changes": changes}),
    }


def _touches(inventory: Inventory, target: str) -> dict[str, Any]:
    from recoverd.inventory import Selection

    if target in inventory.files:
        files = inventory.files[target]
        return {
            "files": f"{files.name}, policy {files.policy}",
            "hosts": [f"{host} {inventory.host(host).address}" for host in inventory.hosts_of(files)],
            "paths": list(files.paths),
        }
    found = inventory.anything(target)
    if isinstance(found, Selection):
        return {
            "hosts": [f"{host} {inventory.host(host).address}" for host in found.hosts],
            "policy": found.policy,
        }
    service = inventory.service(target)
    return {
        "service": f"{service.name} ({service.criticality}), policy {service.policy}",
        "hosts": [f"{host} {inventory.host(host).address}" for host in service.hosts],
        "entry_points": [entry.name for entry in service.entry_points],
        "clients": list(service.clients),
        "fence_devices": sorted({device for member in service.members for device in member.fencing}),
    }


def _print_plan(data: dict[str, Any]) -> None:
    write(f"{data['procedure']} of {data['target']}, as it would be now (nothing is changed)")
    for name, value in data["touches"].items():
        shown = ", ".join(value) if isinstance(value, list) else value
        write(f"  {name.replace('_', ' ')}: {shown or 'none'}")
    write("")
    rows = [{**step, "does": "CHANGES" if step["changes"] else step["kind"]} for step in data["steps"]]
    rows_table(rows, ("number", "does", "title", "finding"))
    if data["irreversible"]:
        write("\ncannot be taken back:")
        for line in data["irreversible"]:
            write(f"  {line}")
    write(f"\nplan {data['hash'][:12]}")


def runbook(
    procedure: Annotated[str, typer.Argument(metavar="PROCEDURE", help="failover, switchover or rejoin.")],
    target: Target,
    option: Given = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file.")] = None,
    output: Output = Format.table,
) -> None:
    """Print a document to follow by hand, with the exact commands for this inventory, when recoverd itself is down.

    Asks no host and needs nothing that runs. `--option from=db-1 --option to=db-2` leaves out what is about others.
    """
    from dataclasses import asdict

    from flows.runbooks import make

    document = make(procedure, target, the_inventory(), parsed_options(option or []))
    if out is not None:
        save(out, document.markdown())
        note(f"wrote {out}")
        return
    emit(asdict(document), output, lambda: write(document.markdown()))
