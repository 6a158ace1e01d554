"""Whether a run is being executed: its process holds a file lock, which the kernel drops with the process."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recoverd.errors import Busy
from recoverd.journal import RunRow
from recoverd.settings import settings

TAKE_TIMEOUT_S = 1.0  # a probe holds the lock for microseconds; an executor holds it for the length of its run

_held: set[int] = set()


def executor_name() -> str:
    """`host:pid` of this process, as the journal names executors."""
    return f"{socket.gethostname()}:{os.getpid()}"


@contextmanager
def executing(run: str) -> Iterator[None]:
    """Hold the run's file lock for as long as this process executes it.

    Raises:
        Busy: Another process on this machine executes it.
    """
    path = _path(run)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = _take(path)
    _held.add(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still locked, so that nobody locks a file that is gone
        _held.discard(handle)
        os.close(handle)


def is_executing(run: str) -> bool:
    """Whether a process on this machine executes the run now."""
    return bool(_probe(_path(run)))


def is_alive(row: RunRow) -> bool | None:
    """Whether the run's executor lives; None when it cannot be told from here (look at the expiry of its lease).

    It cannot be told when the executor is on another machine, or has left no lock file on this one.
    """
    if row.executor is None:
        return False
    if row.executor.rpartition(":")[0] != socket.gethostname():
        return None
    return _probe(_path(row.id))


def _probe(path: Path) -> bool | None:
    """True when locked, False when a dead process left it, None when there is no such file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: probes do not see each other
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _take(path: Path) -> int:
    deadline = time.monotonic() + TAKE_TIMEOUT_S
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        if _locked(handle) and _is_at(handle, path):
            return handle
        os.close(handle)
        if time.monotonic() > deadline:
            raise Busy(f"run {path.stem} is executed by another process of this machine", f"recoverd show {path.stem}")
        time.sleep(0.01)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether the file that was locked is still the one at `path`, not one that its holder has just removed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _path(run: str) -> Path:
    return settings().home / "runs" / f"{run}.lock"


def _forget_in_child() -> None:
    """A fork shares its parent's file locks: were it to live on, a dead executor would look alive."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
