"""Takedown: content that must not be seen is hidden, as data.yaml says how; a draft of what is published about it is written down.

It is a fix of records with a limit: planned, approved by another person, applied and taken back by the same engine.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.fence import note_summary
from flows.fix_record import SCOPE, mend
from recoverd.execution import execution
from recoverd.words import counted
from recoverd.world import world

DRAFTED = "notice.drafted"


@flow(name="takedown", persist_result=False)
def takedown(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Take content of a service out of sight.

    Args:
        target: Name of the service; data.yaml says what can be taken down, and how.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `rule`: a takedown of data.yaml; `where`: which rows; `expect_rows`.
    """
    with execution("takedown", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    summary, rows = mend(service)
    if here.dry_run or here.journal is None:
        return summary
    how = here.inventory.data_of(service).takedown(str(here.run.options["rule"]))
    with here.journal.transaction() as tx:
        if how.statement and not any(True for _ in tx.entries(run=here.run.id, kinds=[DRAFTED])):
            text = how.statement.format(rows=rows, at=f"{tx.now():%Y-%m-%d %H:%M} UTC")
            body = {"summary": "a statement is drafted, for a person to publish", "text": text, "takedown": how.name}
            tx.append(DRAFTED, who="recoverd", run=here.run.id, body=body)
    drafted = "; a statement is drafted: recoverd show says it" if how.statement else ""
    summary = f"{counted(rows, 'row')} out of sight by {how.name}; {summary}{drafted}"
    note_summary(summary)
    return summary
