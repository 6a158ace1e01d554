"""One table out of a restored copy, into the live service under a new name: for a loss that is smaller than the database."""

from __future__ import annotations

from flows.copying import Copy
from flows.fence import note_summary
from flows.going_on import has_begun
from recoverd.errors import Look, Refused
from recoverd.world import world
from tasks.observation import observe_service
from tasks.one_table import bring_table, check_rows, find_table, look_for_name, new_name, rows_of


def see_where_to(service: str) -> str:
    """The primary that gets the table. Raises Refused where there is not one, or the name is taken."""
    options = world().run.options
    view = observe_service(service)
    if len(view.primaries) != 1:
        raise Refused(
            f"{service} has {len(view.primaries)} primaries, so no table is brought into it", "see `recoverd check`"
        )
    (primary,) = view.primaries
    new = str(options.get("as") or f"{options['table']}_restored").lower()
    if not has_begun("bring_table(") and (found := look_for_name(service, primary, new)).taken_in:
        raise Refused(f"{found.summary} of {service} already, and is not overwritten", "give another name: --as …")
    return primary


def bring_table_back(service: str, host: str, primary: str, copy: Copy) -> str:
    """Find the table in the copy, and bring its columns and rows into the live service."""
    here = world()
    table, wanted = str(here.run.options["table"]), str(here.run.options.get("as") or "")
    if here.dry_run:
        new = wanted or f"{table}_restored"
        here.foresee(
            "act", "bring_table", f"bring {table} from the copy", f"would make {new} with its columns and rows"
        )
        return f"would bring {table} back from {copy.set}"
    found = find_table(service, host, table)
    new = new_name(found, wanted)
    if not has_begun("bring_table(") and rows_of(service, primary, found.database, new) is not None:
        raise Look(
            f"{new} is in {found.database} of {service} by now",
            f"`recoverd undo {here.run.id}`; then give another name",
        )
    brought = bring_table(service, host, primary, found.database, found.table, new, found.columns, found.rights)
    check_rows(new, found.rows, int(brought["rows"]))
    summary = f"{new} of {service} has the {found.rows} rows that {found.table} had: {copy.summary}"
    note_summary(summary)
    return summary
