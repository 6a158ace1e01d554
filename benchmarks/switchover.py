"""How long a planned switchover keeps users from writing: the gap in a writer's ledger, there and back again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.kit import SERVICE, SPARE_REFILLED_S, Controller, figures, own_lab, wait_for_run, written

TARGET_S = 1.0


def measure(
    directory: Path, runs: int, say: Callable[[str], None], only: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """The figures, idle and under load."""
    found: dict[str, dict[str, Any]] = {}
    with own_lab(directory / "labs") as lab, Controller(lab, directory / "home") as recoverd:
        for name, load in (("idle", False), ("under pgbench", True)):
            if only and not any(part in name for part in only):
                continue
            gaps: list[float] = []
            for _ in range(runs):
                with written(lab, directory, load=load) as witness:
                    time.sleep(SPARE_REFILLED_S)
                    began = time.time()
                    recoverd.command("run", "switchover", SERVICE, "--reason", "a benchmark")
                    wait_for_run(recoverd)
                    before, after = witness.gap_after(began)
                    gaps.append(after - before)
                say(f"  {gaps[-1]:.3f} s")
            found[name] = {**figures(gaps), "each_s": [round(each, 3) for each in gaps]}
            say(f"{name}: {found[name]}")
    return found
