"""A background service of `recoverd serve` that does the same again and again, in a thread of its own."""

from __future__ import annotations

import threading
import time

_END_WITHIN_S = 10.0


class Paced:
    """Begins, ends, and says whether it keeps its pace. A subclass has `run`, which goes on until `_over` is set.

    Args:
        name: Of the service and its thread.
        slowest_s: So long a turn may take at most; one that hangs is not ready.
    """

    def __init__(self, name: str, slowest_s: float) -> None:
        self.name, self._slowest_s = name, slowest_s
        self._over = threading.Event()
        self._turned_at = 0.0
        self._thread = threading.Thread(target=self.run, name=name, daemon=True)

    def run(self) -> None:
        """Turn again and again, until stopped; notes each turn by `_turned`."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin."""
        self._turned()
        self._thread.start()

    def stop(self) -> None:
        """End; a turn under way ends by its own limits."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_WITHIN_S)

    def ready(self) -> bool:
        """Whether it takes its turns at its pace."""
        return self._thread.is_alive() and time.monotonic() - self._turned_at < self._slowest_s

    def _turned(self) -> None:
        self._turned_at = time.monotonic()
