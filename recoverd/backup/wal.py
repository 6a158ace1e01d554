"""Names and order of WAL segments, and whether a chain of them is whole.

A segment's name is 24 hexadecimal digits: timeline, and the segment's number in two halves; the second half counts up to
4 GiB divided by the size of a segment (PostgreSQL's src/include/access/xlog_internal.h).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from recoverd.errors import Invalid

SEGMENT = re.compile(r"^[0-9A-F]{24}$")
HISTORY = re.compile(r"^[0-9A-F]{8}\.history$")
_FOUR_GIB = 1 << 32


@dataclass(frozen=True, order=True)
class Segment:
    """One WAL segment.

    Attributes:
        timeline: The timeline that it was written on.
        number: Its place in the stream of WAL: its first position divided by its size.
        size: Bytes of a segment in that cluster; a power of two from 1 MiB to 1 GiB.
    """

    timeline: int
    number: int
    size: int

    @classmethod
    def parse(cls, name: str, size: int) -> Segment:
        """The segment of that name. Raises Invalid when it is none."""
        if not SEGMENT.match(name):
            raise Invalid(f"{name!r} is no name of a WAL segment", "a name has 24 hexadecimal digits")
        per_file = _FOUR_GIB // size
        return cls(int(name[:8], 16), int(name[8:16], 16) * per_file + int(name[16:], 16), size)

    @classmethod
    def at(cls, lsn: int, timeline: int, size: int) -> Segment:
        """The segment that holds the byte at a WAL position."""
        return cls(timeline, lsn // size, size)

    @property
    def name(self) -> str:
        """As PostgreSQL names the file."""
        per_file = _FOUR_GIB // self.size
        return f"{self.timeline:08X}{self.number // per_file:08X}{self.number % per_file:08X}"

    @property
    def start_lsn(self) -> int:
        """The position of its first byte."""
        return self.number * self.size

    @property
    def end_lsn(self) -> int:
        """The position after its last byte."""
        return (self.number + 1) * self.size

    def next(self, timeline: int | None = None) -> Segment:
        """The one that follows it, on the same timeline or on another."""
        return Segment(self.timeline if timeline is None else timeline, self.number + 1, self.size)


@dataclass(frozen=True)
class Switch:
    """The end of a timeline, as a line of a history file gives it.

    Attributes:
        timeline: The timeline that ended.
        at_lsn: Where the next one parts from it.
    """

    timeline: int
    at_lsn: int


def parse_history(text: str) -> tuple[Switch, ...]:
    """The ancestors of a timeline, the oldest first, from its history file. Raises Invalid for a line that is none."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) < 2 or not words[0].isdigit() or not re.fullmatch(r"[0-9A-Fa-f]+/[0-9A-Fa-f]+", words[1]):
            raise Invalid(f"a timeline history has the line {line!r}", "the file is damaged: take it from another site")
        high, _, low = words[1].partition("/")
        found.append(Switch(int(words[0]), (int(high, 16) << 32) + int(low, 16)))
    return tuple(found)


def chain(
    first_lsn: int, last_lsn: int, timeline: int, size: int, history: Collection[Switch] = ()
) -> Iterator[Segment]:
    """Every segment that a recovery reads from one position to another, in order.

    Args:
        first_lsn: Where it begins: the start of a base backup.
        last_lsn: The last byte that is needed.
        timeline: The timeline that it ends on.
        size: Bytes of a segment.
        history: The ancestors of that timeline, in any order. The segment in which a timeline ends is read from the
            newer one, which begins with a copy of it.
    """
    switches = sorted(history, key=lambda one: one.at_lsn)
    number = first_lsn // size
    while number * size <= last_lsn:
        ended = next((switch for switch in switches if number < switch.at_lsn // size), None)
        yield Segment(ended.timeline if ended else timeline, number, size)
        number += 1


def gaps(names: Collection[str], size: int) -> tuple[tuple[Segment, Segment], ...]:
    """Stretches that are missing between segments of one timeline: the first and the last one missing, of each stretch."""
    missing = []
    segments = sorted(Segment.parse(name, size) for name in names if SEGMENT.match(name))
    for before, after in pairwise(segments):
        if before.timeline == after.timeline and after.number > before.number + 1:
            missing.append((before.next(), Segment(after.timeline, after.number - 1, size)))
    return tuple(missing)


def breaks(
    names: Collection[str], size: int, histories: Mapping[int, Collection[Switch]] | None = None
) -> tuple[tuple[Segment, Segment], ...]:
    """Stretches that no timeline has, between the oldest and the newest segment: the first and the last one missing, of each.

    A newer timeline begins with a copy of the segment in which its parent ended, so each must reach the other.

    Args:
        names: The segments that are there.
        size: Bytes of a segment.
        histories: The ancestors of timelines, as far as they are known. Where one is not, its parent is taken to be the
            timeline before it, and to have led to it with all that it has.
    """
    timelines: dict[int, list[int]] = {}
    for one in sorted({Segment.parse(name, size) for name in names if SEGMENT.match(name)}):
        timelines.setdefault(one.timeline, []).append(one.number)
    missing: dict[int, list[tuple[int, int]]] = {}
    covered = None
    for timeline, numbers in sorted(timelines.items()):
        switches = (histories or {}).get(timeline)
        if switches is not None:
            for ancestor, hole in _before(timeline, switches, timelines, size):
                missing.setdefault(ancestor, []).append(hole)
        elif covered is not None and numbers[0] > covered + 1:
            missing.setdefault(timeline, []).append((covered + 1, numbers[0] - 1))
        missing.setdefault(timeline, []).extend(_between(numbers))
        covered = numbers[-1]
    return tuple(
        (Segment(timeline, first, size), Segment(timeline, last, size))
        for timeline, holes in sorted(missing.items())
        for first, last in _merged(holes)
    )


def _before(
    timeline: int, switches: Collection[Switch], timelines: Mapping[int, list[int]], size: int
) -> Iterator[tuple[int, tuple[int, int]]]:
    """What is missing on the way to the first segment of a timeline from the oldest one that leads to it, by timeline."""
    ways, begin = [], 0
    for switch in sorted(switches, key=lambda one: one.at_lsn):
        ways.append((switch.timeline, begin, switch.at_lsn // size - 1))
        begin = switch.at_lsn // size
    ways.append((timeline, begin, timelines[timeline][0] - 1))
    oldest = None
    for one, first, last in ways:
        there = [number for number in timelines.get(one, ()) if first <= number <= last]
        if oldest is None and there:
            oldest = there[0]
        if oldest is not None and max(first, oldest) <= last:
            for hole in _between([max(first, oldest) - 1, *there, last + 1]):
                yield one, hole


def _between(numbers: Collection[int]) -> list[tuple[int, int]]:
    return [(before + 1, after - 1) for before, after in pairwise(sorted(numbers)) if after > before + 1]


def _merged(holes: Collection[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted(holes):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found
