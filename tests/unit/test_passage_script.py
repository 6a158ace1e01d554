"""The file by which an account lets people in is theirs too: recoverd adds and takes its own line, and nothing else changes."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
from pathlib import Path

import pytest

from tasks.hosts import script

BODY = (Path(__file__).parents[2] / "tasks/scripts/passage.sh").read_text()
OTHERS = [f"ssh-ed25519 AAAA{n:060d} admin-{n}" for n in range(8)] + ["ssh-ed25519 AAAA recoverd-wal-orders-db"]


def passage(place: Path, verb: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """The script with its state and the account's home below `place`."""
    prelude = script("passage").removesuffix(BODY)
    given = (
        f"SERVICE=orders-db OS_USER=root PGDATA=/nonexistent EPOCH=1 VERB={verb} PASSAGE=wal-orders LOGIN={getpass.getuser()}\n"
        f"BECOME=0 SITE={place}/site ARCHIVE=orders PUBLIC='ssh-ed25519 AAAAnew recoverd-wal-orders'\n"
    )
    home = f'STATE={place}/state\ngetent() {{ echo "x:x:0:0:x:{place}:/bin/sh"; }}\nmkdir -p $STATE/passage\n'
    text = f"{given}main() {{\n:\n{prelude}\n{home}\n{before}\n{BODY}\n}}\nmain </dev/null\n"
    return subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, timeout=20, check=False)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / ".ssh" / "authorized_keys"
    file.parent.mkdir()
    file.write_text("\n".join(OTHERS))  # without a newline at its end, as people leave it
    return file


def test_a_way_is_let_in_and_taken_away_among_the_keys_of_others(tmp_path: Path, keys: Path) -> None:
    for _ in range(2):
        assert passage(tmp_path, "let").returncode == 0
    found = keys.read_text().splitlines()
    assert found[:-1] == OTHERS
    assert found[-1].endswith("ssh-ed25519 AAAAnew recoverd-wal-orders")
    assert keys.stat().st_mode & 0o777 == 0o600
    assert passage(tmp_path, "ask").stdout.strip() == "let=1"
    assert passage(tmp_path, "drop").returncode == 0
    assert keys.read_text().splitlines() == OTHERS


@pytest.mark.parametrize("verb", ["let", "drop"])
def test_on_a_disk_that_takes_no_more_nobody_loses_a_key(tmp_path: Path, keys: Path, verb: str) -> None:
    if verb == "drop":
        assert passage(tmp_path, "let").returncode == 0
    before = keys.read_bytes()
    (tmp_path / "state/passage").mkdir(parents=True, exist_ok=True)
    done = passage(tmp_path, verb, before="trap '' XFSZ; ulimit -f 0")
    assert done.returncode != 0, done.stdout
    assert "could not be written" in done.stderr
    assert keys.read_bytes() == before
    assert [one.name for one in keys.parent.iterdir()] == ["authorized_keys"]


def asked_of_the_door(place: Path, asked: str, content: bytes) -> int:
    """What the door says to the bearer of a passage."""
    door = place / "state/passage/wal-orders.sh"
    done = subprocess.run(
        ["/bin/sh", door, place / "site", "orders", asked], input=content, capture_output=True, check=False
    )
    return done.returncode


def test_the_bearer_of_a_passage_cannot_replace_what_is_there(tmp_path: Path, keys: Path) -> None:
    assert passage(tmp_path, "let").returncode == 0
    good, other = (hashlib.sha256(content).hexdigest() for content in (b"good", b"other"))
    assert asked_of_the_door(tmp_path, f"put orders/sets/a/part {good}", b"good") == 0
    assert asked_of_the_door(tmp_path, f"put orders/sets/a/part {good}", b"good") == 0, "the same again is no harm"
    assert asked_of_the_door(tmp_path, f"put orders/sets/a/part {other}", b"other") == 13
    assert asked_of_the_door(tmp_path, f"put orders/sets/a/next {good}", b"other") == 10
    assert {one.name: one.read_bytes() for one in (tmp_path / "site/orders/sets/a").iterdir()} == {"part": b"good"}


@pytest.mark.parametrize("verb", ["get", "put"])
@pytest.mark.parametrize("key", ["shop/sets/a/part", "orders", "orders-old/x", "orders/../shop/x", "/etc/shadow"])
def test_the_bearer_of_a_passage_reaches_nothing_of_another_archive(
    tmp_path: Path, keys: Path, verb: str, key: str
) -> None:
    assert passage(tmp_path, "let").returncode == 0
    assert f" {tmp_path}/site orders " in keys.read_text().splitlines()[-1]
    (tmp_path / "site/shop/sets/a").mkdir(parents=True)
    (tmp_path / "site/shop/sets/a/part").write_bytes(b"theirs")
    assert asked_of_the_door(tmp_path, f"{verb} {key} {hashlib.sha256(b'mine').hexdigest()}", b"mine") == 12
    assert [one.name for one in (tmp_path / "site").rglob("*") if one.is_file()] == ["part"]


def moved(place: Path, content: bytes) -> subprocess.CompletedProcess[str]:
    """A file put to a site on the same host."""
    (place / "file").write_bytes(content)
    given = (
        f"SERVICE=s OS_USER=root PGDATA=/nonexistent EPOCH=1 VERB=put WAY=file FILE={place}/file SITE={place}/site KEY=s/x\n"
        f"SHA256={hashlib.sha256(content).hexdigest()} SIZE=4 LIMIT_S=9 TAG=own PASSAGE=p\n"
    )
    body = (Path(__file__).parents[2] / "tasks/scripts/move.sh").read_text()
    prelude = script("move").removesuffix(body)
    text = f"{given}main() {{\n:\n{prelude}\nSTATE={place}/state\n{body}\n}}\nmain </dev/null\n"
    return subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, timeout=20, check=False)


def test_on_its_own_host_a_site_is_not_overwritten_either(tmp_path: Path) -> None:
    assert moved(tmp_path, b"good").returncode == 0
    assert moved(tmp_path, b"good").returncode == 0
    done = moved(tmp_path, b"other")
    assert done.returncode == 13
    assert "holds other bytes" in done.stderr
    assert [(one.name, one.read_bytes()) for one in (tmp_path / "site/s").iterdir()] == [("x", b"good")]
