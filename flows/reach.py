"""How far WAL leads from each set, for each turn of a drill. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flows.points import sites_to_read
from recoverd.backup.chains import follow
from recoverd.backup.manifest import Manifest
from recoverd.drills import MIXED
from tasks.archived import Archive
from tasks.sets import Survey


def reach_of(survey: Survey, archive: Archive, turns: Sequence[str]) -> dict[str, dict[str, datetime]]:
    """By turn, by set: when the last WAL that leads on from it without a gap was received. Only what is signed counts.

    Args:
        survey: What the sites hold of sets.
        archive: What they hold of WAL.
        turns: Sites, several with commas, or `mixed`.
    """
    found = {}
    for turn in turns:
        sites = sites_to_read(survey, () if turn == MIXED else tuple(turn.split(",")))
        found[turn] = {one.set: _end(one, archive, sites) for one in survey.manifests}
    return found


def _end(manifest: Manifest, archive: Archive, sites: tuple[str, ...]) -> datetime:
    """Of a set from a time that was given up, only its own end: a restore to a moment follows the newest timeline."""
    shelf = archive.shelf
    newest = shelf.timelines[0] if shelf.timelines else manifest.timeline
    of_another = archive.system_identifier not in {"", manifest.system_identifier}
    if of_another or not shelf.leads_to(manifest, newest):
        return manifest.ended_at
    return follow(manifest, shelf, newest, sites).end_at
