"""A keeper's turn where a site is not trusted or holds another cluster's WAL, and its end where nothing answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from flows import archiving, stocking
from flows.archiving import end, turn
from flows.standing import Standing, troubles
from flows.stocking import Archive, holes, newest_held
from recoverd.backup.archive import Entry, Index
from recoverd.backup.wal import Segment
from recoverd.errors import Refused, Unreachable
from recoverd.inventory import HostSite, S3Site
from tasks.archive import Shelf
from tasks.receiving import Cluster, Receiver
from tasks.slots import Member

SIZE = 16 << 20
AT = datetime(2026, 11, 25, 9, 30, tzinfo=timezone.utc)
OWN = HostSite(name="own", kind="host", host="db-2", path="/b")
SECOND = HostSite(name="second", kind="host", host="backup-1", path="/b")
SITES = (OWN, SECOND, S3Site(name="offsite", kind="s3", bucket="orders"))


def entry(number: int, *, partial_end: int = 0) -> Entry:
    name = Segment(1, number, SIZE).name
    return Entry(name=name, partial_end=partial_end, size=9, sha256="a" * 64, md5="b" * 32, first_at=AT, last_at=AT)


def page(*numbers: int, cluster: str = "7") -> Index:
    entries = tuple(entry(number) for number in numbers)
    return Index(service="s", hour="2026112509", seq=1, system_identifier=cluster, entries=entries)


LEAD = Member(
    host="db-1", in_recovery=False, system_identifier="7", segment_bytes=SIZE, timeline=1, lsn=9 * SIZE, sent_lsn=9 * SIZE,
    has_slot=True, held_from=4 * SIZE, lost=False, bounded=True,
)  # fmt: skip


class Scene:
    """Sites, a receiver and servers that are not there; what a turn does to them is noted."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.apart: dict[str, Any] = {}
        self.pages: dict[str, Index] = {}
        self.receiver = Receiver(running=True, current=True, receiving=True, entries=[entry(8)], seen=1)
        self.safe: tuple[int, int] | None = None
        backup = SimpleNamespace(sites=SITES)
        inventory = SimpleNamespace(
            backup_of=lambda _: backup, service=lambda _: SimpleNamespace(hosts=("db-1", "db-2"))
        )
        for module in (archiving, stocking):
            patch.setattr(module, "world", lambda: SimpleNamespace(inventory=inventory, say=lambda _: None))
        for name in ("give_to_all", "begin_receiving", "prune", "drop_slot", "stop_receiving", "close_ways"):
            patch.setattr(archiving, name, self.noting(name))
        patch.setattr(archiving, "sign_pages", lambda _: self.noting("sign_pages")() or "")
        patch.setattr(archiving, "receiving_site", lambda _: SECOND)
        patch.setattr(archiving, "look_at_members", lambda _: (LEAD,))
        patch.setattr(archiving, "look_at_receiver", lambda *_: self.receiver)
        patch.setattr(archiving, "mind_slots", self.slots)
        patch.setattr(stocking, "sites_apart", lambda _: self.apart)
        patch.setattr(stocking, "look_at_shelf", self.look)

    def noting(self, name: str) -> Callable[..., None]:
        return lambda *given, **_: self.did.append(
            " ".join([name, *(one for one in given[1:] if isinstance(one, str))])
        )

    def slots(
        self, service: str, members: object, cluster: object, safe: tuple[int, int], holes: object = ()
    ) -> tuple[str, ...]:
        self.safe = safe
        return ()

    def look(self, service: str, shelf: Shelf) -> None:
        self.did.append(f"look {shelf.site}")
        shelf.reached, shelf.problem = True, ""
        shelf.pages = {"2026112509": self.pages[shelf.site]} if shelf.site in self.pages else {}
        shelf.files = {one.file: one.size for found in shelf.pages.values() for one in found.entries}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_a_site_is_left_alone_from_the_turn_on_in_which_it_is_in_quarantine(scene: Scene) -> None:
    archive = Archive("s")
    assert all(one.reached for one in turn(archive).sites)
    scene.did, scene.apart = [], {"own": SimpleNamespace(summary="tampered")}
    standing = turn(archive)
    assert [one.site for one in standing.sites if not one.reached] == ["own"]
    assert not archive.shelves["own"].reached
    assert "give_to_all second" in scene.did, "the others get theirs"
    assert "look own" not in scene.did
    scene.apart = {}
    assert all(one.reached for one in turn(archive).sites)


@pytest.mark.parametrize("running", [True, False])
def test_nothing_of_a_receiver_in_quarantine_is_given_on_or_signed(scene: Scene, running: bool) -> None:
    scene.apart = {"second": SimpleNamespace(summary="tampered")}
    scene.receiver.running = running
    archive = Archive("s")
    standing = turn(archive)
    assert not [one for one in scene.did if one.startswith(("give_to_all", "sign_pages", "begin_receiving"))]
    assert scene.safe == (0, 0), "the servers keep what they have"
    assert archive.whole == {}, "what it says now is not signed later either"
    assert "apart second" in troubles(standing, 60)
    assert standing.state != "receives"


def test_nothing_is_received_into_the_archive_of_another_cluster(scene: Scene) -> None:
    scene.receiver = Receiver()
    scene.pages = {"own": page(4, cluster="8")}
    archive = Archive("s")
    standing = turn(archive)
    assert "begin_receiving" not in scene.did
    assert "of another cluster, 8" in standing.problem
    assert archive.signed == {}
    assert not archive.shelves["own"].reached, "it is given nothing and nothing goes from it"
    scene.pages = {}
    turn(archive)
    assert "begin_receiving" in scene.did


def test_it_goes_on_after_the_newest_segment_that_a_site_has(scene: Scene) -> None:
    scene.receiver, scene.pages = Receiver(), {"own": page(4, 5)}
    archive = Archive("s")
    turn(archive)
    assert newest_held(archive) == entry(5).name
    archive.shelves["own"].reached = False
    assert newest_held(archive) == "", "nobody answers that has it"


def test_where_the_receiver_does_not_answer_its_site_is_asked_anew(scene: Scene) -> None:
    archive = Archive("s")
    turn(archive)
    scene.did, scene.receiver = [], Receiver()
    turn(archive)
    assert [one for one in scene.did if one.startswith("look")] == ["look second"]


def test_what_is_missing_before_the_growing_segment_holds_the_slots() -> None:
    archive = Archive("s", cluster=Cluster("7", SIZE), whole={one.file: one for one in (entry(4), entry(5))})
    grown = Receiver(growing=entry(9, partial_end=9 * SIZE + 8))
    assert holes(archive, grown) == ((6 * SIZE, 9 * SIZE),)
    archive.given_up = 9 * SIZE
    assert holes(archive, grown) == (), "the servers do not have it"


def test_it_ends_where_wal_is_turned_off_and_hosts_are_gone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(service: str, site: HostSite) -> None:
        raise Unreachable(f"{site.host} does not answer", "")

    def off(service: object) -> Standing:
        raise Refused("the backup of s has no continuous WAL", "")

    monkeypatch.setattr(archiving, "stop_receiving", gone)
    monkeypatch.setattr(archiving, "look_only", off)
    standing = end("s")
    assert scene.did[:2] == ["drop_slot db-1", "drop_slot db-2"]
    assert sum(one.startswith("close_ways") for one in scene.did) >= 2
    assert standing.problem == "db-2 does not answer; backup-1 does not answer"
