"""What the benchmarks of backups and restores make of their figures; the figures themselves need the lab."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.__main__ import MEASURES, table
from benchmarks.sites import backup, memory, restore
from benchmarks.sites.kit import Timed, first, median_of
from benchmarks.sites.restore import ALL, COPY, FREE, LIMITED, PEER
from recoverd.journal import Entry, RunRow

BEGAN = datetime(2026, 11, 26, tzinfo=timezone.utc)


def took(seconds: float, **phases: float) -> dict[str, Any]:
    return median_of([Timed(seconds - 1, phases), Timed(seconds, phases), Timed(seconds + 5, phases)])


SCENARIOS = {
    f"{LIMITED}, {ALL}": took(20, fetch=15.0),
    f"{LIMITED}, recoverd, own alone": took(50),
    f"{LIMITED}, recoverd, offsite alone": took(60),
    f"{LIMITED}, {PEER}": took(38),
    f"{FREE}, {ALL}": took(12),
    f"{FREE}, {PEER}": took(10),
    f"{FREE}, {COPY}": took(4),
}


def written(kind: str, step: str, after_s: float) -> Entry:
    return cast("Entry", SimpleNamespace(kind=kind, step=step, at=BEGAN + timedelta(seconds=after_s), body={}))


def test_three_sites_are_held_against_the_best_single_one_and_against_the_peer_of_the_same_links() -> None:
    assert restore.ratios(SCENARIOS) == {
        "best single site / three sites": 2.5,
        "pgBackRest / three sites": 1.9,
        "three sites / pgBackRest, free links": 1.2,
        "three sites / cp -a, free links": 3.0,
    }


def test_what_was_not_measured_has_no_ratio_and_who_is_left_out_is_named_with_the_reason() -> None:
    some = {name: one for name, one in SCENARIOS.items() if PEER not in name}
    found = {
        "scenarios": some,
        "ratios": restore.ratios(some),
        "left_out": {PEER: "it cannot be installed: no network"},
    }
    shown = table(restore.rows(found))
    assert f"| {PEER} | left out: it cannot be installed: no network | – | – |" in shown
    assert "pgBackRest / three sites" not in shown
    assert "| best single site / three sites | 2.5 × | ≥ 2.4 | yes |" in shown
    assert "| three sites / cp -a, free links | 3 × | – | – |" in shown


def test_a_wish_that_is_not_reached_is_shown_as_such() -> None:
    shown = table(restore.rows({"scenarios": SCENARIOS, "ratios": restore.ratios(SCENARIOS), "left_out": {}}))
    assert "| pgBackRest / three sites | 1.9 × | ≥ 2 | no |" in shown
    assert f"| restore, {LIMITED}, {ALL} | 20.0 s (19.0–25.0); fetch 15.00 | – | – |" in shown


def test_a_backup_of_three_sites_is_held_against_one_by_hand() -> None:
    found = {"scenarios": {f"{FREE}, {backup.OURS}": took(14), f"{FREE}, {backup.THEIRS}": took(10)}}
    assert backup.rows(found)[-1] == (f"backup, three sites / one by hand, {FREE}", "1.40 ×", "≤ 1.3", "no")


def test_memory_that_grows_with_the_database_is_not_reached() -> None:
    def peaks(controller: int, age: int) -> dict[str, Any]:
        one = {"controller_mib": controller, "controllers_mib": 2 * controller, "hosts_mib": {"age": age, "tar": 3}}
        return {"backup": one, "restore": one}

    even = memory.rows({"512": peaks(100, 12), "4096": peaks(110, 12)})
    assert [row[3] for row in even if "smallest" in row[0]] == ["yes", "yes"]
    grown = memory.rows({"512": peaks(100, 12), "4096": peaks(100, 40)})
    assert grown[2] == (
        "memory of a backup, largest / smallest database", "controller 1.00 ×, hosts 3.33 ×", "≤ 1.25 ×", "no",
    )  # fmt: skip


def test_the_phases_of_a_backup_are_read_from_its_journal() -> None:
    run = cast("RunRow", SimpleNamespace(created_at=BEGAN, ended_at=BEGAN + timedelta(seconds=10)))
    entries = [
        written("step.intended", "begin_stream(orders-db,db-2,s)", 1), written("step.intended", "seal(orders-db,s,own)", 6),
        written("step.done", "seal(orders-db,s,own)", 6.5), written("step.done", "seal(orders-db,s,offsite)", 7),
        written("step.intended", "close_passage(orders-db,db-2,second)", 9),
    ]  # fmt: skip
    assert backup.phases(run, entries) == {
        "look and choose": 1, "stream and ship": 5, "sign": 1, "read back": 2, "clean up": 1,
    }  # fmt: skip
    assert first(entries, "step.done", "fetch_parts") is None


def test_each_of_them_can_be_asked_for_by_name() -> None:
    assert {"restore", "backup", "memory"} <= set(MEASURES)
