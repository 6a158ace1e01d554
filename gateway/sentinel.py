"""The sentinel: recoverd's own eyes on a service, every second, over connections that are kept open.

While all is well it asks every server over SQL and commits a row on the primary, which finds a hung or full disk as
well as a dead server. Anything odd makes it look from every side, at three times the pace, until the policy's number
of looks in a row agree. Then it raises an alert of its own into the same intake as everybody else.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Protocol

from flows.history import remembered
from flows.verdict import Diagnosis, Verdict, judge
from flows.watching import News, Watch, advance, is_calm
from gateway.alerts_model import SENTINEL, Alert, Sender, Status
from gateway.alerts_model import Verdict as AlertVerdict
from gateway.paced import Paced
from recoverd.errors import RecoverdError
from recoverd.execution import rehearsal
from recoverd.inventory import Inventory, Service
from recoverd.journal import Journal
from tasks.observation import glance, look

if TYPE_CHECKING:
    from gateway.serve import Parts

CLOSER_PACE = 3
REFRESH_EVERY_S = 10.0
_ALERTS = {News.DOWN: "RecoverdPrimaryDown", News.UP: "RecoverdPrimaryDown", News.RETURNED: "RecoverdPrimaryReturned"}

log = logging.getLogger(__name__)


class Accepts(Protocol):
    """The intake, as far as the sentinel uses it."""

    def accept(self, source: Sender, alerts: Sequence[Alert]) -> list[AlertVerdict]:
        """Take alerts in."""
        ...


class Sentinel(Paced):
    """Watches one service in a thread of its own. A background service of `recoverd serve`."""

    def __init__(
        self,
        service: Service,
        inventory: Inventory,
        intake: Accepts | None,
        journal: Journal | None,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._service, self._inventory, self._intake, self._journal, self._say = (
            service,
            inventory,
            intake,
            journal,
            say,
        )
        self._rule = inventory.policy_of(service).sentinel
        super().__init__(f"sentinel {service.name}", slowest_s=15 * max(1.0, self._rule.interval_s))

    def run(self) -> None:
        """Look again and again, until stopped."""
        known = Watch()
        while not self._over.is_set():
            try:
                with rehearsal("watch", self._service.name, self._inventory) as here:
                    look(self._service.name)  # opens the connections that it takes to look from every side
                    refreshed_at = time.monotonic()
                    while not self._over.is_set():
                        began = time.monotonic()
                        known = self._once(known)
                        self._turned()
                        if known.against == 0 and began - refreshed_at > REFRESH_EVERY_S:
                            here.connections.refresh(here.policy.probe_timeout_s)
                            refreshed_at = began
                        pace = CLOSER_PACE if known.against and not known.told else 1
                        self._over.wait(max(0.05, self._rule.interval_s / pace - (self._turned_at - began)))
            except RecoverdError as error:
                log.warning("%s: %s", self.name, error)
                self._over.wait(self._rule.interval_s)

    def _once(self, known: Watch) -> Watch:
        at = datetime.now(timezone.utc)
        name = self._service.name
        if known.against == 0 and not known.told and known.last in {None, Verdict.HEALTHY} and is_calm(glance(name)):
            if known.last is None:
                self._say(f"{name} is well; watched every {self._rule.interval_s:g} s, and only news is told")
            return known.model_copy(update={"last": Verdict.HEALTHY})
        view = look(name, probe_write=True)
        # Only the journal may know which of several writers is the one that came back.
        diagnosis = judge(view, remembered(self._journal, name) if len(view.primaries) > 1 else None)
        now, news = advance(known, diagnosis, at, self._rule.confirmations)
        self._say(f"{at:%H:%M:%S.%f} {diagnosis.summary}"[:400])
        self._tell(news, diagnosis, now.since or known.since or at)
        return now

    def _tell(self, news: News, diagnosis: Diagnosis, since: datetime) -> None:
        if news is News.ODD:
            log.warning("%s: %s", self.name, diagnosis.summary)
            self._note(diagnosis)
        if news not in _ALERTS or self._intake is None:
            return
        alert = self._alert(_ALERTS[news], "resolved" if news is News.UP else "firing", diagnosis, since)
        for verdict in self._intake.accept(SENTINEL, [alert]):
            self._say(f"raised {_ALERTS[news]} ({alert.status}): {verdict.outcome}, {verdict.reason}")

    def _note(self, diagnosis: Diagnosis) -> None:
        """What is odd, but not acted on, is still on record for the review."""
        if self._journal is not None:
            body = {"service": self._service.name, **diagnosis.model_dump(mode="json")}
            self._journal.append("sentinel.observed", who="sentinel", body=body)

    def _alert(self, name: str, status: Status, diagnosis: Diagnosis, since: datetime) -> Alert:
        service = self._service.name
        instance = ", ".join(diagnosis.returned) or diagnosis.primary
        labels = {"alertname": name, "service": service, "instance": instance, "severity": "critical"}
        fingerprint = hashlib.sha256(f"{name}:{service}:{instance}".encode()).hexdigest()[:16]
        return Alert(
            fingerprint=fingerprint,
            status=status,
            labels=labels,
            annotations={"summary": diagnosis.summary},
            starts_at=since,
            ends_at=None if status == "firing" else datetime.now(timezone.utc),
            scope="sentinel",
            raw={"verdict": diagnosis.verdict.value, "reasons": list(diagnosis.reasons)},
        )


def makers(inventory: Inventory) -> list[Callable[[Parts], Sentinel]]:
    """For `recoverd serve`: what makes a sentinel for each service whose policy wants one."""
    watched = [one for one in inventory.services.values() if inventory.policy_of(one).sentinel.enabled]
    return [partial(_made, service) for service in watched]


def _made(service: Service, parts: Parts) -> Sentinel:
    return Sentinel(service, parts.inventory, parts.intake, parts.journal)
