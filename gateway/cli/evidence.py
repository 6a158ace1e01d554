"""`recoverd evidence …`: what was kept of compromised hosts, and whether it is still what was signed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.options import Output, the_inventory, the_settings
from gateway.cli.output import Format, emit, emit_rows, note, rows_table

app = typer.Typer(no_args_is_help=True, help="Evidence of hosts: list it, hold it against its signature.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run that took it.", show_default=False)]


@app.command("list")
def list_(output: Output = Format.table) -> None:
    """List all evidence, in every place that keeps it."""
    from recoverd.evidence.store import find

    inventory, home = the_inventory(), the_settings().home
    found = [_row(place, key) for place, key in find(inventory, home)]
    emit_rows(found, ("run", "host", "moment", "place"), output, empty="there is no evidence yet")


@app.command("verify")
def verify(run: Run, output: Output = Format.table) -> None:
    """Hold the evidence of a run against hashes and signature, in every place. Exits with 1 where it does not fit."""
    from recoverd.errors import Invalid, RecoverdError
    from recoverd.evidence.store import check, find

    inventory, home = the_inventory(), the_settings().home
    rows = []
    for place, key in find(inventory, home, run):
        row = _row(place, key)
        try:
            manifest = check(inventory, home, place, key)
        except RecoverdError as error:
            rows.append({**row, "state": "NOT AS SIGNED", "why": f"{error.message}; {error.hint}"})
        else:
            more = {"files": len(manifest.files), "bytes": manifest.size, "incomplete": list(manifest.incomplete)}
            rows.append({**row, "state": "ok", "taken_at": f"{manifest.began_at:%Y-%m-%dT%H:%M:%SZ}", **more})
    if not rows:
        raise Invalid(f"there is no evidence of run {run}", "recoverd evidence list")
    emit(rows, output, lambda: rows_table(rows, ("host", "moment", "place", "taken_at", "files", "bytes", "state")))
    wrong = [row for row in rows if row["state"] != "ok"]
    for row in wrong:
        note(f"{row['key']} in {row['place']}: {row['why']}")
    if wrong:
        raise typer.Exit(1)


def _row(place: str, key: str) -> dict[str, Any]:
    run, host, moment = key.split("/")
    return {"run": run, "host": host, "moment": moment, "place": place, "key": key}
