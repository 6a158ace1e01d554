"""Old data that is put back goes on on a timeline of its own: when that is due, and what nobody may start meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_scripts import run

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/lib/postgresql/none"))
TEXT = (Path(__file__).parents[2] / "tasks/scripts/onward.sh").read_text()
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, as on a host")


def marked(root: Path, ours: list[str], theirs: list[str]) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What the script did, and the histories that PostgreSQL will be told of."""
    (root / "state").mkdir(exist_ok=True)
    for place, names in ((root / "data/pg_wal", ours), (root / "data.recoverd-undone-R1/pg_wal", theirs)):
        place.mkdir(parents=True, exist_ok=True)
        for name in names:
            (place / name).touch()
    done = run(f"STATE={root}/state\n{TEXT}", VERB="mark", PGDATA=f"{root}/data", OS_USER="root")
    into = root / "data/recoverd-onward"
    return done, sorted(path.name for path in into.iterdir()) if into.is_dir() else []


def test_data_that_served_meanwhile_on_a_newer_timeline_is_gone_past(tmp_path: Path) -> None:
    done, histories = marked(
        tmp_path, ["000000090000000000000004"], ["0000000B.history", "00000009.history", "0000000A0000000000000005"]
    )
    assert done.returncode == 0, done.stderr
    assert histories == ["0000000A.history", "0000000B.history"]
    assert (tmp_path / "data/recovery.signal").exists(), "nobody else starts it"
    assert marked(tmp_path, ["0000000C.history"], [])[1] == histories, "what has begun goes on"


@pytest.mark.parametrize("theirs", [[], ["00000002.history", "000000020000000000000005.partial"]])
def test_otherwise_it_starts_as_it_was(tmp_path: Path, theirs: list[str]) -> None:
    done, histories = marked(tmp_path, ["00000002.history", "000000020000000000000004"], theirs)
    assert (done.returncode, histories) == (0, [])
    assert not (tmp_path / "data/recovery.signal").exists()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's account may enter."""
    made = Path(tempfile.mkdtemp(prefix="onward-"))
    made.chmod(0o755)
    (made / "pg").mkdir()
    shutil.chown(made / "pg", "postgres", "postgres")
    yield made
    for data in (made / "pg").glob("data*"):
        as_postgres("pg_ctl", "-D", data, "-s", "-w", "-m", "immediate", "stop", check=False)
    shutil.rmtree(made)


def as_postgres(program: str, *words: object, check: bool = True) -> str:
    argv = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--", BIN / program, *words]
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, timeout=60, check=False, cwd="/"
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def start(data: Path, *options: str) -> None:
    log = data.parent / "log"
    words = " ".join((f"-c unix_socket_directories={data.parent} -c listen_addresses=", *options))
    as_postgres("pg_ctl", "-D", data, "-l", log, "-s", "-w", "-o", words, "start")


def asked(data: Path, sql: str, *, port: int = 5432) -> str:
    return as_postgres("psql", "-h", data.parent, "-p", port, "-XAtc", sql, "postgres")


def until(that: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not that():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def timeline(data: Path) -> str:
    out = as_postgres("pg_controldata", "-D", data)
    return next(line.split()[-1] for line in out.splitlines() if line.startswith("Latest checkpoint's TimeLineID"))


@pytest.mark.postgres
@pytest.mark.skipif(not (BIN / "postgres").exists(), reason="there is no PostgreSQL here")
@pytest.mark.parametrize("stop", ["fast", "immediate"])
def test_it_keeps_every_row_and_its_standby_and_parts_past_all_timelines_that_served_meanwhile(
    place: Path, stop: str
) -> None:
    data, other, standby = place / "pg/data", place / "pg/data.recoverd-undone-R1", place / "pg/data-2"
    as_postgres("initdb", "-D", data, "-A", "trust", "--no-sync")
    start(data)
    asked(data, "create table kept (id int)")
    as_postgres("pg_basebackup", "-D", standby, "-R", "-h", data.parent, "-c", "fast", "--no-sync")
    as_postgres("pg_ctl", "-D", data, "-s", "-w", "stop")
    subprocess.run(["cp", "-a", data, other], check=True)
    for _ in range(2):
        (other / "recovery.signal").touch()
        start(other, "-c restore_command=false", "-c recovery_target_timeline=latest")
        until(lambda: asked(other, "select pg_is_in_recovery()") == "f")
        asked(other, "drop table if exists kept; checkpoint")
        as_postgres("pg_ctl", "-D", other, "-s", "-w", "stop")
    start(data)
    asked(data, "insert into kept select generate_series(1, 1000)")
    as_postgres("pg_ctl", "-D", data, "-s", "-w", "-m", stop, "stop")
    (place / "state").mkdir()
    for verb in ("mark", "go", "go", "mark"):
        done = run(
            f"STATE={place}/state\n{TEXT}", VERB=verb, PGDATA=str(data), OS_USER="postgres", BIN=str(BIN),
            LOG_FILE=f"{place}/pg/log", CONFIG_FILE="", TIMEOUT_S="15",
        )  # fmt: skip
        assert done.returncode == 0, (verb, done.stderr, (place / "pg/log").read_text())
    assert (timeline(other), timeline(data)) == ("3", "4")
    assert not (data / "recovery.signal").exists()
    assert not (data / "recoverd-onward").exists(), "the last mark found nothing to go past"
    start(data)
    start(standby, "-c port=5433")
    asked(data, "insert into kept values (1001)")
    until(lambda: asked(data, "select count(*) from pg_stat_replication where state = 'streaming'") == "1")
    until(lambda: asked(standby, "select count(*) from kept", port=5433) == "1001")
