"""The keeper of isolated hosts: part of `recoverd serve`, it looks again whether they are still cut off."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deployments.wards import look_again, note_looks, watched
from gateway.paced import Paced
from recoverd.errors import RecoverdError
from recoverd.inventory import Inventory
from recoverd.journal import Journal

if TYPE_CHECKING:
    from gateway.serve import Parts

EVERY_S = 5.0
SLOWEST_LOOK_S = 300.0

log = logging.getLogger(__name__)


class WardKeeper(Paced):
    """Looks at each host as often as its zone says, in a thread of its own. A background service of `recoverd serve`."""

    def __init__(self, inventory: Inventory, journal: Journal, *, every_s: float = EVERY_S) -> None:
        self._inventory, self._journal, self._every_s = inventory, journal, every_s
        self._looked: dict[tuple[str, str], float] = {}
        super().__init__("isolated hosts", slowest_s=SLOWEST_LOOK_S + 5 * every_s)

    def run(self) -> None:
        """Look again and again, until stopped."""
        while not self._over.is_set():
            try:
                self.once()
                self._turned()
            except RecoverdError as error:
                log.warning("isolated hosts: %s", error)
            self._over.wait(self._every_s)

    def once(self) -> None:
        """Look at those whose time it is."""
        wards, now = watched(self._journal), time.monotonic()
        due = {host: ward for host, ward in wards.items() if self._is_due(host, ward.run, now)}
        self._looked = {(host, ward.run): self._looked.get((host, ward.run), now) for host, ward in wards.items()}
        self._looked |= {(host, ward.run): now for host, ward in due.items()}
        open_ = look_again(due, self._inventory) if due else {}
        for line in note_looks(self._journal, due, open_):
            log.error("%s", line)

    def _is_due(self, host: str, run: str, now: float) -> bool:
        """A new one waits for its first turn: it has been looked at just now, by the run that isolated it."""
        since = self._looked.get((host, run))
        return since is not None and now - since >= self._inventory.zone_of(host).recheck_s


def made(parts: Parts) -> WardKeeper:
    """For `recoverd serve`."""
    return WardKeeper(parts.inventory, parts.journal)
