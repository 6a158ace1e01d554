"""The shell that runs on hosts, as /bin/sh here runs it: what must hold whatever the host looks like."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.hosts import script


def run(text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The text after the prelude, framed as recoverd/connections/ssh.py frames it."""
    given = {"SERVICE": "orders-db", "OS_USER": "postgres", "PGDATA": "/nonexistent", "EPOCH": "1", **variables}
    settings = "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
    prelude = script("guard").removesuffix((Path(__file__).parents[2] / "tasks/scripts/guard.sh").read_text())
    body = f"{settings}main() {{\n:\n{prelude}\n{text}\n}}\nmain </dev/null\n"
    return subprocess.run(["/bin/sh", "-s"], input=body, capture_output=True, text=True, timeout=20, check=False)


@contextmanager
def server_in(directory: Path) -> Iterator[int]:
    """Something that looks like a postmaster: it works in the data directory, which has its process id."""
    with subprocess.Popen(["/bin/sleep", "60"], cwd=directory) as process:
        (directory / "postmaster.pid").write_text(f"{process.pid}\n")
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("path", ["real/main", "real/main/", "link/main", "linked-main"])
def test_a_server_is_seen_by_whatever_path_the_inventory_names_its_data_directory(tmp_path: Path, path: str) -> None:
    real = tmp_path / "real" / "main"
    real.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "linked-main").symlink_to(real)
    with server_in(real) as process:
        said = run("postmaster_pid; server_pids", PGDATA=f"{tmp_path}/{path}")
    assert said.stdout.split() == [str(process), str(process)], said.stderr


def test_a_server_whose_data_directory_is_gone_still_counts(tmp_path: Path) -> None:
    real = tmp_path / "main"
    real.mkdir()
    with server_in(real) as process:
        (real / "postmaster.pid").unlink()
        real.rmdir()
        assert run("server_pids", PGDATA=str(real)).stdout.split() == [str(process)]


def test_the_lock_file_of_a_server_that_runs_is_never_removed(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    with server_in(tmp_path):
        lock.write_text("1\n")  # whatever it names: somebody works in the data directory
        assert run("drop_stale_lock", PGDATA=str(tmp_path)).returncode == 0
        assert lock.exists()


@pytest.mark.parametrize("left", ["", "4711\n"])
def test_a_lock_file_that_nobody_uses_any_more_goes_with_the_one_of_its_socket(tmp_path: Path, left: str) -> None:
    data, sockets = tmp_path / "data", tmp_path / "sockets"
    data.mkdir()
    sockets.mkdir()
    lock, mine, other = data / "postmaster.pid", sockets / ".s.PGSQL.5432.lock", sockets / ".s.PGSQL.5433.lock"
    rest = f"{data}\n1700000000\n5432\n{sockets}\n*\n  1700000    999999\nready\n"
    lock.write_text(left and left + rest)  # a power cut can leave it empty
    mine.write_text("4711\n" + rest)
    other.write_text(f"4711\n/other\n1700000000\n5433\n{sockets}\n")
    assert run("drop_stale_lock", PGDATA=str(data)).returncode == 0
    assert not lock.exists()
    assert mine.exists() is (left == "")
    assert other.exists()


def test_a_lock_file_whose_shared_memory_somebody_still_has_is_left_to_postgresql(tmp_path: Path) -> None:
    lock = tmp_path / "postmaster.pid"
    with attached_memory(1700000) as memory:
        lock.write_text(f"4711\n{tmp_path}\n1700000000\n5432\n{tmp_path}\n*\n  1700000 {memory:9d}\nready\n")
        run("drop_stale_lock", PGDATA=str(tmp_path))
        assert lock.exists()
    run("drop_stale_lock", PGDATA=str(tmp_path))
    assert not lock.exists()


@contextmanager
def attached_memory(key: int) -> Iterator[int]:
    """The id of a System V shared memory segment that this process is attached to."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    libc.shmdt.argtypes = [ctypes.c_void_p]
    memory = libc.shmget(key, 4096, 0o1600)  # IPC_CREAT
    assert memory >= 0, os.strerror(ctypes.get_errno())
    place = libc.shmat(memory, None, 0)
    try:
        yield memory
    finally:
        libc.shmdt(place)
        libc.shmctl(memory, 0, None)  # IPC_RMID


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_who_may_not_see_the_server_does_not_say_that_it_is_stopped() -> None:
    blind = subprocess.run(
        ["/bin/sh", "-s"], input=f"OS_USER=postgres PGDATA=/nonexistent\nmain() {{\n{script('observe')}\n}}\nmain\n",
        user="nobody", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (blind.returncode, "postmaster=" in blind.stdout) == (1, False)
    assert "cannot be seen" in blind.stderr


def test_the_guard_goes_on_or_says_so_where_its_directory_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "orders-db.lock").mkdir()  # cannot be opened for writing, even by root
    state = f"STATE={tmp_path}/state\n"
    fence = run(f"{state}guard 0 || true\necho went on")
    assert (fence.returncode, fence.stdout.strip()) == (0, "went on")
    change = run(f"{state}guard || return $?\necho changed")
    assert (change.returncode, change.stdout) == (96, "")
