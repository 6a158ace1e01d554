"""A restore from three sites at once, from each alone, and by pgBackRest from one: over limited links, and over free ones.

recoverd's time is that of the whole run, from the request to the proof, in a `recoverd serve` that is warm: it looks at all sites,
chooses, fetches, decrypts, unpacks, verifies every file, recovers, reads every catalogue and checks every index. pgBackRest's
is its `restore` and the start of the server until it is out of recovery; it proves nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.kit import SERVICE, Controller
from benchmarks.sites import pgbackrest
from benchmarks.sites.kit import (
    RESTORE_HOST,
    SITES,
    Timed,
    first,
    lab_with_sites,
    limited,
    link_mbit,
    median_of,
    seconds_of,
    timed_run,
)
from lab import Lab
from lab.cluster import BIN
from recoverd.errors import RecoverdError
from recoverd.journal import Entry, RunRow

Way = Callable[[], Timed]
WORK = f"/var/lib/recoverd/restore/{SERVICE}"
LIMITED, FREE = "200 Mbit/s a site", "free links"
ALL = "recoverd, three sites"
PEER = "pgBackRest, one repository"
COPY = "cp -a, on one disk"
OF_BEST, OF_PEER, OF_PEER_FREE = 2.4, 2.0, 1.5
SLOWEST_RUN_S = 900.0


def measure(
    directory: Path, runs: int, say: Callable[[str], None], only: Iterable[str] = (), size_mb: int = 2048
) -> dict[str, Any]:
    """The figures of both kinds of links. Scenarios are named `links, who`; `only` chooses among them."""
    wanted = tuple(only)
    with lab_with_sites(directory / "labs", size_mb, say) as lab, Controller(lab, directory / "home") as recoverd:
        found: dict[str, Any] = {"size_mb": size_mb, "scenarios": {}, "left_out": {}}
        run, _ = timed_run(recoverd, "backup")
        say(f"backed up: {run.summary}")
        ways: dict[str, Way] = {ALL: partial(restore, lab, recoverd)}
        ways |= {f"recoverd, {site} alone": partial(restore, lab, recoverd, "--site", site) for site in SITES}
        if not wanted or any(part in f"{links}, {PEER}" for links in (LIMITED, FREE) for part in wanted):
            try:
                found["pgbackrest"] = pgbackrest.prepare(lab)
                ways[PEER] = partial(_by_peer, lab)
            except RecoverdError as error:
                found["left_out"][PEER] = error.message
        for links in (LIMITED, FREE):
            with ExitStack() as stack:
                stack.enter_context(limited(lab) if links == LIMITED else nullcontext())
                mine = {name: way for name, way in ways.items() if links == LIMITED or "alone" not in name}
                if links == FREE:
                    mine[COPY] = partial(copy, lab)
                mine = {
                    name: way
                    for name, way in mine.items()
                    if not wanted or any(part in f"{links}, {name}" for part in wanted)
                }
                if not mine:
                    continue
                found.setdefault("link_mbit", {})[links] = [round(link_mbit(lab, host)) for host in SITES.values()]
                say(f"{links}: {found['link_mbit'][links]} Mbit/s from each site's host")
                each: dict[str, list[Timed]] = {name: [] for name in mine}
                for _ in range(runs):
                    for name, way in mine.items():
                        each[name].append(way())
                        say(f"  {links}, {name}: {each[name][-1].total_s:.2f} s {_words(each[name][-1].phases)}")
                found["scenarios"] |= {f"{links}, {name}": median_of(taken) for name, taken in each.items()}
    return found | {"ratios": ratios(found["scenarios"])}


def restore(lab: Lab, recoverd: Controller, *options: str) -> Timed:
    """One restore beside, and away with it."""
    run, entries = timed_run(recoverd, "restore", *options)
    try:
        told = [str(one.body["summary"]) for one in entries if one.kind == "step.progress"]
        return Timed(seconds_of(run), phases(lab, run, entries), told[-1] if told else "")
    finally:
        data = f"{WORK}/{run.id}/data"
        lab.run(RESTORE_HOST, f"{BIN}/pg_ctl -D {data} -s -w -m immediate stop", user="postgres", timeout_s=60)
        lab.run(RESTORE_HOST, f"rm -rf {WORK}/{run.id}", timeout_s=60)


def phases(lab: Lab, run: RunRow, entries: list[Entry]) -> dict[str, float]:
    """Seconds of each phase, from the journal; when tar and the check of every file ended, from the files that say so."""
    marks = f"stat -c %.Y {WORK}/{run.id}/unpack/code.tar {WORK}/{run.id}/unpack/done"
    unpacked, verified = (float(line) for line in lab.run(RESTORE_HOST, marks).out.split())
    begun = first(entries, "step.intended", "begin_unpacking") or 0.0
    fetched = first(entries, "step.done", "fetch_parts") or 0.0
    recovering = first(entries, "step.intended", "recover") or 0.0
    recovered = first(entries, "step.done", "recover") or 0.0
    assert run.ended_at is not None
    at = (
        run.created_at.timestamp(),
        begun,
        fetched,
        unpacked,
        verified,
        recovering,
        recovered,
        run.ended_at.timestamp(),
    )
    names = ("look and choose", "fetch", "unpack, after that", "verify", "to the next step", "recover", "prove")
    return {name: round(later - earlier, 2) for name, earlier, later in zip(names, at, at[1:], strict=False)}


def _words(phases: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in phases.items())


def _by_peer(lab: Lab) -> Timed:
    took = pgbackrest.restore(lab)
    pgbackrest.clear(lab)
    return Timed(sum(took.values()), took)


def copy(lab: Lab) -> Timed:
    """What the disk alone takes: the data directory of db-2, which nobody writes to, copied and brought to disk."""
    there = lab.host("db-2").dir / "postgresql/data"
    place = lab.host(RESTORE_HOST).dir / "recoverd/copied"
    began = time.monotonic()
    subprocess.run(["sh", "-c", f"cp -a {there} {place} && sync -f {place}"], check=True, timeout=SLOWEST_RUN_S)
    took = time.monotonic() - began
    shutil.rmtree(place)
    return Timed(took, {})


def ratios(scenarios: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """How many times as fast as the others; only where both were measured in this run."""
    at = {name: float(one["median_s"]) for name, one in scenarios.items()}
    found: dict[str, float] = {}
    alone = [value for name, value in at.items() if name.startswith(LIMITED) and name.endswith("alone")]
    mine = at.get(f"{LIMITED}, {ALL}")
    if mine and alone:
        found["best single site / three sites"] = min(alone) / mine
    if mine and (peer := at.get(f"{LIMITED}, {PEER}")):
        found["pgBackRest / three sites"] = peer / mine
    mine = at.get(f"{FREE}, {ALL}")
    if mine and (peer := at.get(f"{FREE}, {PEER}")):
        found["three sites / pgBackRest, free links"] = mine / peer
    if mine and (floor := at.get(f"{FREE}, {COPY}")):
        found["three sites / cp -a, free links"] = mine / floor
    return {name: round(value, 2) for name, value in found.items()}


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table: what, measured, wanted, reached."""
    wanted: dict[str, tuple[str, Callable[[float], bool]]] = {
        "best single site / three sites": (f"≥ {OF_BEST:g}", lambda ratio: ratio >= OF_BEST),
        "pgBackRest / three sites": (f"≥ {OF_PEER:g}", lambda ratio: ratio >= OF_PEER),
        "three sites / pgBackRest, free links": (f"≤ {OF_PEER_FREE:g}", lambda ratio: ratio <= OF_PEER_FREE),
    }
    lines = []
    for name, one in found["scenarios"].items():
        spread = f"{one['median_s']:.1f} s ({one['min_s']:.1f}–{one['max_s']:.1f})"
        lines.append((f"restore, {name}", f"{spread}; {_words(one['phases_s'])}".rstrip("; "), "–", "–"))
    for name, ratio in found["ratios"].items():
        wish, reached = wanted.get(name, ("–", None))
        lines.append((name, f"{ratio:g} ×", wish, "–" if reached is None else "yes" if reached(ratio) else "no"))
    lines += [(name, f"left out: {why}", "–", "–") for name, why in found["left_out"].items()]
    return lines
