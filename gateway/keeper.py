"""The keeper: sees, every 20 s, that the WAL of a service comes to its sites. One keeper a service, whoever runs `recoverd serve`.

It needs no run: nothing that it does is a decision, and every turn finds out anew what is due. The journal has what changes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from flows.archiving import turn
from flows.standing import Standing, troubles
from flows.stocking import Archive
from gateway.alerts_model import SENTINEL, Alert
from gateway.paced import Paced
from recoverd import locks
from recoverd.connections import Connections
from recoverd.errors import Busy, RecoverdError, Refused, Stale
from recoverd.execution import planned_run
from recoverd.inventory import Inventory
from recoverd.journal import Journal
from recoverd.world import World, entered
from tasks.receiving import receiving_site_of

if TYPE_CHECKING:
    from gateway.sentinel import Accepts
    from gateway.serve import Parts

EVERY_S = 20.0
SLOWEST_TURN_S = 600.0
LEASE_S = 30.0
ALERTS = {
    "lag": "RecoverdWalLag",
    "hole": "RecoverdWalHole",
    "forged": "RecoverdWalForged",
    "apart": "RecoverdWalApart",
}

log = logging.getLogger(__name__)


class Keeper(Paced):
    """Keeps the WAL of one service in a thread of its own. A background service of `recoverd serve`."""

    def __init__(
        self, service: str, inventory: Inventory, intake: Accepts | None, journal: Journal, *, every_s: float = EVERY_S
    ) -> None:
        super().__init__(f"keeper {service}", slowest_s=SLOWEST_TURN_S)
        self._service, self._inventory, self._intake, self._journal, self._every_s = (
            service,
            inventory,
            intake,
            journal,
            every_s,
        )
        self._known: dict[str, tuple[datetime, str]] = {}

    def run(self) -> None:
        """Turn again and again, until stopped; while another recoverd keeps, wait. The receiver goes on when this ends."""
        while not self._over.is_set():
            try:
                with keeping(self._service, self._inventory, self._journal) as here:
                    archive = Archive(self._service)
                    while not self._over.is_set():
                        self._turn(here, archive)
                        self._over.wait(self._every_s)
            except (Busy, Stale):
                self._turned()
                self._over.wait(self._every_s)
            except Exception:
                log.exception("%s", self.name)
                self._over.wait(self._every_s)

    def _turn(self, here: World, archive: Archive) -> None:
        if here.lease is not None:
            here.lease.check()
        try:
            standing = turn(archive)
        except Stale:
            raise
        except RecoverdError as error:
            log.warning("%s: %s", self.name, error)
            return
        finally:
            self._turned()
        self.tell(standing)

    def tell(self, standing: Standing) -> None:
        """Note what has begun and what is over since the last turn, and raise or resolve its alert."""
        now = troubles(standing, self._inventory.backup_of(self._service).wal.max_lag_s)
        at = datetime.now(timezone.utc)
        for name, words in now.items():
            if name not in self._known:
                self._known[name] = (at, words)
                self._note("began", name, words)
                self._raise(name, words, at)
        for name in [name for name in self._known if name not in now]:
            since, words = self._known.pop(name)
            self._note("ended", name, words)
            self._raise(name, words, since, ended_at=at)

    def _note(self, what: str, name: str, words: str) -> None:
        log.warning("%s: %s %s: %s", self.name, name, what, words)
        body = {"service": self._service, "trouble": name, "what": what, "words": words}
        self._journal.append("wal.changed", who="keeper", body=body)

    def _raise(self, name: str, words: str, since: datetime, ended_at: datetime | None = None) -> None:
        title = ALERTS.get(name.split(maxsplit=1)[0])
        if title is None or self._intake is None:
            return
        site = name.split()[1]
        labels = {"alertname": title, "service": self._service, "site": site, "severity": "critical"}
        alert = Alert(
            fingerprint=hashlib.sha256(f"{name}:{self._service}".encode()).hexdigest()[:16],
            status="firing" if ended_at is None else "resolved",
            labels=labels,
            annotations={"summary": words},
            starts_at=since,
            ends_at=ended_at,
            scope="sentinel",
        )
        try:
            self._intake.accept(SENTINEL, [alert])
        except (RecoverdError, TimeoutError) as error:
            log.warning("%s: the alert %s was not taken: %s", self.name, title, error)


@contextmanager
def keeping(service: str, inventory: Inventory, journal: Journal) -> Iterator[World]:
    """The right to keep the WAL of a service, and a world to do it in.

    Raises:
        Busy: Another recoverd keeps it.
    """
    who = f"wal-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    lease = locks.acquire(journal, f"wal:{service}", who, ttl_s=LEASE_S)
    try:
        # Hosts know the ways that are opened for it by a name that is always the same, so that a new keeper takes them over.
        row = replace(planned_run("wal", service, {}), id=f"wal-{service}")
        with lease.kept(), Connections(inventory) as connections:
            here = World(row, inventory, None, connections, lease)
            with entered(here):
                yield here
    finally:
        lease.release()


def keepers(inventory: Inventory) -> list[Callable[[Parts], Keeper]]:
    """For `recoverd serve`: what makes a keeper for each service with continuous WAL."""
    return [partial(_made, name) for name in wanted(inventory)]


def wanted(inventory: Inventory) -> list[str]:
    """The services whose WAL is kept: those that have a host to receive it, and a key to sign with on this machine."""
    return [name for name in inventory.backups if _has_receiver(inventory, name)]


def _has_receiver(inventory: Inventory, service: str) -> bool:
    if inventory.backup_of(service).signing_key is None:
        return False
    try:
        receiving_site_of(inventory, service)
    except Refused:
        return False
    return True


def _made(service: str, parts: Parts) -> Keeper:
    return Keeper(service, parts.inventory, parts.intake, parts.journal)


def troubles_of(standing: Standing, inventory: Inventory) -> Mapping[str, str]:
    """What is wrong now, as the keeper would say it."""
    return troubles(standing, inventory.backup_of(standing.service).wal.max_lag_s)
