"""Classes, grades and deadlines are those of the emergency plans (L2, L3, L4)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from recoverd.incidents import GRADES, TITLES, deadlines, grade, is_at_least, missed, propose_class

HOUR_S = 3600
OPENED = datetime(2026, 11, 22, 9, 0, tzinfo=timezone.utc)


def test_there_are_eight_classes_with_a_title_in_both_languages() -> None:
    assert len(TITLES) == 8
    assert all(english and chinese for english, chinese in TITLES.values())


@pytest.mark.parametrize(
    ("outage_s", "normal", "critical"),
    [
        (0, "IV", "III"),
        (2 * HOUR_S - 1, "IV", "III"),
        (2 * HOUR_S, "III", "II"),
        (12 * HOUR_S - 1, "III", "II"),
        (12 * HOUR_S, "II", "I"),
        (24 * HOUR_S, "II", "I"),
        (24 * HOUR_S + 1, "I", "I"),
    ],
)
def test_the_grade_follows_from_outage_and_criticality(outage_s: float, normal: str, critical: str) -> None:
    assert grade(outage_s) == grade(outage_s, "low") == grade(outage_s, "high") == normal
    assert grade(outage_s, "critical") == critical


def test_grades_are_ordered_from_four_to_one() -> None:
    assert [is_at_least(found, "III") for found in GRADES] == [False, True, True, True]


@pytest.mark.parametrize(
    ("labels", "text", "expected"),
    [
        ({"alertname": "PostgresDown"}, "", "software-fault"),
        ({"alertname": "HostDown"}, "", "server-fault"),
        ({"alertname": "NodeDiskFull"}, "", "server-fault"),
        ({"alertname": "LinkDown"}, "", "network-fault"),
        ({"alertname": "DDoS"}, "", "network-attack"),
        ({"alertname": "PagesCorrupted"}, "checksum failures", "information-damage"),
        ({"alertname": "Site"}, "power outage at site a", "disaster"),
        ({"alertname": "PostgresDown", "incident_class": "disaster"}, "", "disaster"),
        ({"alertname": "PostgresDown", "incident_class": "nonsense"}, "", "software-fault"),
        ({}, "", "other"),
    ],
)
def test_a_class_is_proposed_from_the_alert(labels: dict[str, str], text: str, expected: str) -> None:
    assert propose_class(labels, text) == expected


def test_grade_three_and_above_go_to_leaders_at_once() -> None:
    assert [d.name for d in deadlines("IV", OPENED)] == ["first-judgement", "resolve-or-escalate"]
    for found in ("III", "II", "I"):
        first = deadlines(found, OPENED)[0]
        assert (first.name, first.due) == ("report-to-leaders", OPENED)


def test_judgement_is_due_after_half_an_hour_escalation_after_one_and_the_record_a_day_after_the_end() -> None:
    closed = OPENED + timedelta(hours=3)
    due = {deadline.name: deadline.due for deadline in deadlines("IV", OPENED, closed)}
    assert due == {
        "first-judgement": OPENED + timedelta(minutes=30),
        "resolve-or-escalate": OPENED + timedelta(minutes=60),
        "written-record": closed + timedelta(days=1),
    }


def test_a_deadline_is_missed_when_it_passes_undone_or_is_met_late() -> None:
    wanted = deadlines("IV", OPENED)
    at = {minutes: OPENED + timedelta(minutes=minutes) for minutes in (10, 31, 45, 61)}
    assert missed(wanted, {}, at[10]) == ()
    assert [d.name for d in missed(wanted, {}, at[31])] == ["first-judgement"]
    assert missed(wanted, {"first-judgement": at[10]}, at[45]) == ()
    assert [d.name for d in missed(wanted, {"first-judgement": at[45]}, at[45])] == ["first-judgement"]
    assert len(missed(wanted, {}, at[61])) == 2
