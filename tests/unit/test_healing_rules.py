"""What is damaged and what tampered, what is copied from where, what a lost part leaves: tables."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from flows.keeping import pick_source
from flows.mending import judge_survey, plan_heal
from flows.points import pick_point
from recoverd.backup import keys
from recoverd.backup.compare import File, Finding, Health, Held, SetHealth, judge_set
from recoverd.backup.manifest import Manifest, Part
from recoverd.backup.retention import wanted
from recoverd.backup.verdicts import remains
from recoverd.inventory import Backup, Retention
from tasks.sets import SiteView, Survey

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
OLD, NEW = "20261101T000000Z-aaaa", "20261120T000000Z-cccc"
BACKUP = Backup.model_validate(
    {
        "name": "orders-db",
        "sites": [
            {"name": "own", "kind": "host", "host": "db-2", "path": "/b"},
            {"name": "second", "kind": "host", "host": "backup-1", "path": "/b"},
            {"name": "offsite", "kind": "s3", "bucket": "orders"},
        ],
        "recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
        "trusted_key": "/key",
    }
)
PARTS = tuple(Part(name=keys.part_name(n), size=100 + n, sha256=f"{n:064x}", md5=f"{n:032x}") for n in range(1, 5))
DOCUMENTS = tuple(File.of(name, name.encode()) for name in (keys.MANIFEST, keys.SIGNATURE))


def manifest(name: str = NEW) -> Manifest:
    return Manifest(service="orders-db", set=name, source="db-2", begun_at=NOW, ended_at=NOW, parts=PARTS)


def held(**changes: Held | None) -> dict[str, Held]:
    """All parts as they were signed, but for what is said: p2=None is missing."""
    found = {part.name: Held(size=part.size, sha256=part.sha256) for part in PARTS}
    for name, change in changes.items():
        key = keys.part_name(int(name[1:]))
        found = {file: one for file, one in found.items() if file != key} | ({key: change} if change else {})
    return found


def wrong(number: int, *, size: int = 0, md5: str = "") -> Held:
    return Held(size=size or 100 + number, sha256="f" * 64, md5=md5)


REWRITTEN = {f"p{n}": wrong(n) for n in range(1, 5)}


def site(name: str, sets: dict[str, dict[str, Held]], *, free: int | None = None, quarantined: str = "") -> SiteView:
    health = tuple(judge_set(name, manifest(one), files, read=True) for one, files in sorted(sets.items()))
    return SiteView(site=name, reached=True, sets=health, free_bytes=free, quarantined=quarantined)


def surveyed(**sites: SiteView) -> Survey:
    """All three sites whole, but for those that are given."""
    views = tuple(sites.get(name) or site(name, {NEW: held()}) for name in ("own", "second", "offsite"))
    return Survey(service="orders-db", sites=views, manifests=(manifest(),), documents={NEW: DOCUMENTS})


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ({}, "clean"),
        ({"p1": wrong(1)}, "damaged"),
        ({"p1": None, "p2": None, "p3": None, "p4": None}, "damaged"),
        ({"p1": wrong(1), "p2": wrong(2), "p3": wrong(3), "p4": None}, "damaged"),
        (REWRITTEN, "tampered"),
        ({f"p{n}": Held(size=0, sha256="e" * 64) for n in range(1, 5)}, "damaged"),  # as a power cut leaves new files
        ({f"p{n}": wrong(n, size=4096) for n in range(1, 5)}, "tampered"),
    ],
)
def test_what_no_fault_explains_is_called_tampered(files: dict[str, Held | None], verdict: str) -> None:
    judged = judge_survey(surveyed(second=site("second", {NEW: held(**files)})), BACKUP, NOW)
    assert {one.site: one.verdict for one in judged.verdicts} == {"own": "clean", "second": verdict, "offsite": "clean"}
    assert [one.site for one in judged.quarantine] == (["second"] if verdict == "tampered" else [])
    assert judged.clean is (verdict == "clean")


def test_a_site_is_quarantined_only_where_another_speaks_against_it() -> None:
    bad = {name: site(name, {NEW: held(**REWRITTEN)}) for name in ("own", "second", "offsite")}
    judged = judge_survey(surveyed(**bad), BACKUP, NOW)
    assert {one.verdict for one in judged.verdicts} == {"tampered"}
    assert judged.quarantine == ()


def test_each_bad_file_comes_from_the_best_site_that_has_it_right() -> None:
    seen = surveyed(
        own=site("own", {NEW: held(p1=wrong(1), p2=None)}),
        second=site("second", {NEW: held(**REWRITTEN)}),
    )
    plan = plan_heal(seen, BACKUP, NOW)
    mine = next(one for one in plan.mendings if one.site == "own")
    assert [(one.name, one.was.value, [two.site for two in one.sources]) for one in mine.files] == [
        ("part-000001.age", "damaged", ["offsite"]),
        ("part-000002.age", "incomplete", ["offsite"]),
    ]
    other = next(one for one in plan.mendings if one.site == "second")
    assert [[two.site for two in one.sources] for one in other.files] == [
        ["offsite"], ["offsite"], ["own", "offsite"], ["own", "offsite"],
    ]  # fmt: skip
    assert plan.lost == ()
    assert [one.site for one in plan_heal(seen, BACKUP, NOW, "own").mendings] == ["own"]


def test_a_doubted_site_is_the_last_to_be_copied_from() -> None:
    doubted = site("own", {NEW: held()}, quarantined="tampered with last week")
    plan = plan_heal(surveyed(own=doubted, second=site("second", {NEW: held(p1=None)})), BACKUP, NOW)
    assert [(one.site, one.doubted) for one in plan.mendings[0].files[0].sources] == [("offsite", False), ("own", True)]


def test_what_is_good_nowhere_is_lost_and_the_rest_of_the_set_is_healed_all_the_same() -> None:
    bad = {name: site(name, {NEW: held(p3=wrong(3))}) for name in ("own", "offsite")}
    seen = surveyed(**bad, second=site("second", {NEW: held(p3=None, p4=None)}))
    plan = plan_heal(seen, BACKUP, NOW)
    assert [(one.site, [file.name for file in one.files]) for one in plan.mendings] == [("second", ["part-000004.age"])]
    assert len(plan.lost) == 3
    left = remains(manifest(), [one for view in seen.sites for one in view.sets])
    assert (left.whole, left.lost, left.first_bytes) == (False, ("part-000003.age",), 203)
    assert "parts 1 to 2 of 4 (203 of 410 bytes)" in left.summary


def test_a_set_that_is_absent_comes_whole_with_its_manifest_last() -> None:
    gone = site("second", {NEW: {}})
    assert gone.sets[0].health is Health.ABSENT
    (mending,) = plan_heal(surveyed(second=gone), BACKUP, NOW).mendings
    assert [one.name for one in mending.all] == [*(part.name for part in PARTS), keys.SIGNATURE, keys.MANIFEST]


def test_a_set_that_was_let_go_is_not_brought_back() -> None:
    backup = BACKUP.model_copy(update={"retention": Retention(sets=1)})
    both = {OLD: held(), NEW: held()}
    seen = surveyed(
        own=site("own", both), second=site("second", {OLD: {}, NEW: held()}), offsite=site("offsite", both)
    ).model_copy(update={"manifests": (manifest(OLD), manifest())})
    assert plan_heal(seen, backup, NOW).mendings == ()
    assert judge_survey(seen, backup, NOW).clean
    assert [one.group for one in plan_heal(seen, BACKUP, NOW).mendings] == [OLD]


@pytest.mark.parametrize(
    ("sets", "days", "kept"), [(1, 0, {NEW}), (2, 0, {OLD, NEW}), (1, 10, {NEW}), (1, 30, {OLD, NEW})]
)
def test_a_site_is_to_hold_what_its_retention_keeps(sets: int, days: int, kept: set[str]) -> None:
    assert wanted([NEW, OLD], Retention(sets=sets, days=days), NOW) == kept


def test_a_site_without_room_is_left_out_and_told() -> None:
    seen = surveyed(second=site("second", {NEW: held(p1=None)}, free=1 << 20), own=site("own", {NEW: held(p2=None)}))
    plan = plan_heal(seen, BACKUP, NOW)
    assert [one.site for one in plan.mendings] == ["own"]
    assert "second has 1 MiB free" in plan.left_out[0]


def test_older_versions_make_what_was_overwritten_or_deleted_only_hidden() -> None:
    good = [Held(size=part.size, sha256=part.sha256, md5=part.md5, version=f"v{part.name}") for part in PARTS]
    older = {part.name: [one] for part, one in zip(PARTS, good, strict=True)}
    changes: dict[str, Held | None] = {**REWRITTEN, "p4": None}
    judged = judge_set("offsite", manifest(), held(**changes), read=True, older=older)
    assert judged.health is Health.HIDDEN
    assert judged.versions == {part.name: f"v{part.name}" for part in PARTS}
    assert judge_set("offsite", manifest(), held(**REWRITTEN), read=True, older=older).rewritten, (
        "it is told all the same"
    )
    view = SiteView(site="offsite", reached=True, sets=(judged,))
    (mending,) = plan_heal(surveyed(offsite=view), BACKUP, NOW).mendings
    assert all(one.version for one in mending.files)


def test_an_etag_that_is_no_md5_of_anything_accuses_nobody() -> None:
    listed = {part.name: Held(size=part.size, md5="9" * 32) for part in PARTS}
    older = {part.name: [Held(size=part.size, md5="8" * 32, version="v")] for part in PARTS}
    assert judge_set("offsite", manifest(), listed, read=False, older=older).health is Health.LISTED
    right = {part.name: [Held(size=part.size, md5=part.md5, version="v")] for part in PARTS}
    assert judge_set("offsite", manifest(), listed, read=False, older=right).health is Health.HIDDEN


def test_a_quarantined_site_is_neither_read_from_nor_written_to_unless_it_is_named() -> None:
    seen = surveyed(second=site("second", {NEW: held()}, quarantined="tampered"))
    assert pick_point(seen).sites == ("own", "offsite")
    assert "second is in quarantine" in pick_point(seen).passed_over
    assert pick_point(seen, wanted_sites=("second",)).sites == ("second",)
    from test_keeping import service

    assert pick_source(service(), seen, BACKUP, NEW).sites == ("own", "offsite")


def test_a_set_that_nobody_signed_is_put_aside_only_where_no_other_site_knows_it() -> None:
    forged = Finding(key=keys.MANIFEST, health=Health.TAMPERED, evidence="nobody signed it")
    evil = SetHealth(site="second", set="20261122T000000Z-evil", health=Health.TAMPERED, findings=(forged,))
    good = site("second", {NEW: held()})
    alone = good.model_copy(update={"sets": (*good.sets, evil)})
    assert plan_heal(surveyed(second=alone), BACKUP, NOW).aside == (("second", f"orders-db/sets/{evil.set}"),)
    also = site("own", {NEW: held()})
    also = also.model_copy(update={"sets": (*also.sets, evil.model_copy(update={"site": "own"}))})
    assert plan_heal(surveyed(second=alone, own=also), BACKUP, NOW).aside == ()
