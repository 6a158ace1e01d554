"""Patroni, with its leader lock in Raft on app-1, which no fault touches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.contestant import NEW, OLD, Contestant
from lab import Lab, patroni


class Patroni(Contestant):
    """Patroni with one set of times.

    Args:
        kind: The times, in a word.
        times: `ttl`, `loop_wait` and `retry_timeout` in seconds.
    """

    peer = "Patroni"
    fences = "no: the old primary is to stop itself before its lock runs out, with a watchdog where it has one"
    confirms = "its lock ran out, and no other member that answers says that it leads"

    def __init__(self, kind: str, times: Mapping[str, int]) -> None:
        self.name = f"Patroni, {kind}"
        self._times = times
        self.settings = dict(times)
        self.rhythm_s = float(times["loop_wait"])

    def prepare(self, lab: Lab) -> str:
        """Install it into the directory that is kept for the next time."""
        program = patroni.command(lab)
        said = lab.run(OLD, f"{program} -c 'from patroni.version import __version__ as it; print(it)'", user="postgres")
        return said.out.strip()

    @contextmanager
    def watching(self, lab: Lab, directory: Path) -> Iterator[None]:
        """Put the running cluster under it."""
        patroni.build(lab, self._times)
        yield

    def switch_over(self, lab: Lab) -> None:
        """Ask its REST API, as patronictl does."""
        patroni.switch_over(lab, OLD, NEW)
