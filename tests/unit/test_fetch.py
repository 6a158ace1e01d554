"""Which site is asked for which part, and what is done when one fails."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from recoverd.backup.compare import Held
from recoverd.backup.manifest import Part
from recoverd.errors import RecoverdError, Tampered, Unreachable, Unsafe
from tasks import fetching, progress
from tasks.fetching import Fetch
from tasks.parts import Place

PARTS = tuple(Part(name=f"part-{n:06d}.age", size=10, sha256="0" * 64, md5="0" * 32) for n in range(1, 7))
GONE = Unreachable("second does not answer", "")
BAD = Tampered("it is not what was signed for", "")


class Sites:
    """Sites that fail as planned: by site and part, the errors of the first attempts."""

    def __init__(self, faults: dict[tuple[str, int], list[RecoverdError]]) -> None:
        self.faults, self.asked = faults, Counter[tuple[str, str]]()
        self.older: dict[str, list[Held]] = {}
        self.versions: list[str] = []

    def get(self, _service: str, site: str, place: Place, part: Part) -> None:
        self.asked[site, part.name] += 1
        self.versions += [place.version] if place.version else []
        errors = self.faults.get((site, int(part.name[5:11])), [])
        if errors:
            raise errors.pop(0)


def fetch(monkeypatch: pytest.MonkeyPatch, sites: Sites, *names: str) -> Fetch:
    said: Any = SimpleNamespace(say=lambda _words: None, journal=None, dry_run=True)
    for module in (fetching, progress):
        monkeypatch.setattr(module, "world", lambda: said)
    monkeypatch.setattr(fetching, "get", sites.get)
    monkeypatch.setattr(fetching, "_PAUSE_S", 0.001)
    monkeypatch.setattr(fetching, "the_site", lambda _service, _site: None)
    there = SimpleNamespace(older=lambda _key: sites.older)
    monkeypatch.setattr(fetching, "sites_of", lambda _service: dict.fromkeys(names, there))
    return Fetch("orders-db", "20261126T000000Z-aaaa", "db-2", "/work", PARTS, names)


def test_a_passing_fault_of_the_only_site_does_not_end_a_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fetch(monkeypatch, Sites({("own", 2): [GONE], ("own", 5): [GONE, GONE]}), "own")
    made.run(set())
    assert (made.came_from["own"], made.bad, made.away) == (6, {}, {})


def test_a_part_that_one_site_has_damaged_is_asked_of_it_once_and_comes_from_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sites = Sites({("own", number): [BAD] for number in range(1, 7)})
    made = fetch(monkeypatch, sites, "own", "second")
    made.run(set())
    assert made.came_from == Counter(second=6)
    assert max(sites.asked.values()) == 1


def test_what_kept_failing_is_said_when_nobody_has_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fetch(monkeypatch, Sites({("own", 3): [GONE] * 9}), "own")
    with pytest.raises(Unsafe, match=r"part-000003\.age .*second does not answer"):
        made.run(set())
    assert made.came_from["own"] == 5


def test_what_is_here_already_is_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = Sites({})
    fetch(monkeypatch, sites, "own").run({part.name for part in PARTS[:4]})
    assert sorted(name for _, name in sites.asked) == [part.name for part in PARTS[4:]]


def test_an_older_version_of_the_right_size_is_tried_before_the_part_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = Sites({("offsite", 2): [BAD]})
    sites.older = {"part-000002.age": [Held(size=9, version="cut"), Held(size=10, version="good")]}
    made = fetch(monkeypatch, sites, "offsite")
    made.run(set())
    assert (sites.versions, made.bad) == (["good"], {"offsite": ["part-000002.age"]}), "it is to be healed all the same"
