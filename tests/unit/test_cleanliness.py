"""A host counts as clean for a scan that came to its end and found nothing since it was isolated; and for nothing less."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from recoverd.errors import Invalid
from recoverd.isolation.cleanliness import Scan, cleanliness
from tasks.scanning import as_scan, read_paths, read_scan

ISOLATED = datetime(2026, 3, 1, 12, 0, tzinfo=timezone.utc)
AT = ISOLATED + timedelta(hours=1)
STAMP = int((AT - timedelta(days=1)).timestamp())
GOOD = [
    "engine=1.4.6", "database=27500", f"database_at={STAMP}", "odd=0", "files=3", "code=0", "signatures=8000000", "scanned=3",
    "through=1",
]  # fmt: skip


def scan(**more: Any) -> Scan:
    known = {"through": True, "files": 3, "signatures": 9, "database": "27500", "database_at": AT - timedelta(days=1)}
    return Scan(**{"run": "R", "host": "web-3", "at": AT, "paths": ("/",), **known, **more})


@pytest.mark.parametrize(
    ("scans", "clean", "asks", "why"),
    [
        ([], False, False, "has not been scanned since"),
        ([scan()], True, False, "nothing found, by signatures 27500 of 2026-02-28"),
        ([scan(at=ISOLATED)], False, False, "has not been scanned since"),
        ([scan(host="web-4")], False, False, "has not been scanned since"),
        ([scan(found=("/srv/x",))], False, False, "1 file infected"),
        ([scan(found=("/srv/x",)), scan()], True, False, "nothing found"),
        ([scan(), scan(found=("/srv/x",))], False, False, "1 file infected"),
        ([scan(unread=2)], False, False, "2 files could not be read"),
        ([scan(through=False)], False, False, "did not come to its end"),
        ([scan(files=0)], False, False, ""),
        ([scan(signatures=0)], False, False, ""),
        ([scan(database_at=AT - timedelta(days=8))], False, True, "which is old: a person has to say yes"),
        ([scan(database_at=None)], False, True, "of an unknown day, which is old"),
    ],
)
def test_the_newest_scan_since_the_isolation_decides(scans: list[Scan], clean: bool, asks: bool, why: str) -> None:
    said = cleanliness(scans, "web-3", ISOLATED)
    assert (said.clean, said.asks) == (clean, asks)
    assert why in said.why


def lines(*more: str, without: str = "") -> list[str]:
    return [one for one in GOOD if not without or not one.startswith(without)] + list(more)


def test_a_scan_that_found_nothing_is_read_as_clean() -> None:
    seen = read_scan("web-3", ("/srv",), AT, GOOD)
    assert seen.problem == ""
    assert as_scan(seen, "R").clean


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (["no_clamav=1"], "there is no ClamAV on web-3"),
        (["engine=1.4.6", "no_database=1", "files=3", "code=2", "signatures=0"], "has no signatures"),
        (lines("signatures=0"), "has no signatures"),
        (["missing=/srv/x", *lines()], "/srv/x is not there"),
        (["engine=1", "database=1", "odd=0", "files=0"], "no files to scan"),
        (lines("code=124", without="through"), "did not end in time"),
        (lines("code=137", without="through"), "did not end in time"),
        (lines("code=2", "error=ERROR: Malformed database", without="through"), "failed (exit 2): ERROR: Malformed"),
        (lines("code=2", "error=ERROR: no memory"), "failed (exit 2)"),
        (lines("code=50", without="through"), "failed (exit 50)"),
    ],
)
def test_what_says_nothing_about_the_host_is_never_clean_and_says_what_to_do(said: list[str], problem: str) -> None:
    seen = read_scan("web-3", ("/srv",), AT, said)
    assert problem in seen.problem
    assert seen.hint


@pytest.mark.parametrize(
    "line",
    ["found\tTest.Evil\t/srv/x: y", "unread\t\t/srv/big", "found\tHeuristics.Limits.Exceeded.MaxFileSize\t/srv/iso"],
)
def test_what_was_found_or_only_half_read_is_not_clean(line: str) -> None:
    seen = read_scan("web-3", ("/srv",), AT, lines("code=1", line))
    assert seen.problem == ""
    assert not as_scan(seen, "R").clean
    assert [one.path for one in seen.findings] == (["/srv/x: y"] if "Evil" in line else [])


def test_paths_are_absolute_or_the_whole_host() -> None:
    assert read_paths(None) == ("/",)
    assert read_paths("/srv/,/tmp, /srv") == ("/srv", "/tmp")
    for wrong in ("srv", "/a\n/b", "/srv,../x"):
        with pytest.raises(Invalid):
            read_paths(wrong)
