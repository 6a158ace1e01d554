"""What a spare knows of a service before its run comes: for how long its primary has been silent.

While all is well it costs an empty statement over each session that is open. When a session falls silent or breaks, the
spare looks from every side, as a run would, and again and again while no primary answers: at first without much of a pause,
later at the pace at which connections are refreshed. Nothing is decided here. The newest look, if it found the primary dead,
is what the first look of the run confirms.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from flows.verdict import Verdict, judge
from recoverd.connections import Connections
from tasks.views import ServiceView

PAUSE_S = 1.0  # a look takes half a second or so, and the newest one must not be older than tasks/patience.py allows
KEEN_FOR_S = 120.0
CALM_FOR_S = 5.0  # an overloaded server that misses its word again and again is not looked at all the time


class Vigil:
    """Over the sessions of one service.

    Args:
        service: Its name.
        connections: Where its sessions are kept.
        word_s: How long an empty statement may take.
        slow_s: Seconds between two looks once the primary has been gone for two minutes.
        look: Looks from every side with the policy's whole patience.
    """

    def __init__(
        self, service: str, connections: Connections, word_s: float, slow_s: float, look: Callable[[], ServiceView]
    ) -> None:
        self.service = service
        self._connections, self._word_s, self._slow_s, self._look = connections, word_s, slow_s, look
        self._odd_since: float | None = None
        self._look_at = 0.0
        self.dead: ServiceView | None = None

    @property
    def due_s(self) -> float | None:
        """Seconds until the next look; None while there is none to come."""
        return None if self._odd_since is None else max(0.0, self._look_at - time.monotonic())

    def watch(self) -> None:
        """One turn: ask for a word, and look where somebody does not give it."""
        if self._odd_since is None and self._connections.fallen(self.service, self._word_s):
            self._odd_since = time.monotonic()
        if self.due_s == 0:
            self._look_at = time.monotonic() + PAUSE_S  # also where the look fails
            self.see(self._look())

    def see(self, view: ServiceView) -> None:
        """Take what was seen, and settle when to look again."""
        now = time.monotonic()
        self.dead = view if judge(view).verdict is Verdict.DEAD else None
        if view.primaries:
            self._odd_since, self._look_at = None, now + CALM_FOR_S
            return
        self._odd_since = now if self._odd_since is None else self._odd_since
        self._look_at = now + (PAUSE_S if now - self._odd_since < KEEN_FOR_S else self._slow_s)
