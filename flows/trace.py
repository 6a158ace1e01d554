"""Trace: who changed a record, when, from where: what every source says, how far it can be believed, and which sources are missing.

It reads, and changes nothing.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.fence import note_summary
from recoverd.execution import execution
from recoverd.records.origin import check_options
from recoverd.world import world
from tasks.records_origin import find_origin

SCOPE = "trace"


@flow(name="trace", persist_result=False)
def trace(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Find who changed a record.

    Args:
        target: Name of the service.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `table`, and `key`: the values of its primary key, with commas.
    """
    with execution("trace", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through, which shows the same."""
    here = world()
    check_options(here.run.options)
    found = find_origin(service, str(here.run.options["table"]), str(here.run.options["key"]))
    if here.dry_run:
        for change in found.changes:
            here.foresee("change", change.source, change.source, change.text)
        for line in found.missing:
            here.foresee("missing", line, line.partition(":")[0], line)
    note_summary(found.summary)
    return found.summary
