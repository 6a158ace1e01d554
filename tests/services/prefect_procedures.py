"""Procedures that only leave marks in a directory: what the runner's tests run."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.exceptions import Pause, TerminationSignal
from prefect.flow_runs import suspend_flow_run

from deployments.catalogue import Procedure
from recoverd.journal import Journal
from recoverd.liveness import executing


@flow(name="tiny")
def tiny(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> None:
    """Three steps; `hold` waits in the second for the test's word."""
    options = options or {}
    assert run is not None
    with _execution(run) as journal:
        _once(journal, run, "first", options)
        if options.get("hold"):
            _hold(journal, run, options)
        if options.get("gate"):
            _gate(journal, run)
        _once(journal, run, "last", options)


@flow(name="broken")
def broken(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> None:
    """As a flow whose inventory does not load."""
    raise ValueError("the inventory is wrong")


@task(cache_policy=NO_CACHE)
def effect(run: str, step: str, marks: str) -> None:
    with (Path(marks) / run).open("a") as file:
        file.write(f"{step} {os.getpid()}\n")


def _once(journal: Journal, run: str, step: str, options: dict[str, Any]) -> None:
    if journal.outcome(run, step) is None:
        do = effect if FlowRunContext.get() is not None else effect.fn
        do(run, step, options["marks"])
        journal.append("step.done", who="tester", run=run, step=step)


def _hold(journal: Journal, run: str, options: dict[str, Any]) -> None:
    _once(journal, run, "holding", options)
    deadline = time.monotonic() + 30
    while not (Path(options["marks"]) / f"{run}.go").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _gate(journal: Journal, run: str) -> None:
    if not list(journal.entries(run=run, kinds=["gate.approved"])):
        journal.append("gate.requested", who="tester", run=run)
        if FlowRunContext.get() is not None:
            suspend_flow_run(timeout=600, key=str(uuid.uuid4()))


@contextmanager
def _execution(run: str) -> Iterator[Journal]:
    journal = Journal.open()
    with executing(run):
        try:
            yield journal
        except BaseException as error:
            state = {Pause: "waiting", TerminationSignal: "cancelled"}.get(type(error), "failed")
            journal.set_run(run, state, who="tester", summary=repr(error))  # type: ignore[arg-type]
            raise
        journal.set_run(run, "succeeded", who="tester")


CATALOGUE = {
    "tiny": Procedure("tiny", "prefect_procedures:tiny", "Leave marks", urgency=10),
    "broken": Procedure("broken", "prefect_procedures:broken", "End before the body notes anything", urgency=10),
    "missing": Procedure("missing", "prefect_procedures:nothing", "Is not there", urgency=10),
    "failover": Procedure("failover", "prefect_procedures:tiny", "Leave marks, as the policy says", urgency=90),
    "urgent": Procedure("urgent", "prefect_procedures:tiny", "Leave marks, first", urgency=90),
}
