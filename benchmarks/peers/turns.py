"""The turns: a cluster made anew, one that watches over it, a fault, and clients that say when they can write again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx

from benchmarks.kit import SPARE_REFILLED_S, make_whole, own_lab, written
from benchmarks.peers.contestant import OLD, Contestant
from benchmarks.peers.patroni import Patroni
from benchmarks.peers.repmgr import AGREED, QUICKEST, Repmgr
from benchmarks.peers.report import Turn, summary
from benchmarks.peers.sentinel import Sentinel
from lab import Lab, patroni
from lab.cluster import HOME
from recoverd.errors import RecoverdError, Unreachable

SCENARIOS = {"host loss": "power-off", "postmaster loss": "kill", "switchover": None}
RECOVERED_TIMEOUT_S = 150.0
TURN_FAILED = (RecoverdError, OSError, subprocess.SubprocessError, httpx.HTTPError, AssertionError)
"""What a contestant, or a busy machine, can do to a turn: written down as its failure, and the others go on."""
LAST_WORDS_S = 0.5
"""A server whose postmaster was killed may still answer the statement that it was at."""


def contestants() -> tuple[Contestant, ...]:
    """All that are compared, recoverd first."""
    return (
        Sentinel(),
        Patroni("defaults", patroni.DEFAULTS),
        Patroni("quickest", patroni.QUICKEST),
        Repmgr("defaults", {}),
        Repmgr("quick and agreed", AGREED, consensus=True),
        Repmgr("quickest", QUICKEST),
    )


def measure(directory: Path, runs: int, say: Callable[[str], None], only: Iterable[str] = ()) -> dict[str, Any]:
    """The figures of all scenarios; who cannot be had here is left out, and the reason stands in `skipped`.

    Each round lets everybody have one turn of each scenario, so that all see the same machine.
    """
    turns: list[Turn] = []
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {}
    everybody = contestants()
    with own_lab(directory / "labs", "peers") as lab:
        for one in everybody:
            try:
                versions[one.name] = one.prepare(lab)
            except Unreachable as error:
                skipped[one.name] = error.message
                say(f"  {one.name} is left out: {error.message}")
        for number in range(runs):
            for scenario in SCENARIOS:
                for one in everybody:
                    if one.name in skipped or not asked_for(f"{scenario}, {one.name}", only):
                        continue
                    found = _turn(one, lab, directory / f"turn-{len(turns)}", scenario, number / runs)
                    say(f"  {found}")
                    turns.append(found)
    return summary(everybody, turns, versions, skipped)


def asked_for(name: str, only: Iterable[str]) -> bool:
    """Whether a scenario is among those that were named; without names all are."""
    parts = tuple(only)
    return not parts or any(part in name for part in parts)


def _turn(one: Contestant, lab: Lab, directory: Path, scenario: str, phase: float) -> Turn:
    """One turn; a contestant that does not manage it within its limits fails that turn, not all others."""
    directory.mkdir()
    seconds: float | None = None
    writers: tuple[str, ...] = ()
    failed = ""
    try:
        seconds, writers = _outage(one, lab, directory, SCENARIOS[scenario], phase), lab.writers()
    except TURN_FAILED as error:
        failed = f"{type(error).__name__}: {error}".splitlines()[0]
    return Turn(scenario, one.name, seconds, writers, failed, os.getloadavg()[0])


def _outage(one: Contestant, lab: Lab, directory: Path, fault: str | None, phase: float) -> float:
    """Seconds from the fault to the first commit after it; for a switchover, the longest time without a commit."""
    start_anew(lab)
    with one.watching(lab, directory), written(lab, directory, load=False, through="libpq") as witness:
        time.sleep(SPARE_REFILLED_S + phase * one.rhythm_s)  # at another moment between two looks each time
        began = time.time()
        if fault is None:
            one.switch_over(lab)
        else:
            lab.break_(fault, OLD)
        witness.first_after(time.time() + LAST_WORDS_S, RECOVERED_TIMEOUT_S)
        one.finish()
        before, after = witness.gap_after(began)
    return after - (before if fault is None else began)


def start_anew(lab: Lab) -> None:
    """All hosts off and on, which ends whatever watched over them, its files removed, and the cluster made whole."""
    for host in lab.hosts:
        lab.power_off(host.name)
    for host in lab.hosts:
        lab.power_on(host.name)
        lab.run(host.name, f"rm -rf {HOME}/patroni {HOME}/repmgr {HOME}/.ssh")
    make_whole(lab)
