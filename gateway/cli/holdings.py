"""`recoverd sites` for engines other than the built-in one: a row a set and site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.options import the_inventory
from gateway.cli.output import Format, emit, note, rows_table

if TYPE_CHECKING:
    from tasks.holdings import Holdings

_COLUMNS = ("site", "set", "kind", "health", "consistent", "WAL until", "size")


def show(service: str, output: Format, *, read: bool) -> None:
    """Show what each site holds. Exits with 1 where one does not answer, or something is not whole."""
    from flows.engine import engine_of
    from recoverd.execution import rehearsal

    with rehearsal("sites", service, the_inventory()):
        found = engine_of(service).survey(service, read=read)
    emit(found.model_dump(mode="json"), output, lambda: rows_table(_rows(found), _COLUMNS))
    for words in found.wrong:
        note(words)
    if not read:
        note(f"only lists were compared; recoverd sites verify {service} reads every byte")
    if found.wrong:
        raise typer.Exit(1)


def _rows(found: Holdings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for site in found.sites:
        rows += [
            {
                "site": site.site,
                "set": one.set,
                "kind": one.kind,
                "health": one.health.value,
                "consistent": f"{one.consistent_at:%Y-%m-%d %H:%M:%S}",
                "WAL until": f"{one.reaches_to:%Y-%m-%d %H:%M:%S}" if one.reaches_to else None,
                "size": f"{one.size / 1e6:.1f} MB",
            }
            for one in reversed(site.sets)
        ] or [{"site": site.site, "health": "no set" if site.reached else "unreachable"}]
    return rows
