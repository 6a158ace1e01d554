"""The keeper of deadlines: part of `recoverd serve`, it releases containments whose time is over."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from deployments.containments import keep_time
from gateway.paced import Paced
from recoverd.errors import RecoverdError
from recoverd.journal import Journal

if TYPE_CHECKING:
    from gateway.serve import Parts

EVERY_S = 5.0

log = logging.getLogger(__name__)


class ContainmentKeeper(Paced):
    """Looks into the journal every few seconds, in a thread of its own. A background service of `recoverd serve`."""

    def __init__(self, journal: Journal, *, every_s: float = EVERY_S) -> None:
        self._journal, self._every_s = journal, every_s
        super().__init__("containments", slowest_s=60 + 5 * every_s)

    def run(self) -> None:
        """Look again and again, until stopped."""
        while not self._over.is_set():
            try:
                for run in keep_time(self._journal):
                    log.info("run %s on %s started: %s", run.id, run.target, run.reason)
                self._turned()
            except RecoverdError as error:
                log.warning("containments: %s", error)
            self._over.wait(self._every_s)


def made(parts: Parts) -> ContainmentKeeper:
    """For `recoverd serve`."""
    return ContainmentKeeper(parts.journal)
