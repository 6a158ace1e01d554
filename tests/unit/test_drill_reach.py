"""How far WAL leads from each set, for each turn of a drill."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from test_backup_chains import SIZE, entry, name, shelf
from test_restore_points import ALL, AT, NEW, OLD, SETS, archive

from flows.reach import reach_of
from recoverd.backup.wal import Switch
from recoverd.drills import MIXED
from tasks.archived import Archive

ENDS = {OLD: AT + timedelta(minutes=4, seconds=10), NEW: AT + timedelta(minutes=8, seconds=10)}


def received(number: int) -> datetime:
    return AT + timedelta(minutes=number, seconds=59)


def test_without_wal_a_set_leads_to_its_own_end() -> None:
    assert reach_of(SETS, Archive(), ["own"]) == {"own": ENDS}


def test_wal_of_another_cluster_leads_nowhere() -> None:
    assert reach_of(SETS, archive(ALL.shelf, "8"), ["own"]) == {"own": ENDS}


def test_a_hole_on_one_site_ends_its_turn_and_not_that_of_the_mix() -> None:
    wal = archive(shelf(*map(entry, range(3, 13)), lost={"own": {6}}))
    found = reach_of(SETS, wal, ["own", "second", "own,second", MIXED])
    assert found["own"] == {OLD: received(5), NEW: received(12)}
    for turn in ("second", "own,second", MIXED):
        assert found[turn] == dict.fromkeys((OLD, NEW), received(12))


def test_a_set_of_a_time_that_was_given_up_leads_to_no_moment() -> None:
    wal = archive(shelf(*map(entry, range(3, 13)), entry(6, 2), entry(7, 2), t2=(Switch(1, 6 * SIZE + 64),)))
    assert reach_of(SETS, wal, ["own"])["own"] == {OLD: received(7), NEW: ENDS[NEW]}


@pytest.mark.parametrize("quarantined", ["", "tampered"])
def test_the_mix_leaves_out_a_site_in_quarantine_and_its_own_turn_does_not(quarantined: str) -> None:
    views = tuple(
        one.model_copy(update={"quarantined": quarantined if one.site == "second" else ""}) for one in SETS.sites
    )
    seen = SETS.model_copy(update={"sites": views})
    wal = archive(shelf(*map(entry, range(3, 13)), lost={"own": {10}}))
    found = reach_of(seen, wal, [MIXED, "second"])
    assert found[MIXED][NEW] == received(9 if quarantined else 12)
    assert found["second"][NEW] == received(12), name(10)
