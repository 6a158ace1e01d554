"""Sites of a backup that this run leaves alone: see recoverd/quarantine.py."""

from __future__ import annotations

from recoverd.prepared import kept_journal
from recoverd.quarantine import Standing, quarantined
from recoverd.world import world


def sites_apart(service: str) -> dict[str, Standing]:
    """By name, as the journal has it now."""
    return quarantined(world().journal or kept_journal(), service)
