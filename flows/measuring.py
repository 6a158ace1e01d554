"""How long the phases of a restore took, by what its steps wrote down. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.journal import Entry
from recoverd.timeline.phases import name_of

PHASES = ("look", "fetch", "unpack", "recover", "prove", "other")
_PHASE_OF = {
    "survey_sites": "look", "survey_wal": "look", "observe_room": "look", "choose_point": "look",
    "open_passage": "fetch", "begin_unpacking": "fetch", "fetch_parts": "fetch", "close_passage": "fetch",
    "begin_reading": "fetch", "fetch_wal": "fetch",
    "finish_reading": "unpack", "finish_unpacking": "unpack", "recover": "recover", "prove_restored": "prove",
    "look_at_repositories": "look", "see_holdings": "look", "observe_space": "look", "choose_offers": "look",
    "bring_set": "fetch", "bring_wal": "fetch",
}  # fmt: skip
_NOT_PART_OF_IT = {"choose_drill", "prove_isolated", "read_every_table", "clear_away"}


def phase_seconds(entries: Iterable[Entry]) -> dict[str, float]:
    """Seconds by phase, of the entries of a restore, or of a drill from its choice on."""
    found = dict.fromkeys(PHASES, 0.0)
    for entry in entries:
        if entry.kind in {"step.observed", "step.done"} and name_of(entry) not in _NOT_PART_OF_IT:
            found[_PHASE_OF.get(name_of(entry), "other")] += float(entry.body.get("seconds") or 0.0)
    return {phase: round(seconds, 3) for phase, seconds in found.items() if seconds}
