"""How the time that restores take develops over the drills, by turn. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from recoverd.drills import Drill
from tasks.views import Facts

STEADY = 0.2
"""The last drill may differ from the ones before it by so much, and still counts as steady."""


class Trend(Facts):
    """Of the drills of one turn that passed in one go.

    Attributes:
        rto_s: The oldest first.
        change: By how much the last one took longer than the median of those before it; None with fewer than two.
    """

    turn: str
    rto_s: tuple[float, ...]
    change: float | None = None

    @property
    def summary(self) -> str:
        """In words, such as `4.1 s, 3.9 s, 8.0 s: slower by 100 %`."""
        shown = ", ".join(f"{seconds:.1f} s" for seconds in self.rto_s[-5:]) or "none passed"
        if self.change is None:
            return shown
        if abs(self.change) <= STEADY:
            return f"{shown}: steady"
        return f"{shown}: {'slower' if self.change > 0 else 'faster'} by {abs(self.change):.0%}".replace("%", " %")


def trends(drills: Iterable[Drill]) -> tuple[Trend, ...]:
    """A trend a turn, in the order in which the turns came first."""
    times: dict[str, list[float]] = {}
    for one in drills:
        found = times.setdefault(one.turn, [])
        if one.passed and not one.interrupted:
            found.append(one.rto_s)
    return tuple(Trend(turn=turn, rto_s=tuple(found), change=_change(found)) for turn, found in times.items())


def _change(times: list[float]) -> float | None:
    before = median(times[:-1]) if len(times) > 1 else 0.0
    return round(times[-1] / before - 1, 3) if before > 0 else None
