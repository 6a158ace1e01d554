"""From the fault to the first committed write with nobody but recoverd's own sentinel watching.

It has to notice, look from every side until the policy's number of looks agree, raise its alert, fence, promote and
lead users there. The time runs from just before the fault to the end of the gap in the writer's ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.kit import (
    SPARE_REFILLED_S,
    Controller,
    figures,
    make_whole,
    own_lab,
    wait_for_run,
    written,
)

FAULTS = {"host loss": "power-off", "postmaster loss": "kill", "frozen server": "freeze"}
TARGET_S = 5.0


def measure(
    directory: Path, runs: int, say: Callable[[str], None], only: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """The figures of all faults, by name."""
    found: dict[str, dict[str, Any]] = {}
    with own_lab(directory / "labs") as lab:
        for name, fault in FAULTS.items():
            if only and not any(part in name for part in only):
                continue
            took: list[float] = []
            for number in range(runs):
                # A sentinel that has just seen a failover is in another state than one that has watched for weeks.
                make_whole(lab)
                with (
                    Controller(lab, directory / f"home-{fault}-{number}", sentinel=True) as recoverd,
                    written(lab, directory, load=False) as witness,
                ):
                    time.sleep(SPARE_REFILLED_S + number / runs)  # at another moment of the sentinel's second each time
                    began = time.time()
                    lab.break_(fault, "db-1")
                    wait_for_run(recoverd)
                    took.append(witness.gap_after(began)[1] - began)
                say(f"  {took[-1]:.3f} s")
            found[name] = {**figures(took), "each_s": [round(each, 3) for each in took]}
            say(f"{name}: {found[name]}")
    return found
