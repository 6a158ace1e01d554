"""How long the questions of a look wait for an answer.

Silence is known only by waiting for it. Who has just waited the policy's whole `probe_timeout_s` in vain, from every side,
need not wait that long again: a fresh word from every side is asked for once more, and given a tenth of the time. A server
counts as silent then only if it was silent for longer than the policy says, and in two looks one after the other; any
answer to either of them shows that it lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from recoverd.connections import Reach
from tasks.views import CONTROLLER, Answer, ServiceView

CONFIRMED_WITHIN_S = 3.0
_SHARE = 0.1
LEAST_S = 0.05


@dataclass(frozen=True)
class Patience:
    """The limits of one look, in seconds.

    Attributes:
        full_s: The policy's `probe_timeout_s`.
        earlier: A look of ours that waited so long for everything, and has ended just now; None where there is none.
    """

    full_s: float
    earlier: ServiceView | None = None

    @property
    def short_s(self) -> float:
        """For who was silent for `full_s` in the earlier look."""
        return min(self.full_s, max(LEAST_S, self.full_s * _SHARE))

    def with_port(self, vantage: str, host: str) -> float:
        """How long a server's port may take to answer a vantage point."""
        return self.short_s if self._saw(vantage, host) is Reach.LOST else self.full_s

    def is_gone(self, host: str) -> bool:
        """Whether neither the server nor the SSH of a host answered the controller in the earlier look."""
        return (
            self.earlier is not None
            and self.earlier.host(host).answer is Answer.SILENT
            and self._saw(CONTROLLER, host) is Reach.LOST
        )

    def _saw(self, vantage: str, host: str) -> Reach | None:
        sights = self.earlier.sights if self.earlier is not None else ()
        return next((sight.reach for sight in sights if (sight.vantage, sight.server) == (vantage, host)), None)


def patience(full_s: float, earlier: ServiceView | None) -> Patience:
    """The limits of a look that begins now. An earlier look that is too long ago confirms nothing."""
    if earlier is None or datetime.now(timezone.utc) - earlier.at > timedelta(seconds=CONFIRMED_WITHIN_S):
        return Patience(full_s)
    return Patience(full_s, earlier)
