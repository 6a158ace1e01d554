"""`python -m benchmarks [NAME…] [--runs N] [--only TEXT] [--json FILE]`: measure, and print a table and JSON.

NAME is failover, switchover, sentinel, peers, restore, backup, memory, isolate, first-step or
intake; all of them by default. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks import failover, intake, isolation, latency_first_step, peers, sentinel, switchover
from benchmarks.sites import backup, memory, restore

Row = tuple[str, str, str, str]
"""What, measured, wanted, whether it was reached."""
Found = Mapping[str, Any]


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MEASURES)}; all by default")
    parser.add_argument("--runs", type=int, default=5, help="turns of each scenario on the lab")
    parser.add_argument("--only", action="append", default=[], help="scenarios whose name contains this")
    parser.add_argument("--probe-timeout-s", type=float, help="for failover: another one than the lab's policy has")
    parser.add_argument("--size-mb", type=int, default=2048, help="for restore and backup: size of the database")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in MEASURES]:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(MEASURES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as for Ctrl-C: labs and processes are taken away
    report: dict[str, Any] = {"at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": machine()}
    rows: list[Row] = []
    for name in given.names or list(MEASURES):
        measure, shown = MEASURES[name]
        _say(f"{name}:")
        with tempfile.TemporaryDirectory(prefix="recoverd-bench-") as directory:
            report[name] = measure(Path(directory), given)
        rows += shown(report[name])
        if given.json:
            given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    report["load_at_the_end"] = [round(value, 2) for value in os.getloadavg()]
    print(table(rows))
    print(json.dumps(report))


def machine() -> dict[str, Any]:
    """What it was measured on. The load tells whether others worked on it at the same time."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def table(rows: Sequence[Row]) -> str:
    """The rows for people, as Markdown."""
    lines = ["| what | measured | wanted | reached |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def _failover(directory: Path, given: argparse.Namespace) -> Found:
    return failover.measure(directory, given.runs, _say, given.only, given.probe_timeout_s)


def _failover_rows(found: Found) -> list[Row]:
    rows: list[Row] = []
    for name, one in found.items():
        took, floor = one["recoverd"], one["floor"]
        within = took["median_s"] <= failover.TARGET_S
        wanted = f"p50 < {failover.TARGET_S} s ({failover.WISHED_S:g} s wished for)"
        rows.append((f"alert to write, {name}", f"{_spread(took)}; floor {_spread(floor)}", wanted, _yes(within)))
        ratio = one["ratio"]
        wanted = f"≤ {failover.TARGET_RATIO:g} × floor"
        rows.append(
            (f"the same, against the floor, {name}", f"{ratio} ×", wanted, _yes(ratio <= failover.TARGET_RATIO))
        )
    return rows


def _switchover(directory: Path, given: argparse.Namespace) -> Found:
    return switchover.measure(directory, given.runs, _say, given.only)


def _switchover_rows(found: Found) -> list[Row]:
    return [
        (
            f"switchover, no writes for, {name}",
            _spread(one),
            f"< {switchover.TARGET_S:g} s",
            _yes(one["max_s"] < switchover.TARGET_S),
        )
        for name, one in found.items()
    ]


def _sentinel(directory: Path, given: argparse.Namespace) -> Found:
    return sentinel.measure(directory, given.runs, _say, given.only)


def _sentinel_rows(found: Found) -> list[Row]:
    return [
        (
            f"sentinel, fault to write, {name}",
            _spread(one),
            f"< {sentinel.TARGET_S:g} s",
            _yes(one["max_s"] < sentinel.TARGET_S),
        )
        for name, one in found.items()
    ]


def _peers(directory: Path, given: argparse.Namespace) -> Found:
    return peers.measure(directory, given.runs, _say, given.only)


def _restore(directory: Path, given: argparse.Namespace) -> Found:
    return restore.measure(directory, given.runs, _say, given.only, given.size_mb)


def _backup(directory: Path, given: argparse.Namespace) -> Found:
    return backup.measure(directory, given.runs, _say, given.only, given.size_mb)


def _memory(directory: Path, given: argparse.Namespace) -> Found:
    return memory.measure(directory, given.runs, _say, given.only)


def _isolate(directory: Path, given: argparse.Namespace) -> Found:
    return isolation.measure(directory, given.runs, _say, given.only)


def _first_step(directory: Path, given: argparse.Namespace) -> Found:
    found = latency_first_step.measure(directory, given.runs * 6, rest_s=1.0)
    return {stage: latency_first_step.percentiles(values) for stage, values in found.items()}


def _first_step_rows(found: Found) -> list[Row]:
    first = found["first task"]
    return [
        (
            "start to first step",
            f"p50 {first['p50']:.0f}, p95 {first['p95']:.0f} ms",
            "p95 < 500 ms",
            _yes(first["p95"] < 500),
        )
    ]


def _intake(directory: Path, _given: argparse.Namespace) -> Found:
    floor_ms = intake.measure_floor(directory / "floor.db")
    shape = {"requests": 1000.0, "every_s": 0.02, "alerts": 1.0, "distinct": 1e9}
    return {"floor_ms": floor_ms, **asyncio.run(intake.load(directory / "even", shape))}


def _intake_rows(found: Found) -> list[Row]:
    measured = f"p50 {found['p50_ms']}, p99 {found['p99_ms']} ms; floor, a commit, {found['floor_ms']} ms"
    return [("alert POST to 202 at 50 alerts/s", measured, "p99 < 50 ms", _yes(found["p99_ms"] < 50))]


def _spread(found: Found) -> str:
    return f"{found['median_s']:.2f} s ({found['min_s']:.2f}–{found['max_s']:.2f})"


def _yes(reached: bool) -> str:
    return "yes" if reached else "no"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


Measure = Callable[[Path, argparse.Namespace], Found]
MEASURES: Mapping[str, tuple[Measure, Callable[[Found], list[Row]]]] = {
    "intake": (_intake, _intake_rows),
    "first-step": (_first_step, _first_step_rows),
    "failover": (_failover, _failover_rows),
    "switchover": (_switchover, _switchover_rows),
    "sentinel": (_sentinel, _sentinel_rows),
    "peers": (_peers, peers.rows),
    "restore": (_restore, restore.rows),
    "backup": (_backup, backup.rows),
    "memory": (_memory, memory.rows),
    "isolate": (_isolate, isolation.rows),
}


if __name__ == "__main__":
    main()
