"""The rules of a check of backups: each spoils one fact of a backup that is well, and is told so with a hint."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from drill_kit import NAMES, NOW, RECIPIENT, backup, drill, manifest, surveyed
from pyrage import x25519

from flows.drilling import standing_of
from flows.finding import Finding
from flows.readiness_backups import judge_backup_needs, judge_drills, judge_wal
from recoverd.backup.compare import Health
from recoverd.backup.opening import opens
from recoverd.drills import Drill
from recoverd.errors import Invalid
from tasks.readiness_backups import BackupNeeds, KeeperNeeds, KeyDoubt
from tasks.restoring import Room
from tasks.sets import Survey

MEMBERS = ("db-1", "db-2")


def fresh(**more: Any) -> Survey:
    """The newest set is an hour old."""
    seen = surveyed(**more)
    young = manifest(NAMES[-1], NOW - timedelta(hours=1))
    return seen.model_copy(update={"manifests": (*seen.manifests[:-1], young)})


def needs(survey: Survey | None = None, hosts: dict[str, dict[str, Any]] | None = None, **parts: Any) -> BackupNeeds:
    known = {name: {} for name in ("db-2", "backup-1")} | (hosts or {})
    facts: dict[str, Any] = {
        "survey": survey or fresh(), "doubts": (), "room": Room(host="backup-1", free_bytes=10, needed_bytes=5),
        "hosts": tuple(KeeperNeeds(host=name, **{"version": 15, **more}) for name, more in known.items()),
    }  # fmt: skip
    return BackupNeeds(**(facts | parts))


def judged(found: BackupNeeds, **rules: Any) -> list[Finding]:
    return list(judge_backup_needs(found, backup().model_copy(update=rules), MEMBERS, NOW))


def test_a_backup_that_is_well_has_nothing_but_good_news() -> None:
    found = judged(needs())
    assert {one.level for one in found} == {"ok"}
    assert {"site own", "site offsite", "keys", "backup-1"} <= {one.where for one in found}


@pytest.mark.parametrize(
    ("spoilt", "level", "where", "said"),
    [
        (needs(fresh(away=("offsite",))), "problem", "site offsite", "no answer"),
        (needs(fresh(second=dict.fromkeys(NAMES, Health.ABSENT))), "warning", "site second", "no set that is whole"),
        (needs(fresh(own={NAMES[-1]: Health.DAMAGED})), "warning", "site own", "max_age_s is 26 h 0 min"),
        (needs(fresh(own={NAMES[0]: Health.INCOMPLETE})), "warning", "site own", f"{NAMES[0]} is incomplete there"),
        (needs(surveyed()), "problem", "site own", "ends 5 d 12 h ago"),
        (needs(surveyed(names=())), "problem", "site offsite", "no set that is whole"),
        (needs(hosts={"backup-1": {"problem": "no answer", "hint": "power"}}), "problem", "backup-1", "no answer"),
        (needs(hosts={"backup-1": {"missing_tools": ("age", "zstd")}}), "problem", "backup-1", "age, zstd is missing"),
        (
            needs(hosts={"backup-1": {"missing_programs": ("pg_verifybackup",)}}),
            "problem", "backup-1", "pg_verifybackup of PostgreSQL is missing",
        ),
        (needs(hosts={"backup-1": {"version": 16}}), "problem", "backup-1", "it has PostgreSQL 16, and the newest set is of 15"),
        (needs(hosts={"backup-1": {"clock_offset_s": -2.0}}), "warning", "backup-1", "2.0 s behind"),
        (needs(hosts={"backup-1": {"clock_offset_s": 90.0}}), "problem", "backup-1", "90.0 s ahead of"),
        (needs(room=Room(host="backup-1", free_bytes=1, needed_bytes=2 << 20)), "problem", "backup-1", "no room"),
        (needs(doubts=(KeyDoubt(key="identity", what="it opens nothing", hint="x"),)), "problem", "identity", "opens nothing"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_a_hint(spoilt: BackupNeeds, level: str, where: str, said: str) -> None:
    found = [one for one in judged(spoilt) if one.where == where and said in one.what]
    assert [one.level for one in found] == [level], judged(spoilt)
    assert all(one.hint for one in found)


def test_a_member_is_not_told_of_twice() -> None:
    spoilt = needs(hosts={"db-2": {"problem": "no answer", "hint": "power"}})
    assert not [one for one in judged(spoilt) if one.where == "db-2"]
    assert not [one for one in judged(needs(hosts={"db-2": {"clock_offset_s": 9.0}})) if one.level != "ok"]


def test_keys_that_are_not_named_are_a_warning() -> None:
    found = judged(needs(), identity=None, signing_key=None)
    assert {(one.level, one.where) for one in found if one.level != "ok"} == {
        ("warning", "identity"), ("warning", "signing_key"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("past", "first_days", "host", "level", "said"),
    [
        ((drill("own", days_ago=2),), 30, "backup-1", "ok", "passed 48 h 0 min ago"),
        ((), 2, "backup-1", "warning", "no restore has ever been rehearsed"),
        ((), 11, "backup-1", "problem", "overdue since"),
        ((drill("own", days_ago=11),), 30, "backup-1", "problem", "overdue since"),
        ((drill("own", days_ago=2), drill("second", passed=False)), 30, "backup-1", "problem", "no bytes"),
        ((drill("own", days_ago=2, rto_wanted_s=1),), 30, "backup-1", "warning", "the RTO is 1 s"),
        ((), 2, None, "warning", "there is no drill host"),
    ],
)
def test_drills_are_told_of(past: tuple[Drill, ...], first_days: int, host: str | None, level: str, said: str) -> None:
    rules = backup(drill_host=host)
    standing = standing_of("orders-db", rules.restore.drill, past, NOW - timedelta(days=first_days))
    found = [one for one in judge_drills(standing, past, rules, NOW) if said in one.what]
    assert [one.level for one in found] == [level]
    assert level == "ok" or found[0].hint


def test_an_identity_opens_what_is_meant_for_it_and_nothing_else() -> None:
    mine, other = x25519.Identity.generate(), x25519.Identity.generate()
    recipients = [RECIPIENT, str(mine.to_public())]
    assert opens(f"# created: today\n{mine}\n", recipients)
    assert not opens(str(other), recipients)
    for wrong in ("", "AGE-SECRET-KEY-1NONE"):
        with pytest.raises(Invalid, match="age key cannot be read"):
            opens(wrong, recipients)


def test_wal_that_is_late_is_a_warning_and_wal_that_is_missing_a_problem() -> None:
    found = list(judge_wal("orders-db", {"lag own": "own lacks WAL of the last 99 s", "hole own X": "own lacks X"}))
    assert [(one.level, one.where) for one in found] == [("warning", "WAL lag own"), ("problem", "WAL hole own X")]
    assert all("recoverd" in one.hint for one in found)
    assert [one.level for one in judge_wal("orders-db", {})] == ["ok"]


def test_a_site_in_quarantine_is_a_problem() -> None:
    seen = fresh()
    sites = tuple(one.model_copy(update={"quarantined": "tampered"} if one.site == "own" else {}) for one in seen.sites)
    found = [one for one in judged(needs(seen.model_copy(update={"sites": sites}))) if one.level != "ok"]
    assert [(one.level, one.where, "quarantine" in one.what) for one in found] == [("problem", "site own", True)]
