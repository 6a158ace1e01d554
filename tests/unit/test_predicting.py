"""How long a restore would take, told from those of the past."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from drill_kit import drill

from flows.measuring import phase_seconds
from flows.predicting import Sample, duration, of_drills, predict, sample_of
from recoverd.journal import Entry


def sample(size: int, moving_s: float, fixed_s: float) -> Sample:
    return Sample(bytes=size, moving_s=moving_s, fixed_s=fixed_s)


def entry(kind: str, step: str, seconds: float) -> Entry:
    at = datetime(2026, 11, 25, tzinfo=timezone.utc)
    return Entry(1, at, kind, "dr-1", None, step, "recoverd", {"seconds": seconds}, "", "")


def test_without_a_drill_nobody_knows() -> None:
    found = predict([], 1000)
    assert (found.rto_s, found.samples) == (None, 0)
    assert "no drill yet" in found.summary
    assert predict([sample(0, 1.0, 1.0), sample(5, 0.0, 1.0)], 1000).rto_s is None


def test_the_moving_part_grows_with_the_bytes_and_the_rest_does_not() -> None:
    found = predict([sample(1000, 10.0, 5.0)], 4000)
    assert found.rto_s == pytest.approx(45.0)
    assert found.summary == "about 45.0 s, by 1 drills and restores of the past"


def test_one_odd_day_does_not_change_it() -> None:
    usual = [sample(1000, 10.0, 5.0), sample(2000, 20.0, 5.0), sample(1000, 10.0, 6.0), sample(500, 5.0, 4.0)]
    assert predict([*usual, sample(1000, 900.0, 300.0)], 1000).rto_s == pytest.approx(15.0)


def test_of_drills_only_those_count_that_passed_in_one_go() -> None:
    seconds = {"look": 1.0, "fetch": 6.0, "unpack": 2.0, "recover": 1.0, "prove": 1.0}
    drills = [drill("own", seconds=seconds), drill("own", passed=False), drill("own", interrupted=True)]
    assert of_drills(drills) == [sample(100, 8.0, 3.0)]
    assert sample_of(100, seconds) == sample(100, 8.0, 3.0)


def test_phases_are_those_of_the_restore_alone() -> None:
    found = phase_seconds(
        [
            entry("step.observed", "survey_sites(orders-db)", 0.5),
            entry("step.done", "fetch_parts(orders-db,backup-1)", 2.0),
            entry("step.done", "finish_unpacking(orders-db,backup-1,3)", 1.0),
            entry("step.intended", "recover(orders-db,backup-1,consistent)", 9.0),
            entry("step.done", "recover(orders-db,backup-1,consistent)", 1.5),
            entry("step.observed", "prove_restored(orders-db,backup-1)", 0.25),
            entry("step.done", "a_step_of_tomorrow(orders-db)", 0.125),
            entry("step.observed", "read_every_table(orders-db,backup-1)", 7.0),
            entry("step.done", "clear_away(orders-db,backup-1,dr-1)", 7.0),
        ]
    )
    assert found == {"look": 0.5, "fetch": 2.0, "unpack": 1.0, "recover": 1.5, "prove": 0.25, "other": 0.125}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(8.42, "8.4 s"), (119, "119.0 s"), (720, "12 min"), (12_000, "3 h 20 min"), (4 * 86_400 + 7_300, "4 d 2 h")],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
