"""Scanning and putting into quarantine by the shell that runs on hosts: never "clean" without a scan, and every way leads back."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from private_host_kit import NEEDS_ROOT, PrivateHost

pytestmark = [NEEDS_ROOT, pytest.mark.skipif(shutil.which("clamscan") is None, reason="needs ClamAV")]
EVIL = b"#!/bin/sh\n# evil payload for tests\nsleep 1000\n"
SHOW = "cd /srv && find . -type f ! -path './db/*' -printf '%p %m %U:%G %s %T@ %n\\n' | sort\n"
BEACON = "/srv/www/beacon"


@pytest.fixture
def host(tmp_path: Path) -> PrivateHost:
    made = PrivateHost(tmp_path)
    srv = tmp_path / "srv"
    (srv / "db").mkdir()
    (srv / "www/a b").mkdir(parents=True)
    (srv / "db/test.hsb").write_text(f"{hashlib.sha256(EVIL).hexdigest()}:{len(EVIL)}:Test.Evil\n")
    for name in ("www/beacon", "www/a b/ünï: x FOUND"):
        (srv / name).write_bytes(EVIL)
        (srv / name).chmod(0o4755)
    (srv / "www/fine").write_text("fine\n")
    return made


def scan(host: PrivateHost, before: str = "", **more: str) -> list[str]:
    given = {"VERB": "scan", "PATHS": "/srv/www", "DATABASE": "/srv/db", "LIMIT_S": "60", "ENGINE": "clamscan", **more}
    done = host.run("scan", before, **given)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def call(
    host: PrivateHost, verb: str, *files: str, before: str = "", after: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    given = {"VERB": verb, "FILES": "\n".join(files), "TURN": "1", **more}
    return host.run("quarantine", before, after, **given)


def test_what_the_signatures_know_is_found_whatever_it_is_called(host: PrivateHost) -> None:
    said = scan(host)
    assert "found\tTest.Evil.UNOFFICIAL\t/srv/www/beacon" in said
    assert "found\tTest.Evil.UNOFFICIAL\t/srv/www/a b/ünï: x FOUND" in said
    assert {"code=1", "files=3", "scanned=3", "signatures=1", "through=1", "odd=0"} <= set(said)
    assert any(line.startswith("database=sha256:") for line in said)
    assert any(line.startswith("database_at=") for line in said)


def test_a_name_with_a_line_break_cannot_accuse_another_file(host: PrivateHost) -> None:
    liar = host.root / "srv/www/x\n"
    liar.mkdir()
    (liar / "srv").mkdir()
    (liar / "srv/fine: Test.Evil FOUND").write_bytes(EVIL)
    said = scan(host)
    assert "odd=1" in said
    assert not any("fine" in line for line in said)


@pytest.mark.parametrize(
    ("more", "wanted"),
    [
        ({"DATABASE": "/srv/empty"}, "no_database=1"),
        ({"PATHS": "/srv/nothing"}, "missing=/srv/nothing"),
        ({"PATHS": "/srv/bare"}, "files=0"),
    ],
)
def test_a_scan_that_could_not_look_says_so(host: PrivateHost, more: dict[str, str], wanted: str) -> None:
    for name in ("empty", "bare"):
        (host.root / "srv" / name).mkdir()
    said = scan(host, **more)
    assert wanted in said
    assert "code=0" not in said


def test_without_clamav_the_host_says_so(host: PrivateHost) -> None:
    assert scan(host, before="mount --bind /dev/null /usr/bin/clamscan") == ["no_clamav=1"]


def test_files_go_into_quarantine_and_come_back_exactly(host: PrivateHost) -> None:
    shutil.chown(host.root / "srv/www/beacon", 33, 33)
    (host.root / "srv/www/beacon").chmod(0o4750)
    (host.root / "srv/www/twin").hardlink_to(host.root / "srv/www/beacon")
    files = (BEACON, "/srv/www/twin", "/srv/www/a b/ünï: x FOUND")
    before = host.sh(SHOW).stdout
    taken = call(host, "take", *files)
    assert taken.returncode == 0, taken.stderr
    assert call(host, "take", *files).returncode == 0, "as a run does that goes on after a kill"
    said = call(host, "state", *files).stdout
    assert said.count("moved\t") == 3, said
    quarantine = host.root / "srv/.recoverd-quarantine"
    assert quarantine.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o7777 for path in quarantine.iterdir()} == {0}
    assert {line for line in scan(host) if line.startswith("found")} == set()
    done = call(host, "back")
    assert done.returncode == 0, done.stderr
    assert host.sh(SHOW).stdout == before
    assert not quarantine.exists()
    assert not (host.root / "state/quarantine").exists()


def test_a_take_that_was_killed_before_the_move_still_knows_what_the_file_was(host: PrivateHost) -> None:
    before = host.sh(SHOW).stdout
    stuck = "mkdir -m 700 /srv/.recoverd-quarantine; mount -t tmpfs -o ro,mode=700 none /srv/.recoverd-quarantine\n"
    assert call(host, "take", BEACON, before=stuck).returncode == 1
    assert "there\t" in call(host, "state", BEACON).stdout
    assert call(host, "take", BEACON).returncode == 0
    assert call(host, "back").returncode == 0
    assert host.sh(SHOW).stdout == before


@pytest.mark.parametrize("started", [f"{BEACON} &", f"cd /srv/www && python3 beacon.py & cd /; {BEACON} &"])
def test_what_runs_from_a_file_ends_with_it_and_nothing_else(host: PrivateHost, started: str) -> None:
    (host.root / "srv/www/beacon.py").write_text("import time\ntime.sleep(1000)\n")
    files = (BEACON, "/srv/www/beacon.py")
    before = f"{started}\nsleep 999 & other=$!\nsleep 0.3\n"
    after = "sleep 0.1; echo left:$(ps -eo args= | grep -c '[b]eacon') other:$(kill -0 $other && echo alive)\n"
    done = call(host, "take", *files, before=before, after=after)
    assert "left:0 other:alive" in done.stdout, done.stdout + done.stderr
    assert "ended\t" in call(host, "state", *files).stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (f"echo new > {BEACON}", "there is a new /srv/www/beacon"),
        ("rm -r /srv/www", "the directory of /srv/www/beacon is gone"),
        ("rm /srv/.recoverd-quarantine/*", "what was kept of /srv/www/beacon is gone"),
        (
            "for one in /srv/.recoverd-quarantine/*; do echo x >>$one; done",
            "what was kept of /srv/www/beacon is not what was put there",
        ),
    ],
)
def test_nothing_comes_back_where_somebody_changed_it_since(host: PrivateHost, change: str, why: str) -> None:
    assert call(host, "take", BEACON).returncode == 0
    assert host.sh(change).returncode == 0
    before = host.sh(SHOW).stdout
    done = call(host, "back")
    assert done.returncode == 1
    assert why in done.stderr
    assert host.sh(SHOW).stdout == before


def test_what_the_host_is_reached_by_and_what_a_package_brought_stays(host: PrivateHost) -> None:
    files = ("/bin/sh", "/usr/sbin/sshd", "/usr/bin/zstd", "/srv/www/nothing")
    done = call(host, "take", *files)
    assert done.returncode == 0, done.stderr
    said = call(host, "state", *files).stdout
    assert "left\tthis host is reached by it" in said
    assert "left\tit is as its package zstd brought it" in said
    assert "gone\t\t/srv/www/nothing" in said
    assert "moved\t" not in said
