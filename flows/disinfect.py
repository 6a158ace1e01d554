"""Disinfect: hosts are scanned with ClamAV, infected files put into quarantine, and the hosts scanned once more.

Only a scan that came to its end, by signatures that are there, makes a host count as clean; see recoverd/isolation/cleanliness.py
for what a release makes of it. Undo puts the files back where they were, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import flow

from flows.fence import note_summary
from recoverd.errors import Look, RecoverdError
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.inventory.selectors import select
from recoverd.isolation.cleanliness import note_scan
from recoverd.isolation.containment import read_time
from recoverd.step import decide
from recoverd.words import counted
from recoverd.world import world
from tasks.quarantining import MOST_FILES, quarantine
from tasks.scanning import Scanned, Scans, as_scan, read_paths, scan_hosts
from tasks.views import Facts

SCAN_LIMIT_S = 3600
MOST_TURNS = 3
"""What comes again after so many scans is put there by something that no scan has found."""


@flow(name="disinfect", persist_result=False)
def disinfect(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Scan hosts, put infected files into quarantine, and prove it by a second scan.

    Args:
        target: A host, `group:NAME`, `label:NAME=VALUE`, several joined by commas.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `paths`, what is scanned (all of the host); `database`, signatures on the hosts; `limit`, how long a scan
            may take (1h).
    """
    with execution("disinfect", target, run, reason, options):
        return carry_out(target)


def carry_out(target: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    hosts = select(here.inventory, target)
    paths, limit_s = read_paths(here.run.options.get("paths")), read_time(here.run.options.get("limit")) or SCAN_LIMIT_S
    database = str(here.run.options.get("database") or "")
    left: dict[str, dict[str, str]] = {host: {} for host in hosts}
    faults: dict[str, RecoverdError] = {}
    for turn in range(1, MOST_TURNS + 1):
        seen = scan_hosts(hosts, paths, database, limit_s, turn)
        _note(seen)
        if all(one.problem for one in seen.seen):
            _fail(hosts, seen, left, faults)
        infected = choose_files(turn, seen, left)
        if not infected.files or here.dry_run:
            break
        if turn == 1 and here.run.mode == "ask":
            gate("disinfect", {"procedure": "disinfect", "files": infected.files}, infected.summary)
        done = quarantine.each({host: (host, turn, files) for host, files in infected.files.items()})
        faults |= done.faults
        for host, outcome in done.outcomes.items():
            left[host].update(outcome.effect.data.get("left", {}))
        if done.faults:
            break
    if any(one.problem or one.findings for one in seen.seen) or faults:
        _fail(hosts, seen, left, faults)
    return _close(seen)


class Infected(Facts):
    """Files to put into quarantine, by host."""

    files: dict[str, tuple[str, ...]]

    @property
    def summary(self) -> str:
        """One line for a timeline and a gate."""
        words = [f"{counted(len(files), 'file')} of {host}" for host, files in self.files.items()]
        return f"put {', '.join(words)} into quarantine" if words else "nothing is infected that is not known to stay"


@decide("choose what goes into quarantine, turn {turn}")
def choose_files(turn: int, seen: Scans, left: Mapping[str, Mapping[str, str]]) -> Infected:
    """All that the scan found, but what the host cannot do without.

    Raises:
        Look: So many that the signatures, or the whole host, are in question.
    """
    files = {
        one.host: tuple(found.path for found in one.findings if found.path not in left.get(one.host, {}))
        for one in seen.seen
    }
    for host, found in files.items():
        if len(found) > MOST_FILES:
            raise Look(
                f"{len(found)} files of {host} are infected, more than {MOST_FILES}: nothing was moved",
                f"build {host} anew from a backup; if the signatures are wrong, name others by --option database=PATH",
            )
    return Infected(files={host: found for host, found in files.items() if found})


def _note(seen: Scans) -> None:
    here = world()
    if here.journal is None or here.dry_run:
        return
    for one in seen.seen:
        if one.code >= 0 or not one.problem:
            note_scan(here.journal, as_scan(one, here.run.id))


def _fail(
    hosts: tuple[str, ...], seen: Scans, left: Mapping[str, Mapping[str, str]], faults: Mapping[str, RecoverdError]
) -> None:
    """Say of each host why it is not clean. Raises Look."""
    words = [_why(one, left[one.host]) for one in seen.seen if one.problem or one.findings]
    words += [f"{host}: {error.message}" for host, error in faults.items()]
    hint = next((one.hint for one in seen.seen if one.problem), "")
    raise Look(
        f"{counted(len(words), 'host')} of {len(hosts)} not clean: {'; '.join(words)}",
        hint or f"look at what is left, or build the host anew: recoverd show {world().run.id}",
    )


def _why(one: Scanned, left: Mapping[str, str]) -> str:
    if one.problem:
        return one.problem
    stays = [f"{found.path} stays, for {left[found.path]}" for found in one.findings if found.path in left]
    again = [found.path for found in one.findings if found.path not in left]
    words = stays + ([f"infected still or again: {', '.join(again[:5])}"] if again else [])
    return f"{one.host}: {'; '.join(words)}"


def _close(seen: Scans) -> str:
    scans = [as_scan(one, world().run.id) for one in seen.seen]
    unread = [one.host for one in scans if one.unread]
    summary = "; ".join(one.summary for one in scans)
    if unread:
        summary += f"; NOT ALL WAS READ on {', '.join(unread)}, so that a person decides whether it is clean"
    note_summary(summary)
    return summary
