"""How far the WAL on the sites leads from a backup set without a gap, and which files of it a recovery needs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from recoverd.backup import keys
from recoverd.backup.archive import Entry
from recoverd.backup.manifest import Manifest
from recoverd.backup.wal import Segment, Switch

CLOCKS_APART = timedelta(seconds=60)
"""Commits carry the server's clock, the index that of the machine which received them: so far they may be apart."""


@dataclass(frozen=True)
class Stored:
    """A file of WAL, and where it is.

    Attributes:
        file: Its name below the directory of all WAL.
        name: The segment, or the history, that it holds.
        size: Bytes on the sites.
        sites: Those that have it, with the right size.
        partial_end: Of a segment that was still growing: how far it had come; 0 for a whole one.
        entry: What the signed index says of it; None for a file that is only listed.
    """

    file: str
    name: str
    size: int
    sites: tuple[str, ...]
    partial_end: int = 0
    entry: Entry | None = None

    @property
    def sha256(self) -> str:
        """Of the file; empty where nobody has signed for it."""
        return self.entry.sha256 if self.entry else ""

    @property
    def md5(self) -> str:
        """Likewise."""
        return self.entry.md5 if self.entry else ""


@dataclass(frozen=True)
class Chain:
    """WAL without a gap, from a set on.

    Attributes:
        timeline: The timeline that it ends on.
        segment_bytes: Size of a segment.
        end_lsn: All WAL before this position is there.
        end_at: When the last of it was received; of a chain without files, when the set was finished.
        files: What a recovery reads, in order.
        hole: What is missing after that although there is, or was, more; empty where there is no more.
    """

    timeline: int
    segment_bytes: int
    end_lsn: int
    end_at: datetime
    files: tuple[Stored, ...] = ()
    hole: str = ""

    @property
    def size(self) -> int:
        """Bytes that are fetched for it."""
        return sum(one.size for one in self.files)

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Those of the files that only a listing speaks of: the last ones, at most."""
        return tuple(one.name for one in self.files if one.entry is None)

    def until(self, moment: datetime) -> Chain:
        """Only what a recovery to a moment can need: up to the first file of which nothing was received before it."""
        beyond = (i for i, one in enumerate(self.files, 1) if one.entry and one.entry.first_at > moment + CLOCKS_APART)
        return self._first(next(beyond, 0))

    def up_to(self, lsn: int) -> Chain:
        """Only what a recovery to a position can need: the record there may reach into the segment after it."""
        beyond = next((i for i, one in enumerate(self.files, 1) if self._end(one) > lsn), 0)
        return self._first(beyond + 1 if beyond else 0)

    def ending_at(self, lsn: int) -> Chain:
        """Only the files up to a position at which one of them ends, or in which the last of them is cut."""
        count = next((i for i, one in enumerate(self.files, 1) if self._end(one) >= lsn), 0)
        return replace(self._first(count), end_lsn=lsn)

    def _end(self, one: Stored) -> int:
        return one.partial_end or Segment.parse(one.name, self.segment_bytes).end_lsn

    def _first(self, count: int) -> Chain:
        if not 0 < count < len(self.files):
            return self
        last = self.files[count - 1]
        at = last.entry.last_at if last.entry else self.end_at
        return replace(self, end_lsn=self._end(last), end_at=at, files=self.files[:count], hole="")


@dataclass(frozen=True)
class Shelf:
    """All WAL of a service that the sites speak of, whichever of them.

    Attributes:
        segment_bytes: Size of a segment.
        files: By their names below the directory of all WAL; those on no site too, as long as the index knows them.
        histories: The ancestors of each timeline but the first.
    """

    segment_bytes: int = 16 << 20
    files: Mapping[str, Stored] = field(default_factory=dict)
    histories: Mapping[int, tuple[Switch, ...]] = field(default_factory=dict)

    @property
    def timelines(self) -> tuple[int, ...]:
        """All that there is WAL of, the newest first."""
        return tuple(sorted({int(one.name[:8], 16) for one in self.files.values()}, reverse=True))

    def leads_to(self, manifest: Manifest, timeline: int) -> bool:
        """Whether a timeline comes of a set's: itself, or one that parted from it after the set was finished."""
        if timeline == manifest.timeline:
            return True
        return any(
            one.timeline == manifest.timeline and one.at_lsn >= manifest.end_lsn
            for one in self.histories.get(timeline, ())
        )


def follow(
    manifest: Manifest, shelf: Shelf, timeline: int, sites: Collection[str] = (), *, unsigned: bool = False
) -> Chain:
    """The WAL that leads on from a set, as far as it is without a gap.

    A set has the WAL in itself that makes it whole, so that the first segment that is needed is the one in which it ends.

    Args:
        manifest: Of the set.
        shelf: All WAL that there is.
        timeline: Where to; it must come of the set's timeline.
        sites: Those that may be read from; empty for all.
        unsigned: Whether it may end with files that no signed index speaks of.
    """
    way = _Way(manifest, shelf, timeline, frozenset(sites), unsigned)
    found: list[Stored] = []
    end, at, number = manifest.end_lsn, manifest.ended_at, manifest.end_lsn // shelf.segment_bytes
    one: Stored | None = None
    while (one := way.best(number)) is not None:
        found.append(one)
        end = one.partial_end or way.segment(number).end_lsn
        at = one.entry.last_at if one.entry else at
        if one.partial_end:
            break
        number += 1
    return Chain(timeline, shelf.segment_bytes, end, at, tuple(found), way.hole(number, one))


class _Way:
    """The segments from a set to a timeline, and what there is of each."""

    def __init__(self, manifest: Manifest, shelf: Shelf, timeline: int, sites: frozenset[str], unsigned: bool) -> None:
        self._timeline, self._size = timeline, shelf.segment_bytes
        self._switches = sorted(shelf.histories.get(timeline, ()), key=lambda one: one.at_lsn)
        self._files: dict[int, list[Stored]] = {}
        for one in shelf.files.values():
            if one.name.endswith(".history"):
                continue
            segment = Segment.parse(one.name, self._size)
            if segment == self.segment(segment.number):
                self._files.setdefault(segment.number, []).append(one)
        self._sites, self._unsigned = sites, unsigned
        signed = [number for number, files in self._files.items() if any(one.entry for one in files)]
        self._last_signed = max(signed, default=-1)

    def segment(self, number: int) -> Segment:
        """The segment that a recovery reads there: that in which a timeline ends is read from the next one."""
        ended = next((one for one in self._switches if number < one.at_lsn // self._size), None)
        return Segment(ended.timeline if ended else self._timeline, number, self._size)

    def best(self, number: int) -> Stored | None:
        """The file to read: the whole segment, else as much of it as there is."""
        may = self._unsigned and number >= self._last_signed
        there = [one for one in self._files.get(number, ()) if self._is_there(one) and (one.entry or may)]
        return max(there, key=lambda one: (not one.partial_end, one.partial_end, one.entry is not None), default=None)

    def hole(self, number: int, last: Stored | None) -> str:
        """What is missing from a segment on, of which there is `last` at most; empty where there never was more."""
        more = [one for one in self._files.get(number, ()) if one.entry and not one.partial_end]
        later = {at: files for at, files in self._files.items() if at > number and any(one.entry for one in files)}
        if not (more or later):
            return ""
        there = [at for at, files in later.items() if any(self._is_there(one) for one in files)]
        until = self.segment(min(there) - 1 if there else max(later, default=number))
        first = self.segment(number)
        names = first.name if until == first else f"{first.name} to {until.name}"
        part = f"; of the first there is only what came before {_lsn(last.partial_end)}" if last else ""
        rest = f"WAL goes on with {self.segment(min(there)).name}" if there else "though the signed index has it"
        return f"{names} on no site that is read, {rest}{part}"

    def _is_there(self, one: Stored) -> bool:
        return bool(set(one.sites) & self._sites if self._sites else one.sites)


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def stored(entries: Mapping[str, Entry], listings: Mapping[str, Mapping[str, int]]) -> dict[str, Stored]:
    """What the index and the listings say together.

    Args:
        entries: What believed pages of the index say, by file.
        listings: By site: sizes, by file below the directory of all WAL.
    """
    found = {
        file: Stored(
            file, entry.name, entry.size,
            tuple(site for site, files in listings.items() if files.get(file) == entry.size), entry.partial_end, entry,
        )
        for file, entry in entries.items()
    }  # fmt: skip
    for site, files in listings.items():
        for file, size in files.items():
            name, end = segment_in(file)
            if not name or file in entries or name.endswith(".history"):
                continue
            before = found.get(file)
            sites = (*before.sites, site) if before is not None and before.size == size else (site,)
            if before is None or before.size <= size:
                found[file] = Stored(file, name, size, sites, end)
    return found


def segment_in(file: str) -> tuple[str, int]:
    """The segment or history that a file on a site holds, and how far it had come; empty for a file that holds none."""
    if match := keys.WAL_FILE.match(file):
        return match[2], 0
    if match := keys.PARTIAL_FILE.match(file):
        return match[1], int(match[2], 16)
    return "", 0
