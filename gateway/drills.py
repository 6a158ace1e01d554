"""The keeper of drills: part of `recoverd serve`, it starts those that are due and says which are overdue."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.drills import keep_up
from gateway.paced import Paced
from recoverd.errors import RecoverdError
from recoverd.inventory import Inventory
from recoverd.journal import Journal
from recoverd.raised import open_incidents

if TYPE_CHECKING:
    from gateway.serve import Parts

EVERY_S = 60.0

log = logging.getLogger(__name__)


class DrillKeeper(Paced):
    """Looks into the journal once a minute, in a thread of its own. A background service of `recoverd serve`."""

    def __init__(self, inventory: Inventory, journal: Journal, *, every_s: float = EVERY_S) -> None:
        self._inventory, self._journal, self._every_s = inventory, journal, every_s
        self._told: set[str] = set()
        super().__init__("drills", slowest_s=5 * every_s)

    def run(self) -> None:
        """Look again and again, until stopped."""
        while not self._over.is_set():
            try:
                self.once()
                self._turned()
            except RecoverdError as error:
                log.warning("drills: %s", error)
            self._over.wait(self._every_s)

    def once(self) -> None:
        """One look."""
        for run in keep_up(self._journal, self._inventory):
            log.info("drill %s of %s started: %s", run.id, run.target, run.reason)
        for incident in open_incidents(self._journal):
            if incident.id not in self._told:
                self._told.add(incident.id)
                log.error("incident %s: %s; %s", incident.id, incident.summary, incident.hint)


def makers(inventory: Inventory) -> list[Callable[[Parts], DrillKeeper]]:
    """For `recoverd serve`: what makes the keeper, where any service is backed up."""
    return [_made] if inventory.backups else []


def _made(parts: Parts) -> DrillKeeper:
    return DrillKeeper(parts.inventory, parts.journal)
