"""`recoverd check-data`: how many records are right, now and over time."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.options import Output, Target, the_inventory, the_journal
from gateway.cli.output import Format, emit, note, rows_table

COLUMNS = ("rule", "right", "asked", "wrong", "rows", "trend")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check-data")(check_data)


def check_data(
    target: Target,
    rule: Annotated[str | None, typer.Option("--rule", metavar="NAME", help="This rule of data.yaml alone.")] = None,
    output: Output = Format.table,
) -> None:
    """Hold the records of a service against its rules, now. Reads only; `recoverd run check-data` records it as well.

    Exits with 1 where fewer are right than the inventory asks for.
    """
    from recoverd.errors import Invalid
    from recoverd.execution import rehearsal
    from recoverd.records.quality import past, trend
    from tasks.records_quality import check_rule

    inventory = the_inventory()
    inventory.service(target)
    rules = inventory.data_of(target)
    names = [rules.rule(rule).name] if rule else [one.name for one in rules.rules]
    if not names:
        raise Invalid(f"data.yaml has no rule for {target}", "say under `rules` when a record is right")
    with rehearsal("check-data", target, inventory):
        found = [check_rule(target, name) for name in names]
    journal = the_journal()
    rows: list[dict[str, Any]] = [
        {
            "rule": one.rule, "right": one.shown, "asked": f"{one.least_percent:g} %", "wrong": one.wrong, "rows": one.total,
            "percent": one.percent, "good": one.good, "trend": trend(past(journal, target, one.rule), one),
        }
        for one in found
    ]  # fmt: skip
    emit(rows, output, lambda: rows_table(rows, COLUMNS))
    if bad := [one.rule for one in found if not one.good]:
        note(f"too few records are right by {', '.join(bad)}")
        raise typer.Exit(1)
