"""`recoverd inventory …`: what recoverd understands of an inventory, and schemas for editors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Output, complete_service, the_inventory
from gateway.cli.output import Format, emit, note, rows_table, save, write

if TYPE_CHECKING:
    from recoverd.inventory import Inventory, Service

app = typer.Typer(no_args_is_help=True, help="What recoverd understands of an inventory, and schemas for editors.")


@app.command("show")
def show(
    service: Annotated[
        str | None,
        typer.Argument(metavar="[SERVICE]", help="Only this service.", autocompletion=complete_service),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Print the inventory as it is understood: overrides merged, defaults filled in, secrets as references."""
    inventory = the_inventory()
    for warning in inventory.warnings:
        note(f"{warning}")
    wanted = [inventory.service(service)] if service else list(inventory.services.values())
    data = _data(inventory) if service is None else {"services": {wanted[0].name: _service(inventory, wanted[0])}}
    emit(data, output, lambda: _tables(inventory, wanted))


@app.command("schema")
def schema(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="services, sites, people, policies, fencing or alerts."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write one file each into this directory.")
    ] = None,
) -> None:
    """Print the JSON Schema of a file of the inventory, or write those of all files."""
    import json

    from recoverd.errors import Invalid
    from recoverd.inventory.loader import SECTIONS
    from recoverd.inventory.problems import nearest
    from recoverd.inventory.schema_export import schema as schema_of
    from recoverd.inventory.schema_export import text

    if file is not None and file not in SECTIONS:
        near = nearest(file, SECTIONS)
        raise Invalid(f"there is no schema of {file!r}", f"did you mean {near}?" if near else ", ".join(SECTIONS))
    stems = [file] if file else list(SECTIONS)
    if out is None:
        write(text(file) if file else json.dumps({stem: schema_of(stem) for stem in stems}, indent=2))
        return
    for stem in stems:
        save(out / f"{stem}.json", text(stem))
        note(f"wrote {out / f'{stem}.json'}")


def _data(inventory: Inventory) -> dict[str, Any]:
    data = inventory.model_dump(mode="json", exclude_none=True, exclude={"warnings", "unusable", "services"})
    data["services"] = {name: _service(inventory, service) for name, service in inventory.services.items()}
    data["unusable"] = {name: str(problem) for name, problem in inventory.unusable.items()}
    return data


def _service(inventory: Inventory, service: Service) -> dict[str, Any]:
    data = service.model_dump(mode="json", exclude_none=True)
    for member in data["members"]:
        merged = service.postgres_of(member["host"])
        member["postgresql"] = merged.model_dump(mode="json", exclude_none=True)
        member["address"] = inventory.host(member["host"]).address
    return data


def _tables(inventory: Inventory, services: list[Service]) -> None:
    write(f"inventory {inventory.root}")
    for service in services:
        write(f"\n{service.name}: {service.title or service.kind}, {service.criticality}, policy {service.policy}")
        rows_table([_member(inventory, service, host) for host in service.hosts], _MEMBER)
        for entry in service.entry_points:
            where = f" {entry.address}" if entry.kind == "virtual-address" else ""
            write(f"entry point {entry.name}: {entry.kind}{where}")
        write(f"clients {', '.join(service.clients) or 'none'}; recovery time objective {service.objectives.rto_s} s")


_MEMBER = ("host", "address", "port", "data_dir", "priority", "fencing", "site")


def _member(inventory: Inventory, service: Service, host: str) -> dict[str, Any]:
    member, server, machine = service.member(host), service.postgres_of(host), inventory.host(host)
    return {
        "host": host,
        "address": machine.address,
        "port": server.port,
        "data_dir": server.data_dir,
        "priority": "never promoted" if member.no_failover else member.priority,
        "fencing": list(member.fencing),
        "site": machine.site,
    }
