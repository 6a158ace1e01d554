"""How far WAL leads from a set: without a gap, over timelines, from whatever sites have it. Tables."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from recoverd.backup import keys
from recoverd.backup.archive import Entry
from recoverd.backup.chains import Chain, Shelf, follow, stored
from recoverd.backup.manifest import Manifest, Part
from recoverd.backup.wal import Segment, Switch

SIZE = 16 << 20
AT = datetime(2026, 11, 25, 9, 0, tzinfo=timezone.utc)
SITES = ("own", "second")


def name(number: int, timeline: int = 1) -> str:
    return Segment(timeline, number, SIZE).name


def manifest(timeline: int = 1) -> Manifest:
    """A set that ends in the middle of segment 4."""
    part = Part(name=keys.part_name(1), size=7, sha256="0" * 64, md5="0" * 32)
    return Manifest(
        service="orders-db", set="20261125T090000Z-aaaa", source="db-2", begun_at=AT, ended_at=AT, parts=(part,),
        timeline=timeline, start_lsn=3 * SIZE + 40, end_lsn=4 * SIZE + 296,
    )  # fmt: skip


def entry(number: int, timeline: int = 1, partial_end: int = 0) -> Entry:
    at = AT + timedelta(minutes=number)
    return Entry(
        name=name(number, timeline), partial_end=partial_end, size=9, sha256="a" * 64, md5="b" * 32,
        first_at=at, last_at=at + timedelta(seconds=59),
    )  # fmt: skip


def shelf(
    *entries: Entry,
    lost: dict[str, set[int]] | None = None,
    listed: tuple[str, ...] = (),
    **histories: tuple[Switch, ...],
) -> Shelf:
    """What is signed for stands on both sites, but for what is lost; what is listed, on one."""
    known = {one.file: one for one in entries}
    listings = {
        site: {
            file: 9
            for file, one in known.items()
            if Segment.parse(one.name, SIZE).number not in (lost or {}).get(site, set())
        }
        for site in SITES
    }
    listings["second"] |= dict.fromkeys(listed, 9)
    return Shelf(SIZE, stored(known, listings), {int(key[1:]): switches for key, switches in histories.items()})


def numbers(chain: Chain) -> list[int]:
    return [Segment.parse(one.name, SIZE).number for one in chain.files]


def test_without_wal_a_set_leads_to_its_own_end() -> None:
    chain = follow(manifest(), shelf(), 1)
    assert (chain.end_lsn, chain.end_at, chain.files, chain.hole) == (4 * SIZE + 296, AT, (), "")


def test_a_chain_goes_from_the_segment_in_which_the_set_ends_to_the_last_byte() -> None:
    end = 7 * SIZE + 1000
    chain = follow(manifest(), shelf(*map(entry, (2, 3, 4, 5, 6)), entry(7, partial_end=end)), 1)
    assert (numbers(chain), chain.end_lsn, chain.hole) == ([4, 5, 6, 7], end, "")
    assert chain.end_at == AT + timedelta(minutes=7, seconds=59)


@pytest.mark.parametrize(
    ("lost", "end", "hole"),
    [
        ({"own": {5}}, 7 * SIZE, ""),
        ({"own": {5}, "second": {6}}, 7 * SIZE, ""),
        ({"own": {5}, "second": {5}}, 5 * SIZE, f"{name(5)} on no site that is read, WAL goes on with {name(6)}"),
        ({"own": {4, 5}, "second": {4, 5}}, 4 * SIZE + 296, f"{name(4)} to {name(5)} on no site that is read"),
        ({"own": {6}, "second": {6}}, 6 * SIZE, f"{name(6)} on no site that is read, though the signed index has it"),
    ],
)
def test_a_hole_ends_the_chain_and_is_named(lost: dict[str, set[int]], end: int, hole: str) -> None:
    chain = follow(manifest(), shelf(*map(entry, (4, 5, 6)), lost=lost), 1)
    assert chain.end_lsn == end
    assert chain.hole.startswith(hole)
    assert bool(chain.hole) is bool(hole)


def test_only_sites_that_may_be_read_count() -> None:
    wal = shelf(*map(entry, (4, 5, 6)), lost={"own": {5}})
    assert follow(manifest(), wal, 1, ("own",)).hole
    assert not follow(manifest(), wal, 1, ("second",)).hole


def test_a_segment_of_which_only_the_beginning_is_left_is_a_hole_where_more_is_known() -> None:
    end = 5 * SIZE + 512
    files = [entry(4), entry(5), entry(6)]
    wal = shelf(*files, lost={"own": {5}, "second": {5}}, listed=(f"partial/{name(5)}-{end:016X}.zst.age",))
    assert follow(manifest(), wal, 1).end_lsn == 5 * SIZE
    signed = shelf(entry(4), entry(5, partial_end=end), entry(6))
    chain = follow(manifest(), signed, 1)
    assert (chain.end_lsn, numbers(chain)) == (end, [4, 5])
    assert "of the first there is only what came before 0/5000200" in chain.hole


def test_what_nobody_has_signed_for_counts_at_the_end_alone_and_only_where_that_is_allowed() -> None:
    listed = (f"00000001/{name(6)}.zst.age", f"partial/{name(7)}-{7 * SIZE + 64:016X}.zst.age")
    wal = shelf(entry(4), entry(5), listed=listed)
    assert (follow(manifest(), wal, 1).end_lsn, follow(manifest(), wal, 1).hole) == (6 * SIZE, "")
    chain = follow(manifest(), wal, 1, unsigned=True)
    assert (chain.end_lsn, chain.unsigned) == (7 * SIZE + 64, (name(6), name(7)))
    between = shelf(entry(4), entry(6), listed=(f"00000001/{name(5)}.zst.age",))
    assert follow(manifest(), between, 1, unsigned=True).end_lsn == 5 * SIZE
    assert name(5) in follow(manifest(), between, 1, unsigned=True).hole


def test_a_chain_goes_over_to_the_next_timeline_where_they_part() -> None:
    switch = Switch(1, 6 * SIZE + 100)
    old = [entry(number) for number in (4, 5, 6, 7)]
    new = [entry(number, 2) for number in (6, 7)]
    wal = shelf(*old, *new, t2=(switch,))
    assert [one.name for one in follow(manifest(), wal, 2).files] == [name(4), name(5), name(6, 2), name(7, 2)]
    assert [one.name for one in follow(manifest(), wal, 1).files] == [name(4), name(5), name(6), name(7)]
    assert wal.timelines == (2, 1)


@pytest.mark.parametrize(("switch_at", "leads"), [(6 * SIZE, True), (4 * SIZE + 296, True), (4 * SIZE, False)])
def test_a_timeline_that_parted_before_the_set_was_whole_does_not_come_of_it(switch_at: int, leads: bool) -> None:
    assert shelf(t2=(Switch(1, switch_at),)).leads_to(manifest(), 2) is leads
    assert shelf().leads_to(manifest(), 1)
    assert not shelf().leads_to(manifest(), 3)


def test_only_what_a_moment_or_a_position_needs_is_fetched() -> None:
    chain = follow(manifest(), shelf(*map(entry, range(4, 12))), 1)
    at = chain.until(AT + timedelta(minutes=6, seconds=30))
    assert (numbers(at), at.end_lsn) == ([4, 5, 6, 7, 8], 9 * SIZE), "clocks may be apart by a minute"
    assert numbers(chain.up_to(5 * SIZE + 7)) == [4, 5, 6]
    assert numbers(chain.up_to(50 * SIZE)) == list(range(4, 12))
