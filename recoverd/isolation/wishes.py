"""What a run of `isolate` is asked for beside its hosts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid

MOMENTS = ("first", "after", "none")


class Wish(BaseModel):
    """What a person, or an alert, asks for.

    Attributes:
        evidence: When evidence is taken, instead of what the zone says; None: as the zone says.
        stop_after: So many hosts that fail, and no further one is begun; None: all are tried.
        force: Whether what a person may overrule is overruled.
    """

    model_config = ConfigDict(frozen=True)

    evidence: Literal["first", "after", "none"] | None = None
    stop_after: int | None = None
    force: bool = False


def read_wish(options: Mapping[str, Any]) -> Wish:
    """The options of an `isolate`, as they were meant. Raises Invalid."""
    evidence, stop_after = options.get("evidence") or None, options.get("stop-after")
    if evidence is not None and evidence not in MOMENTS:
        raise Invalid(f"evidence is not taken {evidence!r}", f"--option evidence={'|'.join(MOMENTS)}")
    if stop_after is not None and (not str(stop_after).isdigit() or int(stop_after) < 1):
        raise Invalid(f"{stop_after!r} is no number of hosts that may fail", "--option stop-after=5")
    return Wish(
        evidence=evidence, stop_after=None if stop_after is None else int(stop_after), force=bool(options.get("force"))
    )


def check_options(options: Mapping[str, Any]) -> None:
    """What the door asks before a run is written down. Raises Invalid."""
    read_wish(options)
