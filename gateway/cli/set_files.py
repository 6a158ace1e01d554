"""`recoverd sites files`: what a set of files holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.options import Output, the_inventory
from gateway.cli.output import Format, emit, note, rows_table


def list_files(
    target: Annotated[str, typer.Argument(metavar="NAME[.HOST]", help="The backup of files, and its host.")],
    set_id: Annotated[str, typer.Option("--set", metavar="ID", help="The backup set; none: the newest.")] = "",
    path: Annotated[
        str, typer.Option("--path", metavar="PATH", help="This file, or what is below this directory.")
    ] = "/",
    output: Output = Format.table,
) -> None:
    """Show what a set of files holds: paths, sizes, owners, SHA-256. Reads its list alone, which a host of it opens."""
    from recoverd.errors import Invalid
    from recoverd.execution import rehearsal

    inventory = the_inventory()
    archives = inventory.archives_of(target)
    if len(archives) != 1 or inventory.files_of(target) is None:
        raise Invalid(f"{target} is not the backup of the files of one host", f"name one of: {', '.join(archives)}")
    with rehearsal("sites", archives[0], inventory):
        rows = _listed(archives[0], set_id, path)
    emit(rows, output, lambda: rows_table(rows, ("mode", "owner", "size", "path", "target", "sha256")))


def _listed(archive: str, set_id: str, path: str) -> list[dict[str, Any]]:
    from flows.copying import manifest_of
    from flows.points import pick_point
    from recoverd.backup.listed import below, unquoted
    from recoverd.errors import Refused
    from tasks.listed import read_list
    from tasks.sets import survey

    found = survey(archive, read=False, only=set_id)
    point = pick_point(found, set_id)
    if point.refusal:
        raise Refused(f"nothing of {archive} can be shown: {point.refusal}", f"recoverd sites {archive}")
    entries = read_list(archive, the_inventory().hosts_behind(archive)[0], manifest_of(found, point), point.sites)
    note(f"{point.set}, {len(entries)} entries")
    return [
        {**one.model_dump(exclude={"name"}), "path": one.path, "target": unquoted(one.target) or None}
        for one in entries
        if path == "/" or below(one, path)
    ]
