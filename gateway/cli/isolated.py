"""`recoverd isolated`: the hosts that stand isolated, from the journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gateway.cli.options import Output, the_inventory, the_journal
from gateway.cli.output import Format, emit, note, rows_table, write

if TYPE_CHECKING:
    from recoverd.inventory import Inventory
    from recoverd.isolation.wards import Ward
    from recoverd.journal import Journal


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("isolated")(isolated)


def isolated(output: Output = Format.table) -> None:
    """List the hosts that stand isolated: since when, by which run, whether it is proven, and what a release would ask.

    Exits with 1 where one is not proven, or has come open again.
    """
    from recoverd.isolation.wards import by_host, standing
    from recoverd.raised import open_incidents

    inventory, journal = the_inventory(), the_journal()
    wards = by_host(standing(journal))
    open_again = {one.service: one for one in open_incidents(journal) if one.subject == f"isolation of {one.service}"}
    found = [_facts(host, some, inventory, journal) for host, some in wards.items()]
    for one in found:
        if (incident := open_again.get(one["host"])) is not None:
            one |= {"state": "OPEN AGAIN", "incident": incident.id, "why": incident.summary}
    emit(found, output, lambda: _print(found))
    if any(one["state"] != "proven" for one in found):
        raise typer.Exit(1)


def _facts(host: str, wards: tuple[Ward, ...], inventory: Inventory, journal: Journal) -> dict[str, Any]:
    from recoverd.isolation.cleanliness import cleanliness, past_scans

    newest = wards[-1]
    clean = cleanliness(past_scans(journal, host), host, wards[0].at)
    states = {True: "proven", False: "NOT PROVEN", None: "NOT PROVEN"}
    return {
        "host": host,
        "since": f"{wards[0].at:%Y-%m-%dT%H:%M:%SZ}",
        "runs": [ward.run for ward in wards],
        "layers": list(newest.layers),
        "state": states[newest.proven],
        "why": newest.why,
        "known": host in inventory.hosts,
        "clean": clean.clean,
        "release": "would let it back by itself" if clean.clean else f"needs a person: {clean.why}",
    }


def _print(found: list[dict[str, Any]]) -> None:
    if not found:
        write("no host stands isolated")
        return
    rows = [{**one, "run": one["runs"][-1], "by": ", ".join(one["layers"])} for one in found]
    rows_table(rows, ("host", "since", "run", "by", "state", "release"))
    for one in found:
        if one["state"] != "proven":
            note(f"{one['host']}: {one['why'] or 'no peer has been asked yet'}")
