"""Class, grade and deadlines of an incident: pure rules, as data, from the emergency plans."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

IncidentClass = Literal[
    "network-attack",
    "information-damage",
    "information-content",
    "network-fault",
    "server-fault",
    "software-fault",
    "disaster",
    "other",
]
Grade = Literal["IV", "III", "II", "I"]  # from the slightest to the gravest
Criticality = Literal["low", "normal", "high", "critical"]
Since = Literal["opened", "closed"]

TITLES: dict[IncidentClass, tuple[str, str]] = {
    "network-attack": ("network attack", "网络攻击事件"),
    "information-damage": ("information damage", "信息破坏事件"),
    "information-content": ("information content", "信息内容安全事件"),
    "network-fault": ("network fault", "网络故障事件"),
    "server-fault": ("server fault", "服务器故障事件"),
    "software-fault": ("software fault", "软件故障事件"),
    "disaster": ("disaster", "灾害性事件"),
    "other": ("other", "其他事件"),
}

GRADES: tuple[Grade, ...] = ("IV", "III", "II", "I")

HOUR_S = 3600.0

# Outage in seconds: from 2 h on III, from 12 h on II, beyond 24 h I.
_III_FROM_S, _II_FROM_S, _I_BEYOND_S = 2 * HOUR_S, 12 * HOUR_S, 24 * HOUR_S

# By how many grades an incident counts as graver than its outage alone says.
RAISED_BY: dict[Criticality, int] = {"low": 0, "normal": 0, "high": 0, "critical": 1}

# The first that fits is proposed; a person may change it, with a reason.
_SIGNS: tuple[tuple[IncidentClass, re.Pattern[str]], ...] = (
    ("network-attack", re.compile(r"ddos|intrusion|attack|brute.?force|malware|virus|ransom|exploit")),
    ("information-content", re.compile(r"rumou?r|false.?content|illegal.?content|defacement")),
    ("information-damage", re.compile(r"leak|tamper|falsif|corrupt|checksum|data.?loss|wrong.?record")),
    ("disaster", re.compile(r"fire|flood|earthquake|power.?(loss|outage|cut)|site.?down|datacenter.?down")),
    ("network-fault", re.compile(r"network|link.?down|switch|router|packet.?loss|dns|unreachable|partition|\bbgp\b")),
    ("server-fault", re.compile(r"host|node|server|disk|memory|cpu|hardware|filesystem|raid")),
    (
        "software-fault",
        re.compile(r"postgres|database|replication|process|service|application|queue|deadlock|crash|down"),
    ),
)


@dataclass(frozen=True)
class Rule:
    """Something that must be done by a certain time.

    Attributes:
        name: What must be done.
        after_s: Seconds it may take.
        since: Counted from the opening or the closing of the incident.
        from_grade: Asked of incidents of this grade and graver.
    """

    name: str
    after_s: float
    since: Since = "opened"
    from_grade: Grade = "IV"


@dataclass(frozen=True)
class Deadline:
    """A rule applied to one incident."""

    name: str
    due: datetime


RULES: tuple[Rule, ...] = (
    Rule("report-to-leaders", 0, from_grade="III"),
    Rule("first-judgement", 30 * 60),
    Rule("resolve-or-escalate", 60 * 60),
    Rule("written-record", 24 * HOUR_S, since="closed"),
)


def propose_class(labels: Mapping[str, str], text: str = "") -> IncidentClass:
    """The class that an alert suggests: its label `incident_class` when that is one, else the first sign in its words."""
    named = labels.get("incident_class", "")
    for known in TITLES:
        if named == known:
            return known
    words = " ".join((labels.get("alertname", ""), text)).lower()
    return next((found for found, sign in _SIGNS if sign.search(words)), "other")


def grade(outage_s: float, criticality: Criticality = "normal") -> Grade:
    """The grade of an outage, expected or elapsed, whichever is longer, on a service that matters this much."""
    reached = sum((outage_s >= _III_FROM_S, outage_s >= _II_FROM_S, outage_s > _I_BEYOND_S))
    return GRADES[min(reached + RAISED_BY[criticality], len(GRADES) - 1)]


def is_at_least(found: Grade, wanted: Grade) -> bool:
    """Whether `found` is as grave as `wanted`, or graver."""
    return GRADES.index(found) >= GRADES.index(wanted)


def deadlines(found: Grade, opened_at: datetime, closed_at: datetime | None = None) -> tuple[Deadline, ...]:
    """What must be done by when, the soonest first."""
    starts = {"opened": opened_at, "closed": closed_at}
    due = [
        Deadline(rule.name, start + timedelta(seconds=rule.after_s))
        for rule in RULES
        if is_at_least(found, rule.from_grade) and (start := starts[rule.since]) is not None
    ]
    return tuple(sorted(due, key=lambda deadline: deadline.due))


def missed(wanted: tuple[Deadline, ...], done: Mapping[str, datetime], now: datetime) -> tuple[Deadline, ...]:
    """Deadlines that have passed undone, or were met too late. `done` says when each was done."""
    return tuple(deadline for deadline in wanted if done.get(deadline.name, now) > deadline.due)
