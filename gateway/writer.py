"""One thread that writes to the journal for many: requests that wait at the same time share one commit to disk.

Each gets its answer only after the commit that holds it. The event loop never waits for the disk.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from recoverd.errors import TryAgain
from recoverd.journal import Journal, Transaction

MOST_WAITING = 512
"""Requests that may wait for the disk before senders that try again are turned away."""

MOST_AT_ONCE = 64
"""Requests in one transaction: others who want to write, in other processes, get their turn between two of them."""

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    work: Callable[[Transaction], Any]
    future: Future[Any]


class Writer:
    """A background service that runs functions in journal transactions, several in one where several wait."""

    name = "intake writer"

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Write what waits, then end."""
        with self._guard:
            thread, self._thread = self._thread, None
            self._waiting.put(None)
        if thread is not None:
            thread.join(timeout_s)

    def ready(self) -> bool:
        """Whether it writes."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """How many requests wait for the disk."""
        return self._waiting.qsize()

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Have `work` run in a transaction; its future is done when that is on disk.

        `work` must do nothing but use the transaction: it runs again, alone, if another one in its transaction fails.

        Raises:
            TryAgain: The writer is not running.
        """
        future: Future[T] = Future()
        with self._guard:
            if not self.ready():
                raise TryAgain("the alert intake is not running", "send the alert again in a moment")
            self._waiting.put(_Job(work, future))
        return future

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, last = self._with_others(first)
            self._write([job for job in batch if job.future.set_running_or_notify_cancel()])
            if last:
                return

    def _with_others(self, first: _Job) -> tuple[list[_Job], bool]:
        batch = [first]
        while len(batch) < MOST_AT_ONCE:
            try:
                other = self._waiting.get_nowait()
            except queue.Empty:
                break
            if other is None:
                return batch, True
            batch.append(other)
        return batch, False

    def _write(self, batch: list[_Job]) -> None:
        try:
            with self._journal.transaction() as tx:
                results = [job.work(tx) for job in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the one who waits for the answer
            if len(batch) > 1:
                log.warning("a transaction of %d requests failed (%s); each is written alone", len(batch), error)
                for job in batch:
                    self._write([job])
            elif batch:
                batch[0].future.set_exception(error)
            return
        for job, result in zip(batch, results, strict=True):
            job.future.set_result(result)
