"""WAL segments: their names, and whether a chain of them is whole."""

from __future__ import annotations

import pytest

from recoverd.backup.wal import Segment, Switch, breaks, chain, gaps, parse_history
from recoverd.errors import Invalid

MIB = 1 << 20


def named(timeline: int, *numbers: int) -> list[str]:
    return [Segment(timeline, number, 16 * MIB).name for number in numbers]


@pytest.mark.parametrize(
    ("lsn", "timeline", "size", "name"),
    [
        (0x1000000, 1, 16 * MIB, "000000010000000000000001"),
        (0xFF_FFFFFF, 1, 16 * MIB, "0000000100000000000000FF"),
        (0x1_00000000, 1, 16 * MIB, "000000010000000100000000"),
        (0x2A_F1234567, 0x1B, 16 * MIB, "0000001B0000002A000000F1"),
        (0x1_40000000, 2, 1024 * MIB, "000000020000000100000001"),
        (0x0_00500000, 1, 1 * MIB, "000000010000000000000005"),
    ],
)
def test_a_segment_is_named_as_postgresql_names_it(lsn: int, timeline: int, size: int, name: str) -> None:
    found = Segment.at(lsn, timeline, size)
    assert found.name == name
    assert Segment.parse(name, size) == found
    assert found.start_lsn <= lsn < found.end_lsn


@pytest.mark.parametrize("name", ["", "00000001", "00000001000000000000000g", "00000001000000000000000A.partial"])
def test_what_is_no_segment_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="no name of a WAL segment"):
        Segment.parse(name, 16 * MIB)


def test_a_chain_goes_over_a_change_of_timeline() -> None:
    history = parse_history("1\t0/3500000\tno recovery target specified\n")
    assert history == (Switch(1, 0x3500000),)
    names = [one.name for one in chain(0x2000028, 0x4000100, 2, 16 * MIB, history)]
    assert names == ["000000010000000000000002", "000000020000000000000003", "000000020000000000000004"]


def test_a_chain_passes_through_several_timelines_and_ends_where_it_is_needed() -> None:
    history = (Switch(2, 0x5000000), Switch(1, 0x3000000))
    names = [one.name[:8] + one.name[-2:] for one in chain(0x2000000, 0x6FFFFFF, 3, 16 * MIB, history)]
    assert names == ["0000000102", "0000000203", "0000000204", "0000000305", "0000000306"]


def test_a_damaged_history_is_refused() -> None:
    with pytest.raises(Invalid, match="timeline history has the line"):
        parse_history("1\tnowhere\t\n")


def test_a_hole_is_named_by_its_first_and_last_missing_segment() -> None:
    names = ["000000010000000000000001", "000000010000000000000002", "000000010000000000000006", "00000002.history"]
    (hole,) = gaps(names, 16 * MIB)
    assert (hole[0].name[-1], hole[1].name[-1]) == ("3", "5")
    assert gaps(names[:2], 16 * MIB) == ()


def test_a_newer_timeline_must_reach_what_came_before_it() -> None:
    assert breaks([*named(1, 3, 4, 5), *named(2, 5, 6)], 16 * MIB) == ()
    assert breaks([*named(1, 3, 4), *named(2, 5)], 16 * MIB) == ()
    found = breaks([*named(1, 3, 4), *named(2, 7, 9)], 16 * MIB)
    assert [(first.name, last.name) for first, last in found] == [tuple(named(2, 5, 6)), tuple(named(2, 8, 8))]


def test_where_timelines_part_is_known_each_must_reach_that_point() -> None:
    parted = {2: (Switch(1, 5 * 16 * MIB + 8),)}
    assert breaks([*named(1, 3, 4, 5, 6, 7), *named(2, 5, 6)], 16 * MIB, parted) == ()
    late = breaks([*named(1, *range(1, 11)), *named(2, 8, 9)], 16 * MIB, parted)
    assert [(first.name, last.name) for first, last in late] == [(named(2, 5)[0], named(2, 7)[0])]
    short = breaks([*named(1, 2, 3), *named(2, 5, 6)], 16 * MIB, parted)
    assert [(first.name, last.name) for first, last in short] == [(named(1, 4)[0], named(1, 4)[0])]
    begun_on_it = breaks(named(2, 6, 7), 16 * MIB, parted)
    assert begun_on_it == (), "what came before the oldest is no hole"


def test_a_branch_that_was_given_up_leads_nowhere() -> None:
    histories = {2: (Switch(1, 5 * 16 * MIB + 8),), 3: (Switch(1, 4 * 16 * MIB),)}
    names = [*named(1, 2, 3, 4), *named(2, 5, 6, 7), *named(3, 8)]
    found = breaks(names, 16 * MIB, histories)
    assert [(first.name, last.name) for first, last in found] == [(named(3, 4)[0], named(3, 7)[0])]
    over = {2: (Switch(1, 5 * 16 * MIB),), 3: (Switch(1, 5 * 16 * MIB), Switch(2, 7 * 16 * MIB))}
    found = breaks([*named(1, 3, 4), *named(3, 7, 8)], 16 * MIB, over)
    assert [(first.name, last.name) for first, last in found] == [(named(2, 5)[0], named(2, 6)[0])]
