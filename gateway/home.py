"""The home directory of an installation belongs to one `recoverd serve` at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recoverd.errors import Busy


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Hold the home directory. The kernel gives it back when this process dies, however it dies.

    Raises:
        Busy: Another process holds it.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(home / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise Busy(
                f"another recoverd serve (process {holder}) works in {home}",
                "stop that one first, or give this one a home of its own with RECOVERD_HOME",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
