"""`recoverd lab …`: a small data centre on one machine to try things on."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from gateway.cli.options import Output
from gateway.cli.output import Format, emit, note, rows_table, write


class WalLevel(str, Enum):
    """How much PostgreSQL writes to its WAL."""

    replica = "replica"
    logical = "logical"


app = typer.Typer(no_args_is_help=True, help="A small data centre on this machine: raise it, break it, mend it.")

Name = Annotated[str, typer.Option("--name", envvar="RECOVERD_LAB", help="Which lab, where several run side by side.")]
Fault = Annotated[
    str, typer.Argument(metavar="FAULT", help="kill, power-off, partition, freeze, full-disk, slow-link.")
]
HostName = Annotated[
    str, typer.Argument(metavar="HOST", help="A host of the lab: db-1, db-2, db-3, app-1; with backups backup-1, s3-1.")
]


@app.command("up")
def up(
    name: Name = "lab",
    host: Annotated[
        list[str] | None, typer.Option("--host", metavar="NAME", help="One more host, without a database.")
    ] = None,
    hosts: Annotated[
        int, typer.Option("--hosts", metavar="N", min=0, max=200, help="N more hosts: web-1 to web-N.")
    ] = 0,
    no_databases: Annotated[
        bool, typer.Option("--no-databases", help="Without db-1 to db-3, app-1 and PostgreSQL.")
    ] = False,
    sync: Annotated[bool, typer.Option("--sync", help="Commits wait for any one standby.")] = False,
    supervisor: Annotated[bool, typer.Option("--supervisor", help="A dead postmaster is started again.")] = False,
    systemd: Annotated[
        bool, typer.Option("--systemd", help="PostgreSQL is a unit of a systemd on each database host.")
    ] = False,
    wal_level: Annotated[WalLevel, typer.Option("--wal-level", help="replica or logical.")] = WalLevel.replica,
    disk_mb: Annotated[int, typer.Option("--disk-mb", min=256, help="Size of each data disk, in MiB.")] = 1024,
    backups: Annotated[
        bool, typer.Option("--backups", help="Two more sites for backups: backup-1, and s3-1 with an S3 server.")
    ] = False,
    backup_disk_mb: Annotated[
        int, typer.Option("--backup-disk-mb", min=256, help="Size of each disk for backups, in MiB.")
    ] = 2048,
    postgresql: Annotated[
        int | None, typer.Option("--postgresql", metavar="MAJOR", help="Major version, 15 to 18; newest by default.")
    ] = None,
    output: Output = Format.table,
) -> None:
    """Raise a lab: db-1 (primary), db-2 and db-3 (standbys), app-1. Takes about 3 s and needs root."""
    import lab

    more = [f"web-{i + 1}" for i in range(hosts)]
    made = lab.up(
        name, hosts=[*(host or ()), *more], databases=not no_databases, sync=sync, supervisor=supervisor,
        systemd=systemd, wal_level=wal_level.value, disk_mb=disk_mb, backups=backups,
        backup_disk_mb=backup_disk_mb, postgresql=postgresql, say=note,
    )  # fmt: skip
    note(f"its inventory: recoverd --inventory {made.inventory} check")
    _show(made.name, output)


@app.command("down")
def down(name: Name = "lab", output: Output = Format.table) -> None:
    """Take a lab away, whether it is up, half up or not there at all."""
    from lab import Lab

    Lab.remove(name)
    _say({"name": name, "up": False}, f"lab {name} is gone", output)


@app.command("status")
def status(name: Name = "lab", output: Output = Format.table) -> None:
    """What every host of a lab is and does now."""
    _show(name, output)


@app.command("break")
def break_(
    fault: Fault,
    host: HostName,
    name: Name = "lab",
    peer: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="HOST", help="For a partition: cut off from this one (also: controller) only."),
    ] = None,
    rate_kbit: Annotated[int, typer.Option("--rate-kbit", min=8, help="For a slow link: what passes each way.")] = 256,
    output: Output = Format.table,
) -> None:
    """Inject a real fault."""
    from lab import Lab

    said = Lab.open(name).break_(fault, host, peers=peer or (), rate_kbit=rate_kbit)
    _say({"name": name, "host": host, "fault": fault, "injected": True, "said": said}, said, output)


@app.command("mend")
def mend(fault: Fault, host: HostName, name: Name = "lab", output: Output = Format.table) -> None:
    """Undo a fault."""
    from lab import Lab

    said = Lab.open(name).mend(fault, host)
    _say({"name": name, "host": host, "fault": fault, "injected": False, "said": said}, said, output)


def _say(data: dict[str, Any], words: str, output: Format) -> None:
    """What was done: words for people, data for programs."""
    emit(data, output, lambda: note(words))


def _show(name: str, output: Format) -> None:
    from lab import Lab

    found = Lab.open(name).status()
    data = found.model_dump(mode="json")

    def table() -> None:
        service = f" service address {found.virtual_address}," if found.virtual_address else ""
        write(f"lab {found.name}: {found.subnet},{service} inventory {found.inventory}")
        columns = ("postgresql", "virtual_address") if found.virtual_address else ()
        s3 = ("s3",) if any(host.s3 != "none" for host in found.hosts) else ()
        rows_table(data["hosts"], ("name", "address", "power", *columns, *s3, "faults"))

    emit(data, output, table)
