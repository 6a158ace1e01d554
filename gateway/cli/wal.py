"""`recoverd wal`: how the continuous WAL of a service stands; one turn of its keeping by hand, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Output, Target, the_inventory
from gateway.cli.output import Format, emit, note, rows_table

if TYPE_CHECKING:
    from flows.standing import Standing


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("wal")(wal)


def wal(
    service: Target,
    once: Annotated[bool, typer.Option("--once", help="Take one turn by hand: receive, ship, sign, prune.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="End the receiver, and remove its slots from the servers.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Show how the WAL of a service comes to its backup sites: the receiver, the newest segment and the lag of each, holes.

    Looks only, unless told otherwise. Exits with 1 where something is wrong.
    """
    from flows.archiving import end, look_only, turn
    from flows.stocking import Archive
    from gateway.keeper import keeping, troubles_of
    from recoverd.execution import rehearsal
    from recoverd.journal import Journal

    inventory = the_inventory()
    inventory.backup_of(service)
    if once or stop:
        journal = Journal.open()
        try:
            with keeping(service, inventory, journal):
                standing = end(service) if stop else turn(Archive(service))
        finally:
            journal.close()
    else:
        with rehearsal("wal", service, inventory):
            standing = look_only(Archive(service))
    found = troubles_of(standing, inventory)
    emit({**standing.model_dump(mode="json"), "troubles": found}, output, lambda: rows_table(_rows(standing), _COLUMNS))
    note(f"{standing.receiver} {standing.state}; the WAL of {standing.primary or 'no server'} is received there")
    for words in found.values():
        note(words)
    if found and not stop:
        raise typer.Exit(1)


_COLUMNS = ("site", "newest", "segments", "behind", "holes")


def _rows(standing: Standing) -> list[dict[str, Any]]:
    return [
        {
            "site": one.site,
            "newest": one.newest or None,
            "segments": one.segments,
            "behind": "?" if one.behind_s is None else f"{one.behind_s:.0f} s, {one.behind_bytes} bytes",
            "holes": ", ".join(one.holes) or None,
        }
        for one in standing.sites
    ]
