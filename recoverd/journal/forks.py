"""Databases across fork(): SQLite must have no open connection then, PostgreSQL's sockets stay the parent's.

A SQLite connection that lives through a fork leaves the child believing in file locks that only the parent holds; the
parent's last close could then remove the write-ahead log under the child. So, before a fork, operations in flight end,
idle connections are closed, and new ones wait until the fork is done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from weakref import WeakSet

QUIET_TIMEOUT_S = 5.0


class Door:
    """Counts the operations in flight, and holds new ones back while it is shut."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False
        self._mine = threading.local()

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Be counted for the length of one operation; an operation within another one is never held back."""
        with self._changed:
            if not self._own():
                self._changed.wait_for(lambda: not self._shut, timeout=2 * QUIET_TIMEOUT_S)
            self._inside += 1
        self._mine.count = self._own() + 1
        try:
            yield
        finally:
            self._mine.count = self._own() - 1
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def shut(self) -> None:
        """Keep newcomers out until `open`, and wait (with a limit) until no other thread is inside."""
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: self._inside <= self._own(), timeout=QUIET_TIMEOUT_S)

    def open(self) -> None:
        """Let operations in again."""
        with self._changed:
            self._shut = False
            self._changed.notify_all()

    def _own(self) -> int:
        return int(getattr(self._mine, "count", 0))


class Forkable(Protocol):
    """What must rest while the process forks."""

    def before_fork(self) -> None:
        """End and close what must not be shared."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Start anew, without touching what is the parent's."""


_known: WeakSet[Forkable] = WeakSet()
_resting: list[Forkable] = []
_forking = threading.Lock()  # two threads may fork at the same instant


def watch_forks(item: Forkable) -> None:
    """Have `item` told of every fork of this process."""
    _known.add(item)


def _before() -> None:
    _forking.acquire()
    _resting[:] = list(_known)
    for item in _resting:
        item.before_fork()


def _in_parent() -> None:
    for item in _resting:
        item.after_fork_in_parent()
    _resting.clear()
    _forking.release()


def _in_child() -> None:
    for item in _resting:
        item.after_fork_in_child()
    _resting.clear()
    _forking.release()  # held by the thread that forked, the only one there is now


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
