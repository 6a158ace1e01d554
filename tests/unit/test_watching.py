"""What a sentinel concludes from look after look."""

from __future__ import annotations

from datetime import timedelta

from views_kit import NOW, dead_view, lost, orphan, primary, seen, standby

from flows.verdict import Alarm, Diagnosis, Verdict, judge
from flows.watching import News, Watch, advance, is_calm
from recoverd.connections import Reach
from tasks.views import Answer

WELL = judge(seen())
DEAD = judge(dead_view())
PARTED = judge(seen(reach={"app-1": Reach.LOST}))
RETURNED = judge(
    seen(primary("db-1"), primary("db-2", timeline=2), standby("db-3", of="db-2", timeline=2)),
    Alarm(last_promoted="db-2", promoted_timeline=2),
)


def told(*looks: Diagnosis, confirmations: int = 3) -> list[News]:
    watch, news = Watch(), []
    for second, diagnosis in enumerate(looks):
        watch, one = advance(watch, diagnosis, NOW + timedelta(seconds=second), confirmations)
        news.append(one)
    return news


def test_one_odd_look_is_no_news() -> None:
    assert told(WELL, DEAD, WELL, DEAD, DEAD, WELL)[:2] == [News.NONE, News.NONE]
    assert News.DOWN not in told(WELL, DEAD, WELL, DEAD, DEAD, WELL)


def test_as_many_looks_in_a_row_as_the_policy_asks_for_raise_the_alert_once() -> None:
    assert told(WELL, DEAD, DEAD, DEAD, DEAD) == [News.NONE, News.NONE, News.NONE, News.DOWN, News.NONE]
    assert told(DEAD, confirmations=1) == [News.DOWN]


def test_an_alert_is_raised_again_while_the_primary_stays_down_and_as_a_new_one() -> None:
    watch, told = Watch(), []
    for second in range(70):
        watch, news = advance(watch, DEAD, NOW + timedelta(seconds=second), 3)
        if news is News.DOWN:
            told.append((second, watch.since))
    assert told == [
        (2, NOW),
        (32, NOW + timedelta(seconds=32)),
        (62, NOW + timedelta(seconds=62)),
    ]


def test_a_look_from_one_side_only_starts_the_count_anew() -> None:
    assert News.DOWN not in told(DEAD, DEAD, PARTED, DEAD, DEAD)


def test_the_alert_begins_with_the_first_look_of_the_row() -> None:
    watch = Watch()
    for second, diagnosis in enumerate([WELL, DEAD, DEAD, DEAD]):
        watch, _ = advance(watch, diagnosis, NOW + timedelta(seconds=second), 3)
    assert watch.since == NOW + timedelta(seconds=1)


def test_it_is_resolved_when_users_are_served_again_and_not_by_a_partition() -> None:
    assert told(DEAD, DEAD, DEAD, PARTED, WELL)[3:] == [News.ODD, News.UP]


def test_what_is_odd_is_told_once_for_the_record() -> None:
    assert told(WELL, PARTED, PARTED, WELL) == [News.NONE, News.ODD, News.NONE, News.ODD]


def test_an_old_primary_that_comes_back_is_told_once() -> None:
    assert RETURNED.verdict is Verdict.FAILED_OVER
    assert told(WELL, RETURNED, RETURNED) == [News.NONE, News.RETURNED, News.NONE]


def test_a_quick_look_is_calm_only_when_one_primary_takes_writes_and_all_others_stream() -> None:
    assert is_calm(seen().servers)
    assert not is_calm(seen(primary(writes=Answer.STALLED)).servers)
    assert not is_calm(seen(lost("db-1")).servers)
    assert not is_calm(seen(orphan("db-2")).servers)
    assert not is_calm(seen(primary("db-1"), primary("db-2")).servers)
