"""What one that watches over the cluster has to offer, so that all are measured by the same ruler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from lab import Lab

OLD, NEW = "db-1", "db-2"


class Contestant(ABC):
    """One that watches over the lab's cluster, with one set of settings.

    Attributes:
        peer: Whose program it is.
        name: That and the settings, in words.
        settings: What decides how quickly it acts, in its own words and units.
        rhythm_s: Seconds between two of its looks at the primary: faults come at different moments of it.
        fences: How it keeps the old primary from taking writes before it promotes.
        confirms: Who must agree that the primary is gone.
    """

    peer: str
    name: str
    settings: Mapping[str, float]
    rhythm_s: float
    fences: str
    confirms: str

    @abstractmethod
    def prepare(self, lab: Lab) -> str:
        """Install what is missing; gives its version. Raises Unreachable where it cannot be had, and says why."""

    @abstractmethod
    def watching(self, lab: Lab, directory: Path) -> AbstractContextManager[None]:
        """Let it watch over a cluster that has just been made, with db-1 as the primary. Raises TimedOut.

        What it leaves running on the lab's hosts when it is left ends with their power.

        Args:
            directory: An empty one of its own, on this machine.
        """

    @abstractmethod
    def switch_over(self, lab: Lab) -> None:
        """Make db-2 the primary in order, as its administrator would. Raises TimedOut, CommandFailed."""

    def finish(self) -> None:  # noqa: B027 - most have nothing more to do
        """Wait until it has ended what it began; users write again by now."""
