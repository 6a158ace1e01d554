"""Restored files come into their places in one rename each, also when it is broken off; and what was there comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_files_scripts import ODD, Host, fill, text
from test_scripts import run

from recoverd.backup.listed import quoted

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files back to their owners, as on a host"),
    pytest.mark.skipif(shutil.which("age") is None, reason="needs age"),
]


class Place(Host):
    """A host whose tree was packed, then spoilt, and whose set was unpacked beside."""

    def place(self, verb: str, more: str = "") -> subprocess.CompletedProcess[str]:
        body = f"STATE={self.root}/state\n" + text("files_list", "files_place").replace(
            'case "$VERB"', f'{more}\ncase "$VERB"'
        )
        return run(body, VERB=verb, WORK=str(self.work), KEEP=str(self.keep), RUN="R1", EXCLUDE="*.log")

    @property
    def keep(self) -> Path:
        return self.root / "state" / "kept"


@pytest.fixture
def host(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    fill(made.tree)
    made.pack()
    return made


def snapshot(tree: Path) -> dict[str, tuple[object, ...]]:
    """All that counts of a tree, but for the times of its directories."""
    found = {}
    for path in sorted([tree, *tree.rglob("*")]):
        stat = path.lstat()
        body = os.readlink(path) if path.is_symlink() else path.read_bytes()[:1000] if path.is_file() else b""
        time = 0 if path.is_dir() else stat.st_mtime_ns
        found[str(path)] = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_nlink if path.is_file() else 0, time, body)
    return found


def spoil(tree: Path) -> None:
    for name in ODD:
        (tree / name).write_text("spoilt")
    (tree / "setuid").unlink()
    (tree / "link").unlink()
    (tree / "link").write_text("no link any more")
    shutil.rmtree(tree / "directory")
    tree.chmod(0o700)
    (tree / "extra\n").write_text("of nobody")
    (tree / "some.log").touch()


def test_a_tree_comes_back_into_its_place_and_what_was_there_after_it(host: Place) -> None:
    before = snapshot(host.tree)
    spoil(host.tree)
    broken = snapshot(host.tree)
    host.unpack()
    said = host.place("look").stdout
    assert f"replaced={len(ODD) + 4}\nold=" in said.replace("new=2\n", "").replace("left=1\n", ""), said
    assert said.count("extra=") == 1
    assert rf"extra={host.tree}/extra\n" in said, "what is excluded is not counted"
    placed = host.place("place")
    assert placed.returncode == 0, placed.stderr
    assert set(host.place("state").stdout.split()) == {"kept=1", "placed=1", "same=1"}
    (host.tree / "extra\n").unlink()
    (host.tree / "some.log").unlink()
    assert snapshot(host.tree) == before
    assert host.place("back").returncode == 0
    (host.tree / "extra\n").write_text("of nobody")
    (host.tree / "some.log").touch()
    now = snapshot(host.tree)
    assert {name: one[:3] for name, one in now.items()} == {name: one[:3] for name, one in broken.items()}
    assert {name: one[5] for name, one in now.items()} == {name: one[5] for name, one in broken.items()}
    assert not host.keep.exists()


@pytest.mark.parametrize("after", [0, 1, 5, 9])
@pytest.mark.parametrize("during", ["keep", "install"])
def test_broken_off_in_the_middle_it_goes_on_and_keeps_only_what_was_there_first(
    host: Place, after: int, during: str
) -> None:
    before = snapshot(host.tree)
    spoil(host.tree)
    broken = {path.name: path.read_bytes() for path in host.tree.iterdir() if path.is_file() and not path.is_symlink()}
    host.unpack()
    body = """
cut() { left=$((left - 1)); [ "$left" -ge 0 ] || kill -9 $$; }
"""
    renamed = {"keep": "kept=$KEEP", "install": "above\n    coming="}[during]
    script = text("files_list", "files_place").replace(renamed, f"cut\n    {renamed}", 1)
    shell = f"STATE={host.root}/state\nleft={after}\n{body}{script}"
    cut = run(shell, VERB="place", WORK=str(host.work), KEEP=str(host.keep), RUN="R1", EXCLUDE="")
    assert cut.returncode == -9
    assert host.place("place").returncode == 0
    (host.tree / "extra\n").unlink()
    (host.tree / "some.log").unlink()
    assert snapshot(host.tree) == before
    kept = host.keep / "files" / str(host.tree)[1:]
    for name in (*ODD, "link"):
        assert (kept / name).read_bytes() == broken[name]
    assert not list(host.tree.glob(".recoverd-*"))


def test_an_undo_that_is_broken_off_while_it_clears_away_removes_nothing_else(host: Place) -> None:
    spoil(host.tree)
    before = snapshot(host.tree)
    host.unpack()
    assert host.place("place").returncode == 0
    shell = f"STATE={host.root}/state\n" + text("files_list", "files_place").replace(
        '    rm -rf "${KEEP:?}"\n}', '    rm -rf "$KEEP/files"; kill -9 $$\n}'
    )
    cut = run(shell, VERB="back", WORK=str(host.work), KEEP=str(host.keep), RUN="R1", EXCLUDE="")
    assert cut.returncode == -9
    assert host.place("back").returncode == 0
    assert {name: one[5] for name, one in snapshot(host.tree).items()} == {name: one[5] for name, one in before.items()}
    assert not host.keep.exists()


def test_a_file_that_cannot_be_written_leaves_all_as_it_was(host: Place) -> None:
    spoil(host.tree)
    before = snapshot(host.tree)
    host.unpack()
    fails = (
        'install() { case "$kind$name" in */directory/big) return 1 ;; [-hl]*) write cp -a -- "$data/$name" ;; esac; }'
    )
    placed = host.place("place", fails)
    assert placed.returncode == 1
    assert f"{host.tree}/directory/big could not be written; all of it is as it was before" in placed.stderr
    assert {name: one[:3] for name, one in snapshot(host.tree).items()} == {
        name: one[:3] for name, one in before.items()
    }
    assert {name: one[5] for name, one in snapshot(host.tree).items()} == {name: one[5] for name, one in before.items()}
    assert not host.keep.exists()


def test_one_file_alone_touches_nothing_else(host: Place) -> None:
    spoil(host.tree)
    before = snapshot(host.tree)
    host.unpack(quoted(f"{host.tree}/new\nline"))
    assert host.place("place").returncode == 0
    changed = {name for name, one in snapshot(host.tree).items() if one != before[name]}
    assert changed == {f"{host.tree}/new\nline"}
    assert (host.tree / "new\nline").read_text() == "content of new\nline"


def test_nothing_is_written_through_a_link_or_over_a_directory(host: Place) -> None:
    away = host.root / "away"
    away.mkdir()
    shutil.rmtree(host.tree / "directory")
    (host.tree / "directory").symlink_to(away)
    host.unpack(quoted(f"{host.tree}/directory/big"))
    assert f"refused={host.tree}/directory/big would be written through the link {host.tree}/directory" in (
        host.place("look").stdout
    )
    assert "would be written through the link" in host.place("place").stderr
    assert list(away.iterdir()) == []


def test_a_file_does_not_take_the_place_of_a_directory(host: Place) -> None:
    (host.tree / "empty").unlink()
    (host.tree / "empty").mkdir()
    host.unpack()
    assert f"refused={host.tree}/empty is a directory here" in host.place("look").stdout
    assert host.place("place").returncode == 1
    assert (host.tree / "empty").is_dir()
