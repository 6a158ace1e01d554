"""How far a fetch is: bytes, rate, time left. In the record, for whoever follows a run; in Prefect; throttled."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from recoverd.errors import RecoverdError
from recoverd.world import world

EVERY_S = 2.0
"""So often at most: a fetch has thousands of parts, and a record is read by people."""


@dataclass
class Progress:
    """The state of one fetch, as it is told. Threads may call it; only one of them tells, and none waits for it.

    Attributes:
        what: What is fetched.
        parts: How many parts.
        size: Bytes of all of them.
    """

    what: str
    parts: int
    size: int
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0
    _parts: int = 0
    _size: int = 0
    _artifact: Any = None
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def came(self, size: int, words: str) -> None:
        """A part has come."""
        with self._counting:
            self._parts += 1
            self._size += size
            now = time.monotonic()
            if now - self._told < EVERY_S and self._parts < self.parts:
                return
            self._told = now
            line = f"{self.line(now - self._began)} (last: {words})"
        if not self._telling.acquire(blocking=False):
            return
        try:
            world().say(line)
            self._note(line)
            self._show(line)
        finally:
            self._telling.release()

    def line(self, seconds: float) -> str:
        """Bytes, rate and time left, after so many seconds."""
        rate = self._size / max(seconds, 1e-3)
        left = (self.size - self._size) / rate if rate else 0.0
        share = 100 * self._size // self.size if self.size else 100
        return (
            f"{self.what}: {self._size >> 20} of {self.size >> 20} MiB ({share} %), {self._parts} of {self.parts} files, "
            f"{rate / 1e6:.1f} MB/s, {left:.0f} s left"
        )

    def _note(self, line: str) -> None:
        here = world()
        if here.journal is None or here.dry_run:
            return
        body = {"title": f"fetch {self.what}", "summary": line, "bytes": self._size, "of": self.size}
        try:
            here.journal.append("step.progress", who="recoverd", run=here.run.id, body=body)
        except RecoverdError:
            return  # the next one may be written; nothing depends on it

    def _show(self, line: str) -> None:
        """As a progress artifact of the Prefect flow run, where there is one; it must not hold anything up."""
        if "prefect" not in sys.modules:
            return
        from prefect.context import FlowRunContext

        if FlowRunContext.get() is None:
            return
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        share = 100.0 * self._size / self.size if self.size else 100.0
        try:
            if self._artifact is None:
                self._artifact = create_progress_artifact(progress=share, key="recoverd-fetch", description=line)
            else:
                update_progress_artifact(artifact_id=self._artifact, progress=share, description=line)
        except Exception as error:  # noqa: BLE001  # Prefect is away: the fetch goes on without being drawn
            world().say(f"Prefect is not told how far it is: {type(error).__name__}")
