"""The shell of a restore's copy, on files and a PostgreSQL of its own: what died goes on, what is removed works no more."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from test_scripts import run

SCRIPTS = Path(__file__).parents[2] / "tasks/scripts"
BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql/none"))
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, as on a host"),
    pytest.mark.skipif(not (BIN / "postgres").exists(), reason="there is no PostgreSQL here"),
    pytest.mark.skipif(not shutil.which("age"), reason="there is no age here"),
]


class Work:
    """The directory of a restore."""

    def __init__(self, root: Path) -> None:
        self.root, self.work, self.data = root, root / "R1", root / "R1/data"
        subprocess.run(["age-keygen", "-o", root / "key"], check=True, capture_output=True)
        self.identity = (root / "key").read_text()

    def run(self, name: str, verb: str, **more: str) -> dict[str, str]:
        given = {
            "VERB": verb, "WORK": str(self.work), "PGDATA": str(self.root / "none"), "OS_USER": "postgres", "OWNER": "postgres",
            "BIN": str(BIN), "IDENTITY": self.identity, "STALL_S": "10", "SEGMENT_BYTES": str(1 << 20), "USED": "",
            "INTO": str(self.data), **more,
        }  # fmt: skip
        files = ("unpack_base.sh", name) if name == "unpack.sh" else (name,)
        text = "".join((SCRIPTS / file).read_text() for file in files)
        done = run(f"STATE={self.root}/state\n{text}", **given)
        assert done.returncode == 0, (done.stdout, done.stderr)
        said = [line.partition("=") for line in done.stdout.splitlines()]
        return {key: value for key, _, value in said} | {"": done.stdout, "err": done.stderr}

    def seal(self, name: str, content: bytes) -> None:
        """A file as it comes from a site."""
        packed = subprocess.run(["zstd", "-q", "-c"], input=content, capture_output=True, check=True).stdout
        to = self.root / "key.pub"
        to.write_text(next(line.split()[-1] for line in self.identity.splitlines() if "public key" in line))
        (self.work / "wal-parts").mkdir(parents=True, exist_ok=True)
        argv = ["age", "-e", "-R", to, "-o", self.work / f"wal-parts/{name}.age"]
        subprocess.run(argv, input=packed, check=True)


@pytest.fixture
def work() -> Iterator[Work]:
    root = Path(tempfile.mkdtemp(prefix="copy-"))
    root.chmod(0o755)
    made = Work(root)
    yield made
    if made.data.exists():
        made.run("scratch.sh", "stop", PGDATA=str(made.data), PORT="54329", DB_USER="postgres")
    made.run("unpack.sh", "clean")
    shutil.rmtree(root)


def until(that: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not that():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def read(work: Work, *names: str, used: str = "") -> str:
    work.run("wal.sh", "begin", NAMES="\n".join(names), USED=used)
    until(lambda: "running" not in work.run("wal.sh", "state"))
    return work.run("wal.sh", "state")["done"]


def test_wal_that_was_read_is_read_on_for_what_came_into_the_archive_since(work: Work) -> None:
    first, second, late = "000000010000000000000004", "000000010000000000000005", "00000003.history"
    for name in (first, second, late):
        work.seal(name, name.encode())
    assert read(work, first, second) == "2"
    assert read(work, late, first, second, used="00000004.history") == "3"
    assert read(work, first, second) == "2", "fewer are wanted"
    assert (work.work / "wal" / late).read_bytes() == late.encode()
    assert (work.work / "wal" / first).stat().st_size == 1 << 20
    assert (work.work / "wal/00000004.history").read_bytes() == b"", "only its number counts"


def test_what_is_removed_while_it_is_unpacked_is_gone_with_whoever_works_there(work: Work) -> None:
    work.run("unpack.sh", "begin", PARTS="2")
    assert "running" in work.run("unpack.sh", "state")
    work.run("unpack.sh", "clean")
    assert not work.work.exists()
    time.sleep(0.3)
    assert not work.work.exists(), "nobody makes it again"


def server(work: Work, verb: str, **more: str) -> dict[str, str]:
    given = {"TARGET": "", "AT_END": "", "DATABASE": "postgres", "SQL": "", "MOST_BYTES": "100000", **more}
    return work.run("scratch.sh", verb, PGDATA=str(work.data), PORT="54329", DB_USER="postgres", **given)


def copy_of_a_server(work: Work) -> None:
    """A base backup, as a set is unpacked."""
    place = work.root / "source"
    place.mkdir()
    shutil.chown(place, "postgres", "postgres")
    shutil.chown(work.work, "postgres", "postgres")
    socket = f"-c unix_socket_directories={place} -c listen_addresses="
    for argv in (
        ("initdb", "-D", place / "data", "-A", "trust", "--no-sync"),
        ("pg_ctl", "-D", place / "data", "-l", place / "log", "-s", "-w", "-o", socket, "start"),
        ("pg_basebackup", "-h", place, "-D", work.data, "-X", "fetch", "-c", "fast", "--no-sync"),
        ("pg_ctl", "-D", place / "data", "-s", "-w", "stop"),
    ):
        words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", BIN / argv[0], *argv[1:]]
        subprocess.run(words, check=True, cwd="/", stdout=subprocess.DEVNULL, timeout=60)


def has_begun(work: Work, target: str) -> bool:
    return "ending" not in server(work, "start", TARGET=target)


def test_a_scratch_server_that_died_after_its_recovery_starts_with_what_it_recovered(work: Work) -> None:
    work.work.mkdir()
    work.work.chmod(0o755)
    copy_of_a_server(work)
    recovery = "restore_command = 'false'\nrecovery_target_timeline = '1'"
    server(work, "start", TARGET=recovery)
    until(lambda: server(work, "state").get("in_recovery") == "false" and "reached" in server(work, "state"))
    before = server(work, "state")
    for target in (recovery, ""):  # the first: nobody had written down that it recovered
        pid = (work.data / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), 9)
        until(lambda: "running" not in server(work, "state"))
        until(partial(has_begun, work, target))
        until(lambda: server(work, "state").get("in_recovery") == "false")
        after = server(work, "state")
        assert (after["reached"], after["timeline"], after["recovered"]) == (before["reached"], "2", "1")
    said = server(work, "query", SQL="do $$ begin raise warning 'old collation'; end $$; select 7")
    assert (said[""].strip(), "WARNING" in said["err"], "psql ended" in said["err"]) == ("7", True, False)
    assert "psql ended with 3" in server(work, "query", SQL="select 1/0")["err"]
