"""The one promise above all: never two servers that accept writes. Asked of each server directly, from inside."""

from __future__ import annotations

import threading
from types import TracebackType

from lab.layout import Layout
from lab.roles import writers


class Guard:
    """Watches in the background, every `interval_s`, that no two servers accept writes.

    with Guard(lab.layout) as guard: ...
    assert not guard.violations

    Leaving the `with` raises what kept the guard from looking: a guard that fell asleep proves nothing.
    """

    def __init__(self, layout: Layout, *, interval_s: float = 0.1) -> None:
        self.layout = layout
        self.interval_s = interval_s
        self.looks = 0
        self.violations: list[tuple[str, ...]] = []
        self._failure: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lab-guard", daemon=True)

    def __enter__(self) -> Guard:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        if error is None and self._failure is not None:
            raise self._failure

    def _watch(self) -> None:
        try:
            while not self._stop.wait(self.interval_s):
                self._look()
        except Exception as error:  # noqa: BLE001 - raised again where the guard is left
            self._failure = error

    def _look(self) -> None:
        found = writers(self.layout)
        self.looks += 1
        if len(found) > 1 and len(again := writers(self.layout)) > 1:
            # Asked one after the other, an orderly switch could look like two: it does not twice.
            self.violations.append(again)
