"""What is the matter with a service: every case a line in a table."""

from __future__ import annotations

from datetime import timedelta

import pytest
from views_kit import (
    LSN,
    NOW,
    dead_view,
    from_all,
    lost,
    off,
    on_host,
    orphan,
    primary,
    seen,
    standby,
)

from flows.verdict import Alarm, Verdict, judge, suspect
from recoverd.connections import Reach
from tasks.views import Answer, Receiver, ServiceView

LOST, REFUSED, SILENT, UNKNOWN = Reach.LOST, Reach.REFUSED, Reach.SILENT, Reach.UNKNOWN
FRESH = Receiver(status="streaming", sender_host="10.0.0.11", latest_end_lsn=LSN, last_message_at=2.0, heard=True)
STALE = Receiver(status="streaming", sender_host="10.0.0.11", latest_end_lsn=LSN, last_message_at=1.0)

CASES: dict[str, tuple[ServiceView, Verdict]] = {
    "all is well": (seen(), Verdict.HEALTHY),
    "a standby is down": (seen(lost("db-3"), hosts=(off("db-3"),)), Verdict.DEGRADED),
    "a standby does not stream": (seen(orphan("db-2")), Verdict.DEGRADED),
    "its host is off": (dead_view(), Verdict.DEAD),
    "its postmaster was killed": (dead_view(REFUSED, running=False, processes=0), Verdict.DEAD),
    "it is frozen": (dead_view(SILENT, frozen=True), Verdict.DEAD),
    "its WAL receivers do not know yet that it is gone": (
        seen(
            lost("db-1"),
            standby("db-2", receiver=STALE),
            standby("db-3", receiver=STALE),
            hosts=(off("db-1"),),
            reach=from_all(LOST),
        ),
        Verdict.DEAD,
    ),
    "cut off from the controller only": (
        seen(lost("db-1"), hosts=(off("db-1"),), reach={"controller": LOST}),
        Verdict.PARTITIONED,
    ),
    "cut off from all but a standby that still streams": (
        seen(lost("db-1"), standby("db-2", receiver=FRESH), hosts=(off("db-1"),), reach=from_all(LOST)),
        Verdict.PARTITIONED,
    ),
    "cut off from the clients only": (seen(reach={"app-1": LOST}), Verdict.PARTITIONED),
    "cut off from its standbys only": (
        seen(orphan("db-2"), orphan("db-3"), reach={"db-2": LOST, "db-3": LOST}),
        Verdict.PARTITIONED,
    ),
    "silent everywhere while its host says that it runs": (dead_view(LOST, running=True), Verdict.PARTITIONED),
    "silent, and no standby's host can be asked": (
        seen(
            lost("db-1"),
            orphan("db-2"),
            orphan("db-3"),
            hosts=(off("db-1"),),
            reach={"controller": LOST, "db-2": UNKNOWN, "db-3": UNKNOWN, "app-1": LOST},
        ),
        Verdict.UNKNOWN,
    ),
    "silent, and no client's host can be asked": (
        seen(
            lost("db-1"),
            orphan("db-2"),
            orphan("db-3"),
            hosts=(off("db-1"),),
            reach=from_all(LOST) | {"app-1": UNKNOWN},
        ),
        Verdict.UNKNOWN,
    ),
    "it is starting": (seen(lost("db-1", Answer.STARTING)), Verdict.DEGRADED),
    "it refuses our password": (seen(lost("db-1", Answer.REJECTED)), Verdict.UNKNOWN),
    "its disk is full": (seen(primary(writes=Answer.REJECTED, problem="no space")), Verdict.UNWRITABLE),
    "it is read-only on purpose": (
        seen(primary(read_only=True, writes=None, problem="SQLSTATE 25006")),
        Verdict.DEGRADED,
    ),
    "recoverd's role may not write": (
        seen(primary(writes=None, problem="permission denied (SQLSTATE 42501)")),
        Verdict.DEGRADED,
    ),
    "its disk hangs": (seen(primary(writes=Answer.STALLED, problem="hangs")), Verdict.UNWRITABLE),
    "it died in the middle of the look": (seen(lost("db-1")), Verdict.PARTITIONED),
    "statements hang": (seen(lost("db-1", Answer.STALLED)), Verdict.UNWRITABLE),
    "two primaries on one timeline": (seen(primary("db-1"), primary("db-2")), Verdict.SPLIT),
    "an old primary came back": (
        seen(
            primary("db-1"),
            primary("db-2", timeline=2),
            standby("db-3", of="db-2", timeline=2),
            hosts=(on_host("db-2", addresses=("10.0.0.100/24",)),),
        ),
        Verdict.FAILED_OVER,
    ),
    "nobody knows anything": (
        seen(lost("db-1"), lost("db-2"), lost("db-3"), hosts=(off("db-1"), off("db-2"), off("db-3"))),
        Verdict.UNKNOWN,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_from_what_every_side_sees(case: str) -> None:
    view, expected = CASES[case]
    assert judge(view).verdict is expected, judge(view).summary


@pytest.mark.parametrize("case", CASES)
def test_every_verdict_gives_a_reason(case: str) -> None:
    assert all(judge(CASES[case][0]).reasons)


def test_only_a_dead_or_unwritable_primary_calls_for_a_failover() -> None:
    assert {verdict for verdict in Verdict if verdict.calls_for_failover} == {Verdict.DEAD, Verdict.UNWRITABLE}


def test_what_may_pass_is_kept_with_the_diagnosis_for_a_run_that_goes_on_later() -> None:
    passing = {case for case, (view, _) in CASES.items() if judge(view).may_pass}
    assert passing == {
        "it is starting",
        "its disk is full",
        "its disk hangs",
        "statements hang",
        "it died in the middle of the look",
        "silent everywhere while its host says that it runs",
    }


def test_an_alert_older_than_the_last_failover_is_about_the_past() -> None:
    view = seen(lost("db-1"), primary("db-2", timeline=2), standby("db-3", of="db-2", timeline=2), hosts=(off("db-1"),))
    alarm = Alarm(starts_at=NOW - timedelta(minutes=5), last_failover_at=NOW - timedelta(minutes=4))
    assert judge(view, alarm).verdict is Verdict.FAILED_OVER


@pytest.mark.parametrize("instance", ["db-1", "10.0.0.11", "10.0.0.11:5432", "db-1:9187"])
def test_an_alert_that_names_a_server_which_is_no_longer_primary_is_about_the_past(instance: str) -> None:
    view = seen(lost("db-1"), primary("db-2", timeline=2), standby("db-3", of="db-2", timeline=2), hosts=(off("db-1"),))
    assert judge(view, Alarm(instance=instance)).verdict is Verdict.FAILED_OVER


def test_an_alert_that_names_the_dead_primary_is_not_about_the_past() -> None:
    alarm = Alarm(instance="10.0.0.11:5432", starts_at=NOW, last_failover_at=NOW - timedelta(days=1))
    assert judge(dead_view(), alarm).verdict is Verdict.DEAD


def test_the_returned_old_primary_is_named_and_the_newest_timeline_is_the_primary() -> None:
    diagnosis = judge(CASES["an old primary came back"][0])
    assert (diagnosis.primary, diagnosis.returned) == ("db-2", ("db-1",))


FENCED = {"fenced": "3 fo-1", "standby_signal": True, "running": False}
SUSPECTS = {
    "its own host says so": (dead_view(REFUSED, running=False), "db-1"),
    "the standbys say where they stream from": (dead_view(), "db-1"),
    "a fenced server is not the primary": (
        seen(
            lost("db-1"),
            lost("db-2"),
            standby("db-3", of="db-2"),
            hosts=(on_host("db-1", fenced="3 fo-1", standby_signal=True, running=False), off("db-2")),
        ),
        "db-2",
    ),
    "it was fenced by a run that went no further": (
        seen(lost("db-1"), orphan("db-2"), orphan("db-3"), hosts=(on_host("db-1", **FENCED),), reach=from_all(REFUSED)),
        "db-1",
    ),
    "it was fenced, and a silent member may have been promoted since": (
        seen(
            lost("db-1"),
            lost("db-2"),
            orphan("db-3"),
            hosts=(on_host("db-1", **FENCED), off("db-2")),
            reach=from_all(REFUSED),
        ),
        "",
    ),
    "a new member has a cluster of its own until it is copied": (
        seen(
            lost("db-1"),
            orphan("db-2"),
            lost("db-3"),
            hosts=(off("db-1"), on_host("db-3", standby_signal=False, running=False, system_identifier="9")),
        ),
        "db-1",
    ),
    "a copy that is being made is no primary": (
        seen(
            lost("db-1"),
            orphan("db-2"),
            lost("db-3"),
            hosts=(off("db-1"), on_host("db-3", standby_signal=False, running=False, system_identifier="7")),
        ),
        "db-1",
    ),
    "a stopped server of a newer timeline than its standbys know of": (
        seen(
            lost("db-1"),
            lost("db-2"),
            orphan("db-3"),
            hosts=(off("db-1"), on_host("db-2", standby_signal=False, running=False, timeline=2)),
        ),
        "",
    ),
    "of a silent pair nobody can tell": (
        seen(lost("db-1"), lost("db-2"), standby("db-3", upstream=""), hosts=(off("db-1"), off("db-2"))),
        "",
    ),
}


def test_who_was_promoted_last_is_not_passed_over_while_nobody_hears_of_it() -> None:
    left_behind = seen(
        lost("db-1"), lost("db-2"), orphan("db-3"), hosts=(off("db-1"), off("db-2")), reach=from_all(LOST)
    )
    assert judge(left_behind).primary == "db-1"
    diagnosis = judge(left_behind, Alarm(last_promoted="db-2"))
    assert (diagnosis.verdict, "db-2 was promoted last" in diagnosis.summary) == (Verdict.UNKNOWN, True)
    assert judge(dead_view(), Alarm(last_promoted="db-2")).verdict is Verdict.DEAD  # it is seen to be a standby
    assert judge(dead_view(), Alarm(last_promoted="db-1")).verdict is Verdict.DEAD
    crashed = on_host("db-2", standby_signal=False, running=False, timeline=2)
    newer = seen(lost("db-1"), lost("db-2"), orphan("db-3"), hosts=(off("db-1"), crashed))
    assert suspect(newer, "db-2") == "db-2"


@pytest.mark.parametrize(("sender", "verdict"), [("192.168.9.11", Verdict.PARTITIONED), ("10.0.0.13", Verdict.DEAD)])
def test_a_primary_that_its_standby_hears_by_another_address_is_alive(sender: str, verdict: Verdict) -> None:
    heard = FRESH.model_copy(update={"sender_host": sender})
    view = seen(lost("db-1"), standby("db-2", receiver=heard), hosts=(off("db-1"),), reach=from_all(LOST))
    assert judge(view).verdict is verdict


@pytest.mark.parametrize("case", SUSPECTS)
def test_the_silent_primary_is_known_by_its_host_or_its_standbys(case: str) -> None:
    view, expected = SUSPECTS[case]
    assert suspect(view) == expected
