"""What a spare process does while it waits: it keeps connections to the hosts of the inventory open and proven, and
watches whether the servers at their other ends answer.

An SSH handshake costs some 100 ms of a small machine's processor; a run that begins with the four or five that it needs
begins half a second late, and another one that it has to wait until a silence is known. How many hosts, and how often they
are spoken to, is in the settings.
"""

from __future__ import annotations

import logging
import threading
import time

from deployments.vigil import Vigil
from recoverd.errors import RecoverdError
from recoverd.execution import looking_on
from recoverd.inventory import Inventory, Service
from recoverd.prepared import Prepared, prepared
from recoverd.settings import settings
from tasks.first_look import first_look
from tasks.observation import look
from tasks.views import ServiceView

logger = logging.getLogger("recoverd.child")

_WORD_TIMEOUT_S = 2.0
_RANKS = ("critical", "high", "normal", "low")


class Standby:
    """The connections of a spare, kept by a thread until the spare gets its run."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._ready: Prepared | None = None
        self._vigils: dict[str, Vigil] = {}

    def start(self) -> None:
        """Begin to open and keep connections; returns at once. What cannot be reached is tried again by the run."""
        threading.Thread(target=self._keep, name="standby", daemon=True).start()

    def stop(self) -> None:
        """The run has come: leave the connections as they are."""
        self._over.set()

    def found_dead(self, service: str) -> ServiceView | None:
        """The newest look at a service, if it found the primary dead and the inventory is still the same."""
        vigil = self._vigils.get(service)
        return vigil.dead if vigil is not None and self._ready is not None and self._ready.is_current else None

    def _keep(self) -> None:
        config = settings()
        pace_s = config.kept_watch_s or config.kept_refresh_s
        refresh_at = 0.0
        while not self._over.is_set():
            try:
                if time.monotonic() >= refresh_at:
                    refresh_at = time.monotonic() + config.kept_refresh_s
                    self._refresh()
                if config.kept_watch_s:
                    self._watch()
            except RecoverdError as error:
                logger.debug("nothing is kept open just now: %s", error)
            self._over.wait(min([pace_s, *self._due()]))

    def _refresh(self) -> None:
        """Look at each service once: that opens every connection that a run on it will need. Later, only speak to them."""
        config = settings()
        ready = prepared(config.inventory)
        if self._ready is not ready:
            self._ready = ready
            kept = worth_keeping(ready.inventory, config.kept_hosts)
            self._vigils = {service.name: self._vigil(service, ready) for service in kept}
            unopened = kept
        else:
            ready.connections.refresh(_WORD_TIMEOUT_S)
            unopened = [one for one in worth_keeping(ready.inventory, config.kept_hosts) if self._lacks(one, ready)]
        for service in unopened:
            if not self._over.is_set():
                self._vigils[service.name].see(_looked(service.name))

    def _lacks(self, service: Service, ready: Prepared) -> bool:
        return not all(ready.connections.keeps(service.name, host) for host in service.hosts)

    def _watch(self) -> None:
        for vigil in list(self._vigils.values()):
            if not self._over.is_set():
                vigil.watch()

    def _due(self) -> list[float]:
        return [due for vigil in self._vigils.values() if (due := vigil.due_s) is not None]

    def _vigil(self, service: Service, ready: Prepared) -> Vigil:
        word_s = ready.inventory.policy_of(service).probe_timeout_s / 2
        refresh_s = settings().kept_refresh_s
        return Vigil(service.name, ready.connections, word_s, refresh_s, lambda: _looked(service.name))


def _looked(service: str) -> ServiceView:
    with looking_on(service):
        return look(service, probe_write=False)


def worth_keeping(inventory: Inventory, most_hosts: int) -> list[Service]:
    """The services whose hosts, taken together, are no more than `most_hosts`: the most critical ones first."""
    found: list[Service] = []
    hosts: set[str] = set()
    for service in sorted(inventory.services.values(), key=lambda one: (_RANKS.index(one.criticality), one.name)):
        wanted = hosts | {*service.hosts, *service.clients}
        if len(wanted) <= most_hosts:
            found.append(service)
            hosts = wanted
    return found


def begin_to_look(service: str, found_dead: ServiceView | None = None) -> None:
    """Begin the first look of the run that this process executes; what hinders it, the run meets by itself.

    Args:
        service: The service.
        found_dead: What `Standby.found_dead` says of it.
    """
    try:
        ready = prepared(settings().inventory)
    except RecoverdError:
        return

    def look_on() -> ServiceView:
        with looking_on(service):
            return look(service, probe_write=True, earlier=found_dead)

    if service in ready.inventory.services:
        first_look.begin(service, ready.connections, look_on)
