"""A procedure for the benchmarks: one task that notes when it ran."""

from __future__ import annotations

import time
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from deployments.catalogue import Procedure
from recoverd.journal import Journal
from recoverd.liveness import executing


@flow(name="bench")
def bench(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> None:
    """Note when the body and the first task began; then end."""
    body_at = time.time()
    assert run is not None
    journal = Journal.open()
    with executing(run):
        first(journal, run, body_at)
        journal.set_run(run, "succeeded", who="bench")


@task(cache_policy=NO_CACHE)
def first(journal: Journal, run: str, body_at: float) -> None:
    """Write the times down."""
    journal.append("bench.first", who="bench", run=run, body={"body": body_at, "task": time.time()})


CATALOGUE = {"bench": Procedure("bench", "benchmarks.bench_procedures:bench", "Measure", urgency=1)}
