"""WAL goes only where every set that needs it is known to be whole: what is deleted cannot be healed."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from flows import stocking
from flows.stocking import Archive, prune
from recoverd.backup import keys
from recoverd.backup.compare import Health, SetHealth
from recoverd.backup.manifest import Manifest, Part
from recoverd.backup.wal import Segment
from tasks.archive import Shelf
from tasks.receiving import Cluster
from tasks.sets import SiteView, Survey

SIZE = 16 << 20
NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
SETS = {"20261101T000000Z-aaaa": 4, "20261110T000000Z-bbbb": 6, "20261120T000000Z-cccc": 8}


def manifest(name: str, number: int) -> Manifest:
    part = Part(name=keys.part_name(1), size=7, sha256="0" * 64, md5="0" * 32)
    made = Manifest(service="orders-db", set=name, source="db-2", begun_at=NOW, ended_at=NOW, parts=(part,))
    return made.model_copy(update={"start_lsn": number * SIZE + 40})


def left_of(
    monkeypatch: pytest.MonkeyPatch, health: Health, *, name: str = "20261101T000000Z-aaaa", believed: bool = True
) -> set[int]:
    """The numbers of the segments that stay where one set has that health and the others are listed."""
    sets = tuple(SetHealth(site="own", set=one, health=health if one == name else Health.LISTED) for one in SETS)
    found = Survey(
        service="orders-db", sites=(SiteView(site="own", reached=True, sets=sets),),
        manifests=tuple(manifest(one, number) for one, number in SETS.items() if believed or one != name),
    )  # fmt: skip
    names = {number: f"00000001/{Segment(1, number, SIZE).name}.zst.age" for number in range(1, 10)}
    shelf = Shelf("own", reached=True, files=dict.fromkeys(names.values(), 9))
    monkeypatch.setattr(stocking, "survey", lambda service, read: found)
    monkeypatch.setattr(stocking, "drop_files", lambda service, shelf, files: [shelf.files.pop(one) for one in files])
    prune(Archive("orders-db", cluster=Cluster("7", SIZE), shelves={"own": shelf}))
    return {number for number, file in names.items() if file in shelf.files}


def test_wal_from_before_the_oldest_set_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_of(monkeypatch, Health.LISTED) == {4, 5, 6, 7, 8, 9}
    assert left_of(monkeypatch, Health.ABSENT) == {6, 7, 8, 9}


@pytest.mark.parametrize(
    "health", [Health.HIDDEN, Health.INCOMPLETE, Health.DAMAGED, Health.TAMPERED, Health.UNREACHABLE]
)
@pytest.mark.parametrize("name", SETS)
def test_nothing_goes_where_a_set_is_not_whole(monkeypatch: pytest.MonkeyPatch, health: Health, name: str) -> None:
    assert left_of(monkeypatch, health, name=name) == set(range(1, 10))


def test_nothing_goes_where_nobody_knows_what_a_set_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_of(monkeypatch, Health.DAMAGED, believed=False) == set(range(1, 10))
