"""Which set and which WAL a restore takes, how far it may go, and where data is replaced: tables."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from test_backup_chains import SIZE, entry, name, shelf
from test_keeping import service

from flows.points import moment_on_its_way, pick_point
from flows.seat import Seat, order_to_stop, pick_seat
from recoverd.backup import keys
from recoverd.backup.chains import Shelf
from recoverd.backup.compare import Health, SetHealth
from recoverd.backup.manifest import Manifest, Part
from recoverd.backup.target import parse_target
from recoverd.backup.wal import Switch
from recoverd.inventory import Service
from tasks.archived import Archive
from tasks.progress import Progress
from tasks.scratch import recovery_settings
from tasks.sets import SiteView, Survey
from tasks.views import Answer, ServiceView

AT = datetime(2026, 11, 25, 9, 0, tzinfo=timezone.utc)
OLD, NEW = "20261125T090400Z-aaaa", "20261125T090800Z-bbbb"
SITES = ("own", "second")


def manifest(set_name: str, number: int, timeline: int = 1) -> Manifest:
    """A set that ends in a segment which was received in the minute of its number."""
    part = Part(name=keys.part_name(1), size=7, sha256="0" * 64, md5="0" * 32)
    ended = AT + timedelta(minutes=number, seconds=10)
    return Manifest(
        service="orders-db", set=set_name, source="db-2", begun_at=AT, ended_at=ended, parts=(part,),
        system_identifier="7", timeline=timeline, start_lsn=number * SIZE, end_lsn=number * SIZE + 296,
    )  # fmt: skip


def survey(*manifests: Manifest, **bad: Health) -> Survey:
    views = tuple(
        SiteView(
            site=site, reached=True,
            sets=tuple(SetHealth(site=site, set=one.set, health=bad.get(site, Health.LISTED)) for one in manifests),
        )
        for site in SITES
    )  # fmt: skip
    return Survey(service="orders-db", sites=views, manifests=manifests)


SETS = survey(manifest(OLD, 4), manifest(NEW, 8))


def archive(wal: Shelf, system: str = "7") -> Archive:
    return Archive(system_identifier=system, shelf=wal)


ALL = archive(shelf(*map(entry, range(3, 13))))


@pytest.mark.parametrize(
    ("to", "set_name", "end"),
    [
        ("", NEW, 13 * SIZE),
        ("latest", NEW, 13 * SIZE),
        ("2026-11-25 09:12:30Z", NEW, 13 * SIZE),
        ("2026-11-25 09:07:30Z", OLD, 10 * SIZE),
        ("2026-11-25 09:08:11Z", OLD, 11 * SIZE),
        (f"lsn:0/{9 * SIZE:X}", NEW, 11 * SIZE),
        (f"lsn:0/{6 * SIZE:X}", OLD, 8 * SIZE),
        ("xid:900", NEW, 13 * SIZE),
    ],
)
def test_the_newest_set_before_the_target_is_taken_with_the_wal_that_leads_there(
    to: str, set_name: str, end: int
) -> None:
    point = pick_point(SETS, to=to, archive=ALL)
    assert (point.set, point.end_lsn, point.refusal) == (set_name, end, "")


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("2026-11-25 09:03:00Z", "its first backup was finished at 2026-11-25 09:04:10 UTC"),
        ("2026-11-25 09:13:00Z", "WAL ends at 0/D000000, received at 2026-11-25 09:12:59 UTC"),
        (f"lsn:0/{14 * SIZE:X}", "WAL ends at 0/D000000"),
        (f"lsn:0/{3 * SIZE:X}", "it ends at 0/4000128, after that"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(to: str, words: str) -> None:
    point = pick_point(SETS, to=to, archive=ALL)
    assert words in point.refusal
    assert "What can be reached: " in point.refusal
    assert f"{NEW}: 2026-11-25 09:08:10 UTC to 2026-11-25 09:12:59 UTC" in point.refusal


def test_a_hole_is_got_round_by_a_newer_set_and_else_refused_by_name() -> None:
    wal = archive(shelf(*map(entry, range(3, 13)), lost={"own": {6}, "second": {6}}))
    assert pick_point(SETS, to="latest", archive=wal).set == NEW
    assert pick_point(SETS, to="2026-11-25 09:05:30Z", archive=wal).set == OLD
    point = pick_point(SETS, to="2026-11-25 09:07:30Z", archive=wal)
    assert f"there is a hole in the WAL: {name(6)} on no site that is read, WAL goes on with {name(7)}" in point.refusal


def test_a_set_that_is_named_without_a_target_is_restored_to_its_own_end() -> None:
    point = pick_point(SETS, OLD, archive=ALL)
    assert (point.set, point.target, point.end_lsn) == (OLD, "consistent", 0)
    assert pick_point(SETS, archive=archive(Shelf())).target == "consistent"


def test_wal_of_another_cluster_leads_nowhere() -> None:
    assert "the WAL is of another cluster (8)" in pick_point(SETS, to="latest", archive=archive(ALL.shelf, "8")).refusal


def test_the_newest_timeline_is_followed_unless_another_is_named() -> None:
    wal = archive(shelf(*map(entry, range(3, 13)), entry(10, 2), entry(11, 2), t2=(Switch(1, 10 * SIZE + 64),)))
    assert pick_point(SETS, to="latest", archive=wal).timeline == "2"
    assert pick_point(SETS, to="latest", archive=wal).end_lsn == 12 * SIZE
    assert pick_point(SETS, to="latest", timeline="1", archive=wal).end_lsn == 13 * SIZE
    assert "timeline 3 does not come of" in pick_point(SETS, to="latest", timeline="3", archive=wal).refusal


def test_a_set_of_a_time_that_was_given_up_is_passed_over_unless_its_timeline_is_asked_for() -> None:
    """Somebody has restored to a moment before the newer set, and users have gone on from there."""
    wal = archive(shelf(*map(entry, range(3, 13)), entry(6, 2), entry(7, 2), t2=(Switch(1, 6 * SIZE + 64),)))
    point = pick_point(SETS, to="latest", archive=wal)
    assert (point.set, point.timeline, point.end_lsn) == (OLD, "2", 8 * SIZE)
    assert f"{NEW}: timeline 2, the newest, does not come of it" in point.summary
    assert pick_point(SETS, to="latest", timeline="1", archive=wal).set == NEW


def test_postgresql_is_told_to_stop_where_it_was_meant() -> None:
    time = recovery_settings("/w", parse_target("2026-11-25 09:07:30Z").text, "2")
    assert "recovery_target_time = '2026-11-25T09:07:30+00:00'" in time
    assert "recovery_target_timeline = '2'" in time
    lsn = recovery_settings("/w", "lsn:0/4000060")
    assert "recovery_target_lsn = '0/4000060'\nrecovery_target_inclusive = off" in lsn
    assert "recovery_target_name = 'it''s'" in recovery_settings("/w", "name:it's")
    assert "recovery_target_l" not in recovery_settings("/w", "latest")


SERVICE = Service.model_validate(
    {
        "name": "orders-db", "kind": "postgresql", "members": [{"host": host} for host in ("db-1", "db-2", "db-3")],
        "postgresql": {"data_dir": "/d", "bin_dir": "/b", "control": {"kind": "pg_ctl"}},
        "entry_points": [], "objectives": {"rto_s": 30}, "policy": "p",
    }
)  # fmt: skip


def seen(**more: object) -> ServiceView:
    return service().model_copy(update=more)


@pytest.mark.parametrize(
    ("view", "wanted", "host", "words"),
    [
        (service(), "", "db-1", "where the primary is"),
        (service(), "db-3", "db-3", "as it was asked for"),
        (service(primaries=("db-1", "db-2")), "", "", "db-1 and db-2 take writes"),
        (service(primaries=("db-1", "db-2")), "db-2", "db-2", "as it was asked for"),
        (service(primaries=(), silent=("db-1",)), "", "db-2", "where the primary was last"),
        (service(silent=("db-1", "db-2", "db-3"), primaries=()), "", "", "no member's host can be reached"),
        (service(silent=("db-1",), primaries=()), "db-1", "", "db-1 cannot be reached over SSH"),
        (seen(patroni=True), "", "", "Patroni manages it"),
    ],
)
def test_data_is_replaced_where_the_primary_is_or_was(view: ServiceView, wanted: str, host: str, words: str) -> None:
    seat = pick_seat(view, SERVICE, wanted)
    assert seat.host == host
    assert words in (seat.refusal or seat.reason)


def test_of_two_that_take_writes_both_are_spoken_of_where_one_is_named() -> None:
    seat = pick_seat(service(primaries=("db-1", "db-2")), SERVICE, "db-2")
    assert (seat.primaries, set(seat.spoken_of)) == (("db-1", "db-2"), {"db-1", "db-2"})
    assert "db-1 and db-2 take writes now" in seat.summary


def test_who_may_need_a_person_is_stopped_first_and_the_primary_before_its_standbys() -> None:
    view = service(silent=("db-3",))
    running = tuple(
        host.model_copy(update={"running": host.answer is Answer.YES, "processes": 1}) for host in view.hosts
    )
    order = order_to_stop(view.model_copy(update={"hosts": running}), Seat(host="db-1", primaries=("db-1",)))
    assert order == ("db-3", "db-1", "db-2")
    bare = (*running[:1], running[1].model_copy(update={"running": False, "processes": 0}), running[2])
    assert "db-2" not in order_to_stop(view.model_copy(update={"hosts": bare}), Seat(host="db-1")), "nothing to stop"


def test_where_the_data_is_lost_there_is_nothing_to_stop_even_if_the_address_is_still_there() -> None:
    view = service(primaries=())
    lost = view.hosts[0].model_copy(update={"addresses": ("10.0.0.1",)})
    rest = tuple(host.model_copy(update={"startable": True}) for host in view.hosts[1:])
    view = view.model_copy(update={"hosts": (lost, *rest)})
    assert order_to_stop(view, Seat(host="db-1")) == ("db-2", "db-3")
    assert order_to_stop(view, Seat(host="db-2")) == ("db-1", "db-2", "db-3")


def test_progress_says_bytes_rate_and_time_left() -> None:
    progress = Progress("the set", parts=4, size=400 << 20)
    progress._parts, progress._size = 1, 100 << 20
    assert progress.line(10.0) == "the set: 100 of 400 MiB (25 %), 1 of 4 files, 10.5 MB/s, 30 s left"


@pytest.mark.parametrize(
    ("to", "now_s", "waits"),
    [
        ("2026-11-25 09:13:10Z", 20, True),  # it has just been; its WAL is signed for within a minute
        ("2026-11-25 09:12:10Z", 20, False),  # its WAL is there
        ("2026-11-25 09:13:10Z", 200, False),  # what has not come by now does not come
        ("latest", 20, False),
        ("", 20, False),
    ],
)
def test_wal_that_is_on_its_way_is_waited_for(to: str, now_s: int, waits: bool) -> None:
    now = datetime(2026, 11, 25, 9, 13, tzinfo=timezone.utc) + timedelta(seconds=now_s)
    assert bool(moment_on_its_way(to, ALL, now)) is waits
    assert not moment_on_its_way(to, archive(shelf()), now)
