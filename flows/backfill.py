"""Backfill: records that were kept by hand during an outage are loaded: checked line by line, doubles found, approved, once."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from prefect import flow

from flows.fence import note_summary
from recoverd.errors import Refused
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.settings import settings
from recoverd.step import decide
from recoverd.words import counted
from recoverd.world import world
from tasks.records_backfill import Ahead, load, look_ahead

SCOPE = "data"


@flow(name="backfill", persist_result=False)
def backfill(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Load records that were kept by hand.

    Args:
        target: Name of the service.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `table`, `from_csv`, `encoding`; `key`: columns by which a record is known that is there already.
    """
    with execution("backfill", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    ahead = settle(look_ahead(service))
    for one in ahead.rejected[:100] if here.dry_run else ():
        here.foresee("rejected", f"line {one.line}", f"line {one.line}", one.why)
    rejects = _rejects(ahead)
    if not ahead.accepted:
        raise Refused(f"there is nothing to load: {ahead.summary}", f"mend the lines in {rejects}" if rejects else "")
    plan = {"service": service, **ahead.model_dump(mode="json", exclude={"rejected"}), "rejected": len(ahead.rejected)}
    gate("backfill", plan, ahead.summary)
    outcome = load(service, ahead.sha256, ahead.accepted)
    if here.dry_run:
        return ""
    summary = f"{counted(int(outcome['rows']), 'record')} loaded into {ahead.table}, {ahead.there} were there already"
    summary += f"; {counted(len(ahead.rejected), 'line')} to mend in {rejects}" if rejects else ""
    note_summary(summary)
    return summary


@decide("keep what is to be loaded")
def settle(ahead: Ahead) -> Ahead:
    """What the first rehearsal said is what is asked for: once it is loaded, another one would find everything there."""
    return ahead


def _rejects(ahead: Ahead) -> Path | None:
    """The file of lines to mend, readable by recoverd's own user alone; None where there are none."""
    here = world()
    if here.dry_run or not ahead.rejected:
        return None
    path = settings().home / f"rejected-{here.run.id}.csv"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(("line", "why"))
        out.writerows((one.line, one.why) for one in ahead.rejected)
    return path
