"""From `start()` to the first task of the flow, on the embedded server: `python -m benchmarks.latency_first_step`.

Prints a table, and with --json the same as JSON. Percentiles in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_procedures import CATALOGUE
from deployments.runner import RunnerProcess
from deployments.server import PrefectServer
from deployments.start import start
from recoverd.journal import Journal
from recoverd.settings import Settings

ADDRESS = "benchmarks.bench_procedures:CATALOGUE"
RUN_LIMIT_S = 30.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--rest-s", type=float, default=1.0, help="seconds between the end of a run and the next start")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="recoverd-bench-") as directory:
        found = measure(Path(directory), given.runs, given.rest_s)
    rows = {name: percentiles(values) for name, values in found.items()}
    if given.json:
        json.dump({"runs": given.runs, "unit": "ms", **rows}, sys.stdout)
        return
    print(f"{'from start() to':<24}{'p50':>8}{'p95':>8}{'max':>8}   ms, {given.runs} runs")
    for name, row in rows.items():
        print(f"{name:<24}{row['p50']:>8.0f}{row['p95']:>8.0f}{row['max']:>8.0f}")


def measure(home: Path, runs: int, rest_s: float) -> dict[str, list[float]]:
    """Seconds from each start to each stage."""
    os.environ["RECOVERD_HOME"] = str(home)
    config = Settings(home=home)
    server = PrefectServer(home, port=0)
    server.start()
    runner = RunnerProcess(config, server.url, ADDRESS)
    stages: dict[str, list[float]] = {
        "request on disk": [],
        "claimed by a process": [],
        "flow body": [],
        "first task": [],
    }
    try:
        server.ready()
        runner.start()
        runner.ready()
        journal = Journal.open(config.journal_address)
        for _ in range(runs):
            time.sleep(rest_s)
            for name, value in _one(journal, runner).items():
                stages[name].append(value)
    finally:
        runner.stop()
        server.stop()
    return stages


def _one(journal: Journal, runner: RunnerProcess) -> dict[str, float]:
    began = time.time()
    row = start("bench", "t", trigger="hand", requester="bench", reason="", journal=journal, catalogue=CATALOGUE)
    runner.notify()
    on_disk = time.time()
    deadline = time.monotonic() + RUN_LIMIT_S
    while not journal.get_run(row.id).ended:
        if time.monotonic() > deadline:
            raise TimeoutError(f"run {row.id} did not end in {RUN_LIMIT_S} seconds")
        time.sleep(0.02)
    times = {entry.kind: entry for entry in journal.entries(run=row.id)}
    noted = times["bench.first"].body
    return {
        "request on disk": on_disk - began,
        "claimed by a process": times["run.started"].at.timestamp() - began,
        "flow body": noted["body"] - began,
        "first task": noted["task"] - began,
    }


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and the greatest, in milliseconds."""
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {"p50": 1000 * statistics.median(ordered), "p95": 1000 * p95, "max": 1000 * ordered[-1]}


if __name__ == "__main__":
    main()
