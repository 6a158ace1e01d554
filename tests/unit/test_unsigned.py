"""A set that nobody signed for is held against itself on the other sites: what two have alike is told."""

from __future__ import annotations

from recoverd.backup.compare import Held
from tasks.unsigned import _compared

ONE, TWO = "part-000001.age", "part-000002.age"


def of(*hashes: str) -> dict[str, Held]:
    return {name: Held(size=1, sha256=sha) for name, sha in zip((ONE, TWO), hashes, strict=False)}


def test_what_two_sites_have_alike_is_counted_and_who_differs_is_named() -> None:
    found = _compared("20261120T000000Z-cccc", {"own": of("a", "b"), "second": of("a", "b"), "offsite": of("a", "x")})
    assert (found.parts, found.known, found.doubted) == (2, 2, ("offsite",))
    assert "signed for nowhere" in found.summary


def test_one_site_alone_agrees_with_nobody() -> None:
    found = _compared("20261120T000000Z-cccc", {"own": of("a")})
    assert (found.parts, found.known, found.doubted) == (0, 1, ())
