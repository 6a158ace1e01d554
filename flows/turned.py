"""A run that goes back instead of on: settled once, and known to all of its executions."""

from __future__ import annotations

from recoverd.step import decide
from recoverd.world import world
from tasks.views import Facts


class TurnedBack(Facts):
    """A run goes back, whatever comes later, and why.

    Attributes:
        to: What it goes back to.
    """

    reason: str
    to: str = "the old primary"

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"back to {self.to}: {self.reason}"


@decide("turn back")
def turn_back(found: TurnedBack) -> TurnedBack:
    """Settle it before anything is done for it: a run that is resumed after that does nothing of what it was begun for."""
    return found


def turned_back() -> TurnedBack | None:
    """Whether this run has turned back, in whichever of its executions."""
    here = world()
    kept = here.journal.decision(here.run.id, "turn_back()") if here.journal is not None else None
    return None if kept is None else TurnedBack.model_validate(kept["decision"])
