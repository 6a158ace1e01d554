"""How far behind a site is, what is missing, what must be signed and what may go: the arithmetic of continuous WAL."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from flows.slotting import unbroken
from flows.standing import SiteStanding, Standing, due_pages, expired_files, since, site_standing, troubles
from flows.stocking import foreign
from recoverd.backup.archive import Entry, Index
from recoverd.backup.wal import Segment, Switch

SIZE = 16 << 20
AT = datetime(2026, 11, 25, 9, 30, tzinfo=timezone.utc)


def name(number: int, timeline: int = 1) -> str:
    return Segment(timeline, number, SIZE).name


def entry(name: str, *, partial_end: int = 0, at: datetime = AT, sha: str = "a") -> Entry:
    return Entry(name=name, partial_end=partial_end, size=9, sha256=sha * 64, md5="b" * 32, first_at=at, last_at=at)


def standing_of(*entries: Entry, samples: list[tuple[float, int]], **more: int) -> SiteStanding:
    reaches = {one.file: more["reach"] for one in entries if one.partial_end and "reach" in more}
    return site_standing(
        "second", entries, size=SIZE, reaches=reaches, samples=samples, now=samples[-1][0],
        since_lsn=more.get("since", 0),
    )  # fmt: skip


def test_a_site_is_behind_since_the_primary_first_had_more_than_is_there() -> None:
    here = [entry(name(4)), entry(name(5), partial_end=5 * SIZE + 100)]
    found = standing_of(*here, samples=[(10.0, 5 * SIZE), (20.0, 5 * SIZE + 108), (50.0, 5 * SIZE + 300)])
    assert (found.covered_lsn, found.behind_bytes, found.behind_s) == (5 * SIZE + 100, 200, 30.0)
    caught_up = standing_of(*here, samples=[(50.0, 5 * SIZE + 300)], reach=5 * SIZE + 300)
    assert (caught_up.behind_bytes, caught_up.behind_s) == (0, 0.0), "zeros at its end were received too"


def test_the_newest_timeline_says_how_far_it_goes() -> None:
    found = standing_of(entry(name(9)), entry(name(7, 2)), samples=[(1.0, 9 * SIZE)])
    assert (found.newest, found.covered_lsn) == (name(7, 2), 8 * SIZE)


def test_a_hole_is_said_until_a_newer_base_backup_needs_nothing_from_before_it() -> None:
    here = [entry(name(4)), entry(name(7)), entry(name(8))]
    assert standing_of(*here, samples=[(1.0, 0)]).holes == (f"{name(5)}-{name(6)}",)
    assert standing_of(*here, samples=[(1.0, 0)], since=6 * SIZE).holes == (f"{name(5)}-{name(6)}",)
    assert standing_of(*here, samples=[(1.0, 0)], since=7 * SIZE).holes == ()


def test_what_is_wrong_keeps_its_name_while_it_lasts() -> None:
    lag = SiteStanding(site="own", reached=True, behind_s=61, behind_bytes=9, holes=("X",))
    found = troubles(
        Standing(service="s", receiver="second", state="waits", problem="full", sites=(lag,), slots=("db-1 is odd",)),
        60,
    )
    assert set(found) == {"receiver", "lag own", "hole own X", "slot db-1"}
    fine = SiteStanding(site="own", reached=True, behind_s=60, behind_bytes=9)
    assert troubles(Standing(service="s", receiver="second", state="receives", sites=(fine,)), 60) == {}


def test_only_segments_that_end_before_the_oldest_kept_set_go() -> None:
    files = [f"00000001/{name(4)}.zst.age", f"00000001/{name(5)}.zst.age", "00000002/00000002.history.zst.age"]
    files += [f"partial/{name(4)}-0000000004000100.zst.age", "index/2026112509-000001.json"]
    assert expired_files(files, 5 * SIZE + 40, SIZE) == (files[0], files[3])


LIKE = Index(service="s", hour="2026112509", seq=1, system_identifier="7")


def test_a_page_is_signed_anew_only_when_it_says_something_new() -> None:
    first = due_pages([entry(name(4))], {}, {}, LIKE)
    assert [(page.hour, page.seq, len(page.entries)) for page in first] == [("2026112509", 1, 1)]
    signed = {"2026112509": first[0]}
    assert due_pages([entry(name(4))], signed, {}, LIKE) == ()
    later = due_pages([entry(name(4)), entry(name(5), at=AT + timedelta(hours=1))], signed, {}, LIKE)
    assert [(page.hour, page.seq) for page in later] == [("2026112510", 1)]


def test_what_was_signed_stays_as_it_was_signed() -> None:
    signed = {"2026112509": due_pages([entry(name(4))], {}, {}, LIKE)[0]}
    (page,) = due_pages([entry(name(4), sha="c"), entry(name(5))], signed, {}, LIKE)
    assert [(one.name, one.sha256[0]) for one in page.entries] == [(name(4), "a"), (name(5), "a")]


def test_a_growing_segment_leaves_its_page_when_it_has_grown_and_numbers_of_forgers_are_stepped_over() -> None:
    growing = entry(name(5), partial_end=5 * SIZE + 8)
    signed = {"2026112509": due_pages([growing], {}, {}, LIKE)[0]}
    later = AT + timedelta(hours=1)
    further = entry(name(5), partial_end=5 * SIZE + 16, at=later)
    found = due_pages([further], signed, {"2026112509": {1, 2, 999_999}}, LIKE)
    assert [(page.hour, page.seq, page.entries) for page in found] == [
        ("2026112509", 3, ()),
        ("2026112510", 1, (further,)),
    ]
    assert [page.seq for page in due_pages([growing], signed, {}, LIKE, again={"2026112509"})] == [2]


def test_a_hole_before_the_growing_segment_is_said_before_that_is_whole() -> None:
    here = [entry(name(1)), entry(name(2)), entry(name(9), partial_end=9 * SIZE + 8)]
    assert standing_of(*here, samples=[(1.0, 0)]).holes == (f"{name(3)}-{name(8)}",)
    given = site_standing(
        "own", here, size=SIZE, reaches={}, samples=[(1.0, 0)], now=1.0, ahead_of_notes=True
    )  # fmt: skip
    assert given.holes == (), "it was looked at later than the whole ones"


def test_holes_count_from_the_newest_set_that_leads_to_the_live_timeline() -> None:
    sets = [(1, 30 * SIZE), (1, 80 * SIZE)]
    histories = {2: (Switch(1, 50 * SIZE),)}
    assert since(sets, 1, {}) == 80 * SIZE
    assert since(sets, 2, histories) == 30 * SIZE, "the newest was taken on a branch that was given up"
    assert since(sets, 2, {}) == 0, "nobody knows where it parted"
    assert since([*sets, (2, 60 * SIZE)], 2, histories) == 60 * SIZE


def test_a_slot_is_not_moved_into_what_is_missing() -> None:
    holes = [(10, 20), (40, 50)]
    assert unbroken(0, 60, holes) == 10
    assert unbroken(12, 60, holes) == 12
    assert unbroken(20, 60, holes) == 40
    assert unbroken(50, 60, holes) == 60
    assert unbroken(20, 40, holes) == 40
    assert unbroken(0, 60, []) == 60


def test_wal_of_another_cluster_is_not_mixed_with_ours() -> None:
    ours, other = LIKE, LIKE.model_copy(update={"system_identifier": "8"})
    assert foreign([ours], "7") == ""
    assert foreign([other], "") == "", "no server answers: nobody knows"
    assert "of another cluster, 8" in foreign([ours, other], "7")


def test_a_receiver_whose_site_is_in_quarantine_is_a_trouble_of_its_own() -> None:
    one = SiteStanding(site="second", reached=False, apart=True, problem="it is in quarantine")
    found = troubles(Standing(service="s", receiver="second", state="waits", problem="x", sites=(one,)), 60)
    assert set(found) == {"receiver", "site second", "apart second"}
    assert set(troubles(Standing(service="s", receiver="own", state="receives", sites=(one,)), 60)) == {"site second"}
