"""From an accepted alert to the first committed write through the entry point, beside the floor of the same machine.

Each turn: the lab made whole, a writer on app-1, the fault, a pause (an alert comes seconds after its cause), then
either the floor (see benchmarks/floor.py) or the POST of what Alertmanager says. The end is the first commit that the
writer was told of, whatever recoverd says. Floor and recoverd take turns, so that both see the same machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.floor import Floor
from benchmarks.kit import (
    SPARE_REFILLED_S,
    Controller,
    figures,
    make_whole,
    own_lab,
    wait_for_run,
    written,
)
from lab import Lab
from recoverd.journal import Entry

FAULTS = {"host loss": "power-off", "postmaster loss": "kill"}
LOADS = {"idle": False, "under pgbench": True}
AFTER_THE_FAULT_S = 2.0
TARGET_RATIO, TARGET_S, WISHED_S = 3.0, 1.5, 1.0


def measure(
    directory: Path,
    runs: int,
    say: Callable[[str], None],
    only: Iterable[str] = (),
    probe_timeout_s: float | None = None,
) -> dict[str, dict[str, Any]]:
    """The figures of all scenarios, by name; with another `probe_timeout_s` than the lab's policy has, if given."""
    found: dict[str, dict[str, Any]] = {}
    with own_lab(directory / "labs", probe_timeout_s=probe_timeout_s) as lab:
        for fault_name, fault in FAULTS.items():
            for load_name, load in LOADS.items():
                name = f"{fault_name}, {load_name}"
                if only and not any(part in name for part in only):
                    continue
                with Controller(lab, directory / f"home-{len(found)}") as recoverd:
                    found[name] = _scenario(recoverd, directory, fault, load, runs, say)
                say(f"{name}: {found[name]}")
    return found


def _scenario(
    recoverd: Controller, directory: Path, fault: str, load: bool, runs: int, say: Callable[[str], None]
) -> dict[str, Any]:
    floor: list[float] = []
    took: list[float] = []
    phases: list[dict[str, float]] = []
    for _ in range(runs):
        floor.append(_floor(recoverd.lab, directory, fault, load))
        seconds, journey = _recoverd(recoverd, directory, fault, load)
        took.append(seconds)
        phases.append(journey)
        say(f"  floor {floor[-1]:.3f} s, recoverd {seconds:.3f} s")
    ratio = figures(took)["median_s"] / figures(floor)["median_s"]
    return {
        "floor": figures(floor),
        "recoverd": figures(took),
        "ratio": round(ratio, 2),
        "steps_ms": {name: round(sorted(each[name] for each in phases)[runs // 2] * 1000) for name in phases[-1]},
        "each_s": [round(seconds, 3) for seconds in took],
    }


def _floor(lab: Lab, directory: Path, fault: str, load: bool) -> float:
    make_whole(lab)
    with written(lab, directory, load=load) as witness, ExitStack() as stack:
        script = Floor(lab, fault, stack)
        lab.break_(fault, "db-1")
        _pause()
        return witness.first_after(script.run())


def _recoverd(recoverd: Controller, directory: Path, fault: str, load: bool) -> tuple[float, dict[str, float]]:
    make_whole(recoverd.lab)
    with written(recoverd.lab, directory, load=load) as witness:
        time.sleep(SPARE_REFILLED_S)
        recoverd.lab.break_(fault, "db-1")
        _pause()
        began = recoverd.alert()
        seconds = witness.first_after(began)
        run = wait_for_run(recoverd)
        journal = recoverd.journal()
        entries = list(journal.entries(run=run.id))
        journal.close()
    return seconds, milestones(entries, began)


def _pause() -> None:
    """Alerts come seconds after their cause, and at any moment of the pace at which the writers try again."""
    time.sleep(AFTER_THE_FAULT_S + random.uniform(0, 0.5))  # noqa: S311 - only to step out of rhythm


def milestones(entries: Iterable[Entry], began: float) -> dict[str, float]:
    """Seconds from the POST to the entries of the run up to the first proof, for seeing where the time goes."""
    found: dict[str, float] = {}
    for entry in entries:
        name = f"{entry.kind} {(entry.step or '').partition('(')[0]}".strip()
        while name in found:
            name += "'"
        found[name] = entry.at.timestamp() - began
        if "prove_write" in name:
            break
    return found
