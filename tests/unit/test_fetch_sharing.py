"""How sites share the parts of a fetch, and what a part is known by."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from test_scripts import run

from recoverd.backup.manifest import Part
from tasks.fetching import Fetch
from tasks.origins import part_bytes

PARTS = tuple(Part(name=f"part-{n:06d}.age", size=10, sha256="0" * 64, md5="0" * 32) for n in range(1, 4))
MIB = 1 << 20


def fetch(under_way: dict[int, set[str]]) -> Fetch:
    made = Fetch("orders-db", "20261126T000000Z-aaaa", "db-2", "/work", PARTS, ("own", "second"))
    made._open = {part.name: under_way[n] for n, part in enumerate(PARTS, 1) if n in under_way}
    return made


def test_while_a_part_is_under_way_from_one_site_alone_its_link_is_not_shared_with_a_part_of_another_site(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, waited = fetch({2: {"own"}, 3: {"second"}}), []

    def until_all_came(limit_s: float) -> None:
        waited.append(limit_s)
        made._open.clear()

    monkeypatch.setattr(made._turn, "wait", until_all_came)
    assert (made._next("second"), len(waited)) == (None, 1)


def test_a_site_with_nothing_else_to_do_fetches_what_a_slow_one_has_begun() -> None:
    made = fetch({2: {"own"}, 3: {"own"}})
    assert made._next("second") == PARTS[1]
    assert made._next("second") == PARTS[2]


def test_a_part_that_nobody_fetches_comes_before_one_that_is_under_way() -> None:
    assert fetch({1: {"own"}, 2: set(), 3: {"second"}})._next("second") == PARTS[1]


@pytest.mark.parametrize(("size", "expected"), [(0, MIB), (64 * MIB, MIB), (2048 * MIB, 32 * MIB), (1 << 40, 64 * MIB)])
def test_a_set_has_enough_parts_for_sites_to_share_and_none_is_larger_than_asked_for(size: int, expected: int) -> None:
    assert part_bytes(size, 64 * MIB) == expected
    assert part_bytes(size, MIB) == MIB


@pytest.mark.parametrize("with_openssl", [True, False])
def test_a_part_is_hashed_alike_with_and_without_openssl(tmp_path: Path, with_openssl: bool) -> None:
    (tmp_path / "part").write_bytes(bytes(range(256)) * 999)
    hide = "" if with_openssl else "command() { return 1; };"
    done = run(f'{hide} sha256_in <"{tmp_path}/part"')
    assert done.stdout.strip() == hashlib.sha256((tmp_path / "part").read_bytes()).hexdigest()
