"""Which repository a restore is made from, in which order, and when it is refused before anything is touched."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flows.destinations import weigh_taken
from flows.repositories import pick_offers, wal_of
from recoverd.backup.compare import Health
from recoverd.backup.repository import Archived, RepoInfo, RepoSet, Shelf
from recoverd.backup.repository_faults import Checked, Verified
from recoverd.backup.target import parse_target
from tasks.pgbackrest import RepoView
from tasks.pgbackrest_holdings import holdings

AT = datetime(2026, 11, 26, 4, tzinfo=timezone.utc)
SIZE = 16 << 20
SITES = ("own", "second", "offsite")


def name(number: int) -> str:
    return f"{1:08X}{0:08X}{number:08X}"


def a_set(label: str, first: int, minute: int, **more: object) -> RepoSet:
    known = {
        "label": label, "kind": "full", "first": name(first), "last": name(first), "start_lsn": first * SIZE + 0x28,
        "stop_lsn": first * SIZE + 0x100, "begun_at": AT + timedelta(minutes=minute),
        "ended_at": AT + timedelta(minutes=minute), "size": 100, "stored": 10, "archive": "15-1", "system_identifier": "7",
    }  # fmt: skip
    return RepoSet.model_validate({**known, **more})


def view(site: str, *sets: RepoSet, wal: range | tuple[int, ...] = range(1, 10), **more: object) -> RepoView:
    segments = {name(number): Archived(sha1="a" * 40, at=AT + timedelta(minutes=number)) for number in wal}
    known = {
        "site": site, "repo": SITES.index(site) + 1, "reached": True, "info": RepoInfo(code=0, message="ok", sets=sets),
        "shelves": {"15-1": Shelf(segments=segments)},
    }  # fmt: skip
    return RepoView.model_validate({**known, **more})


def away(site: str) -> RepoView:
    return RepoView(site=site, repo=SITES.index(site) + 1, reached=False, problem="it does not answer", fault="down")


OLD, NEW, NEWEST = "20261126-040000F", "20261126-040200F", "20261126-040300F"
ALL = (
    view("own", a_set(OLD, 1, 0), a_set(NEW, 3, 2)),
    view("second", a_set(NEWEST, 4, 3)),
    view("offsite", a_set(OLD, 1, 0)),
)


def test_the_newest_set_of_each_site_is_tried_before_any_older_one() -> None:
    found = pick_offers(ALL, parse_target("latest"))
    assert [(one.site, one.set) for one in found.offers] == [
        ("second", NEWEST),
        ("own", NEW),
        ("offsite", OLD),
        ("own", OLD),
    ]
    assert {one.last for one in found.offers} == {name(9)}


def test_what_is_known_to_be_damaged_comes_last_of_its_round() -> None:
    bad = Verified(clean=False, sets=(Checked(name=NEWEST, whole=False, words="1 checksum invalid"),))
    found = pick_offers(
        (ALL[0], ALL[1].model_copy(update={"verified": bad}), ALL[2]),
        parse_target("latest"),
    )
    assert [one.site for one in found.offers] == ["own", "offsite", "second", "own"]


def test_a_site_that_is_away_is_left_out_and_told() -> None:
    found = pick_offers((ALL[0], away("second"), ALL[2]), parse_target("latest"))
    assert [one.site for one in found.offers] == ["own", "offsite", "own"]
    assert found.passed_over == ("second is left out (it does not answer)",)


def test_a_moment_is_reached_only_from_sets_that_were_finished_before_it() -> None:
    found = pick_offers(ALL, parse_target((AT + timedelta(minutes=2, seconds=30)).isoformat()))
    assert [(one.site, one.set) for one in found.offers] == [("own", NEW), ("offsite", OLD), ("own", OLD)]
    assert {(one.last, one.furthest) for one in found.offers} == {(name(3), name(9))}


@pytest.mark.parametrize(("minutes", "why"), [(-1, "it was finished only at"), (11, "its WAL ends at")])
def test_a_moment_that_no_wal_leads_to_is_refused(minutes: int, why: str) -> None:
    found = pick_offers(ALL, parse_target((AT + timedelta(minutes=minutes)).isoformat()))
    assert found.offers == ()
    assert all(why in words for words in found.passed_over)


def test_a_hole_on_every_site_is_refused_for_the_newest_state_but_not_for_a_moment_before_it() -> None:
    held = (1, 2, 3, 4, 5, 7, 8)
    views = (view("own", a_set(NEW, 3, 2), wal=held), view("second", a_set(NEWEST, 4, 3), wal=held))
    found = pick_offers(views, parse_target("latest"))
    assert found.offers == ()
    assert all(name(6) in words for words in found.passed_over)
    before = pick_offers(views, parse_target((AT + timedelta(minutes=4, seconds=30)).isoformat()))
    assert [one.site for one in before.offers] == ["second", "own"]


def test_a_hole_on_one_site_is_filled_from_another_unless_only_that_one_may_be_read() -> None:
    views = (view("own", a_set(NEW, 3, 2), wal=(3, 4, 6)), view("second", wal=(5, 6)))
    (offer,) = pick_offers(views, parse_target("latest")).offers
    assert [one.sites for one in wal_of(offer, views, offer.last)] == [
        ("own",),
        ("own",),
        ("second",),
        ("own", "second"),
    ]
    assert pick_offers(views, parse_target("latest"), wanted_sites=("own",)).offers == ()


def test_wal_of_another_cluster_is_not_taken() -> None:
    foreign = view("second", a_set(NEWEST, 4, 3, system_identifier="8"))
    views = (view("own", a_set(NEW, 3, 2), wal=(3, 4)), foreign)
    offers = pick_offers(views, parse_target("latest")).offers
    assert {(one.site, one.furthest) for one in offers} == {("own", name(4)), ("second", name(9))}


def test_wal_that_is_gone_by_now_is_missed() -> None:
    (offer, *_) = pick_offers(ALL, parse_target("latest")).offers
    assert wal_of(offer, (ALL[1].model_copy(update={"shelves": {}}),), offer.last) == ()


@pytest.mark.parametrize(("wanted", "why"), [("nowhere", "there is no site nowhere"), ("own", "no site has the set")])
def test_what_is_not_there_is_refused(wanted: str, why: str) -> None:
    found = pick_offers(ALL, parse_target("latest"), "20200101-000000F", (wanted,))
    assert found.offers == ()
    assert why in found.refusal


def test_a_hole_counts_against_a_set_that_pgbackrest_calls_good() -> None:
    good = Verified(clean=True, sets=(Checked(name=NEW, whole=True),))
    seen = holdings("orders-db", (view("own", a_set(NEW, 3, 2), wal=(3, 4, 6), verified=good),))
    (one,) = seen.sites[0].sets
    assert one.health is Health.INCOMPLETE
    assert one.findings[0].evidence == f"WAL is missing: {name(5)}"
    assert one.reaches_to == AT + timedelta(minutes=4)
    assert seen.wrong == (f"own: {NEW} is incomplete (WAL is missing: {name(5)})",)


def test_an_increment_suffers_what_its_full_set_suffers() -> None:
    label = f"{NEW}_20261126-040400I"
    checked = (Checked(name=NEW, whole=False, words="1 missing"), Checked(name=label, whole=True))
    sets = (a_set(NEW, 3, 2), a_set(label, 4, 4, kind="incr", needs=(NEW,)))
    seen = holdings("orders-db", (view("own", *sets, verified=Verified(clean=False, sets=checked)),))
    assert [one.health for one in seen.sites[0].sets] == [Health.DAMAGED, Health.DAMAGED]


def test_a_backup_counts_by_what_is_there_afterwards() -> None:
    seen = holdings("orders-db", (*ALL[:2], away("offsite")))
    judged = weigh_taken(seen, {"own": NEW, "second": NEWEST}, {"offsite": "it was down"})
    assert (judged.complete, judged.lacking) == (True, ("offsite (it was down)",))
    assert "degraded" in judged.summary
    alone = weigh_taken(seen, {"own": NEW, "second": OLD}, {})
    assert not alone.complete
    assert "second (it does not list the new set)" in alone.lacking
