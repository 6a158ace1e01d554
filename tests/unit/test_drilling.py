"""Whose turn a drill is, what it restores, when the next is due and when it is overdue: tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from drill_kit import NAMES, NOW, SITES, backup, drill, surveyed

from flows.drilling import Asked, next_turn, pick_drill, standing_of
from flows.trend import trends
from recoverd.backup.compare import Health
from recoverd.drills import MIXED, Drill
from recoverd.inventory import DrillRules


@pytest.mark.parametrize(
    ("past", "turn"),
    [
        ((), "own"),
        (("own",), "second"),
        (("own", "second", "offsite"), MIXED),
        (("own", "second", "offsite", MIXED), "own"),
        (("second", "own", "second", MIXED), "offsite"),
        (("offsite", "own", "second", MIXED, "own"), "offsite"),
        (("a-site-that-was", "own,second"), "own"),
    ],
)
def test_the_turn_is_that_which_is_longest_ago(past: tuple[str, ...], turn: str) -> None:
    assert next_turn(SITES, [drill(one) for one in past]) == turn


def test_a_drill_that_failed_has_had_its_turn_and_one_that_says_nothing_has_not() -> None:
    assert next_turn(SITES, [drill("own", passed=False)]) == "second"
    assert next_turn(SITES, [drill("own", passed=False, counts=False)]) == "own"


def test_the_same_run_always_picks_the_same_point_and_others_pick_others() -> None:
    picked = [pick_drill(f"dr-{number}", surveyed(), backup(), (), Asked()).set for number in range(40)]
    again = [pick_drill(f"dr-{number}", surveyed(), backup(), (), Asked()).set for number in range(40)]
    assert picked == again
    assert set(picked) == set(NAMES)


def test_only_points_that_stand_on_the_site_are_picked() -> None:
    bad = {NAMES[0]: Health.ABSENT, NAMES[2]: Health.DAMAGED}
    chosen = [pick_drill(f"dr-{number}", surveyed(own=bad), backup(), (), Asked()) for number in range(20)]
    assert {one.set for one in chosen} == {NAMES[1]}
    assert chosen[0].options == {"site": "own", "set": NAMES[1]}
    mixed = pick_drill("dr-1", surveyed(own=bad), backup(), (), Asked(site=MIXED, to="latest"))
    assert mixed.options == {"to": "latest"}
    assert mixed.newest_at == surveyed().manifests[-1].ended_at


def test_where_wal_leads_on_a_moment_is_picked_that_a_restore_would_reach_from_the_same_set() -> None:
    manifests = surveyed().manifests
    reach = {"own": {one.set: NOW for one in manifests}}
    picked = {pick_drill(f"dr-{number}", surveyed(), backup(), (), Asked(), reach) for number in range(40)}
    assert {one.set for one in picked} == {""}
    for one in picked:
        moment = datetime.fromisoformat(one.to.replace("Z", "+00:00"))
        before = [each.ended_at for each in manifests if each.ended_at <= moment]
        assert before
        assert moment - before[-1] >= timedelta(seconds=10)
        assert moment <= NOW
        assert one.newest_at == NOW
    assert len({one.to for one in picked}) > 30
    short = {"own": {manifests[2].set: manifests[2].ended_at + timedelta(seconds=9)}}
    assert {pick_drill(f"dr-{number}", surveyed(), backup(), (), Asked(), short).to for number in range(20)} == {""}
    other = pick_drill("dr-1", surveyed(), backup(), (), Asked(site="second"), reach)
    assert other.to == "", "that WAL is on another site"


def test_a_set_that_is_whole_only_together_is_drilled_from_the_mix() -> None:
    split = {"own": dict.fromkeys(NAMES, Health.INCOMPLETE), "second": dict.fromkeys(NAMES, Health.DAMAGED)}
    seen = surveyed(away=("offsite",), **split)
    assert pick_drill("dr-1", seen, backup(), (), Asked(site=MIXED)).set in NAMES
    assert "no set that is whole" in pick_drill("dr-1", seen, backup(), (), Asked(site="own")).refusal


def test_what_a_person_asks_for_is_drilled() -> None:
    chosen = pick_drill("dr-1", surveyed(), backup(), (), Asked(site="offsite", to="2026-11-21 09:14:00+08"))
    assert chosen.options == {"site": "offsite", "to": "2026-11-21 09:14:00+08"}
    chosen = pick_drill("dr-1", surveyed(), backup(), (), Asked(site="own,second", set=NAMES[0]))
    assert chosen.options == {"site": "own,second", "set": NAMES[0]}


@pytest.mark.parametrize(
    ("asked", "away", "said"),
    [
        (Asked(site="othersite"), (), "there is no site othersite"),
        (Asked(), ("own",), "own is not reached (no answer)"),
        (Asked(site=MIXED), SITES, "own, second, offsite holds no set"),
    ],
)
def test_a_turn_with_nothing_to_restore_says_why(asked: Asked, away: tuple[str, ...], said: str) -> None:
    assert said in pick_drill("dr-1", surveyed(away=away), backup(), (), asked).refusal


@pytest.mark.parametrize(
    ("rules", "past", "backup_days", "due", "overdue"),
    [
        (DrillRules(), (), None, None, None),
        (DrillRules(), (), 8.0, -1.0, 2.0),
        (DrillRules(), (), 11.0, -4.0, -1.0),
        (DrillRules(), (drill("own", days_ago=3),), 99.0, 4.0, 7.0),
        (DrillRules(), (drill("own", days_ago=5), drill("own", days_ago=0.5, passed=False)), 99.0, 0.5, 5.0),
        (
            DrillRules(),
            (drill("own", days_ago=5), drill("own", days_ago=0.5, passed=False, counts=False)),
            99.0,
            2.0,
            5.0,
        ),
        (DrillRules(every_days=0), (), 99.0, None, None),
        (DrillRules(every_days=0, max_age_days=30), (drill("own", days_ago=31),), 99.0, None, -1.0),
        (DrillRules(every_days=30), (drill("own", days_ago=29),), 99.0, 1.0, 4.0),
        (DrillRules(max_age_days=0), (drill("own", days_ago=29),), 99.0, -22.0, None),
    ],
)
def test_when_it_is_due_and_when_overdue(
    rules: DrillRules, past: tuple[Drill, ...], backup_days: float | None, due: float | None, overdue: float | None
) -> None:
    first = None if backup_days is None else NOW - timedelta(days=backup_days)
    found = standing_of("orders-db", rules, past, first)
    assert found.due_at == (None if due is None else NOW + timedelta(days=due))
    assert found.overdue_at == (None if overdue is None else NOW + timedelta(days=overdue))
    assert found.is_due(NOW) is (due is not None and due <= 0)
    assert found.is_overdue(NOW) is (overdue is not None and overdue <= 0)
    assert standing_of("orders-db", rules, past, first, can=False).due_at is None


def test_an_age_limit_that_every_drill_would_miss_is_refused() -> None:
    with pytest.raises(ValueError, match="every drill would come too late"):
        DrillRules(every_days=30, max_age_days=30)


def test_the_trend_compares_the_last_with_those_before_it() -> None:
    drills = [drill("own", rto_s=seconds) for seconds in (4.0, 4.4, 8.0)]
    drills += [drill("second", rto_s=3.0), drill("second", passed=False), drill("own", rto_s=99.0, interrupted=True)]
    own, second = trends(drills)
    assert (own.rto_s, own.change) == ((4.0, 4.4, 8.0), 0.905)
    assert own.summary == "4.0 s, 4.4 s, 8.0 s: slower by 90 %"
    assert (second.rto_s, second.change, second.summary) == ((3.0,), None, "3.0 s")


def test_an_objective_that_was_missed_is_said_and_is_no_failure() -> None:
    found = drill("own", set=NAMES[0], rto_wanted_s=3, rpo_s=100.0, rpo_wanted_s=60, sites=("own",))
    assert [words.split(",")[0] for words in found.missed] == ["it took 4.0 s", "100 s of writes would be lost"]
    assert "missed:" in found.summary
    assert drill("own", rto_wanted_s=5).missed == ()
    assert drill("own", rto_wanted_s=1, interrupted=True).missed == ()
