"""The stretch of WAL that leads from a set to where a restore ends: is every segment of it somewhere? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from recoverd.backup.repository import RepoSet, Shelf
from recoverd.backup.wal import Segment, Switch


class Needed(BaseModel):
    """A segment that a recovery reads.

    Attributes:
        sha1: Of its content.
        sites: Those that have it, in the order of the inventory.
        at: When it came to the first of them.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    sha1: str
    sites: tuple[str, ...]
    at: datetime


class Stretch(BaseModel):
    """Consecutive segments from the beginning of a set.

    Attributes:
        timeline: The timeline that it ends on.
        hole: The first segment that no site has although there are later ones; empty without a hole.
        hole_end: The last one that is missing.
        doubts: Segments that sites have with different content, with the sites that are not believed.
    """

    model_config = ConfigDict(frozen=True)

    timeline: int
    segment_bytes: int
    segments: tuple[Needed, ...] = ()
    hole: str = ""
    hole_end: str = ""
    doubts: tuple[str, ...] = ()

    @property
    def last(self) -> Segment | None:
        """The last segment before the hole, or before the end of all WAL."""
        return Segment.parse(self.segments[-1].name, self.segment_bytes) if self.segments else None

    @property
    def end_lsn(self) -> int:
        """The position after the last byte."""
        return self.last.end_lsn if self.last else 0

    @property
    def until(self) -> datetime | None:
        """The newest moment of which it can have anything: when its last segment was archived."""
        return self.segments[-1].at if self.segments else None

    def covers(self, one: RepoSet) -> bool:
        """Whether the set becomes consistent with it."""
        return self.end_lsn >= one.stop_lsn

    def up_to(self, moment: datetime | None, lsn: int = 0) -> Stretch:
        """The part of it that leads to a moment, or to a position. Archived late is possible, archived early is not."""
        cut = len(self.segments)
        for index, one in enumerate(self.segments):
            if (moment is not None and one.at > moment) or (
                lsn and Segment.parse(one.name, self.segment_bytes).end_lsn > lsn
            ):
                cut = index + 1
                break
        return self.model_copy(update={"segments": self.segments[:cut]})


def follow(one: RepoSet, shelves: Mapping[str, Shelf], timeline: int = 0, history: tuple[Switch, ...] = ()) -> Stretch:
    """The WAL from the beginning of a set as far as it goes without a gap, from whichever sites have it.

    Args:
        one: The set.
        shelves: By site, its WAL of that cluster.
        timeline: Where it ends; 0 for the set's own.
        history: The ancestors of that timeline.
    """
    size, ends_on = one.segment_bytes, timeline or one.timeline
    known = {name for shelf in shelves.values() for name in shelf.segments}
    switches = sorted(history, key=lambda each: each.at_lsn)
    found: list[Needed] = []
    doubts: list[str] = []
    number = Segment.parse(one.first, size).number
    while True:
        ended = next((switch for switch in switches if number < switch.at_lsn // size), None)
        segment = Segment(ended.timeline if ended else ends_on, number, size)
        if segment.name not in known:
            break
        needed, doubt = _needed(segment.name, shelves)
        found.append(needed)
        doubts += doubt
        number += 1
    hole, hole_end = _hole(segment, known, switches, ends_on)
    return Stretch(
        timeline=ends_on, segment_bytes=size, segments=tuple(found), hole=hole, hole_end=hole_end, doubts=tuple(doubts)
    )


def _needed(name: str, shelves: Mapping[str, Shelf]) -> tuple[Needed, list[str]]:
    """The content that most sites have; the first of them where it is a draw."""
    held = {site: shelf.segments[name] for site, shelf in shelves.items() if name in shelf.segments}
    sha1 = Counter(one.sha1 for one in held.values()).most_common(1)[0][0]
    sites = tuple(
        site for site, one in held.items() if one.sha1 == sha1 and name not in shelves[site].doubled
    ) or tuple(held)
    others = [site for site, one in held.items() if one.sha1 != sha1 or name in shelves[site].doubled]
    doubt = [f"{name} is another one on {', '.join(others)}"] if others else []
    return Needed(name=name, sha1=sha1, sites=sites, at=min(one.at for one in held.values())), doubt


def _hole(missing: Segment, known: set[str], switches: list[Switch], ends_on: int) -> tuple[str, str]:
    """The stretch that is missing, where something comes after it; empty where this is just the end."""
    line = {missing.timeline, ends_on, *(switch.timeline for switch in switches)}
    later = [
        segment.number
        for segment in (Segment.parse(name, missing.size) for name in known)
        if segment.timeline in line and segment.timeline >= missing.timeline and segment.number > missing.number
    ]
    if not later:
        return "", ""
    return missing.name, Segment(missing.timeline, min(later) - 1, missing.size).name


def newest_line(one: RepoSet, histories: Mapping[int, tuple[Switch, ...]]) -> int:
    """The newest timeline that the cluster of a set went on to, from somewhere after the set's end; else the set's own.

    Args:
        one: The set.
        histories: By timeline, its ancestors.
    """
    for timeline in sorted(histories, reverse=True):
        parted = [switch for switch in histories[timeline] if switch.timeline == one.timeline]
        if timeline > one.timeline and parted and parted[0].at_lsn >= one.stop_lsn:
            return timeline
    return one.timeline
