"""Asks an Alertmanager what fires: at the start, on an interval, and at once when it left alerts out of a message.

It finds what fired while recoverd was down, and goes through the same intake, so that nothing acts twice.
"""

from __future__ import annotations

import json
import logging
import threading

import httpx

from gateway.alerts_model import Alert, ParseError
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.parsers.alertmanager import polled
from recoverd.errors import RecoverdError, Refused, Unreachable
from recoverd.inventory import AlertSource

ANSWER_TIMEOUT_S = 10.0
MOST_BYTES = 64 * 1024 * 1024
RETRY_S = 5.0
"""After a question that failed, the next one comes this soon, or after the interval if that is shorter."""

log = logging.getLogger(__name__)


class Poller:
    """A background service for one source with a `poll_url`."""

    def __init__(self, source: AlertSource, intake: Intake, metrics: Metrics) -> None:
        self.name = f"poller of {source.name}"
        self._source = source
        self._intake = intake
        self._metrics = metrics
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def start(self) -> None:
        """Ask now, then on the interval."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = ANSWER_TIMEOUT_S + 1) -> None:
        """End after the question that is under way."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def ready(self) -> bool:
        """Whether it asks. An Alertmanager that does not answer is no reason to take no alerts."""
        return self._thread is not None and self._thread.is_alive()

    def poke(self) -> None:
        """Ask at once."""
        self._wake.set()

    def poll(self) -> int:
        """Ask once, and take in what is new, or still fires after a refusal that has passed.

        Returns:
            How many alerts that were.

        Raises:
            Unreachable: No usable answer.
            RecoverdError: The journal did not take what is new.
            TimeoutError: It has not taken it in time.
        """
        alerts, strange = _understood(self._ask())
        if strange:
            log.error(
                "%s lists %d alerts that cannot be understood, the first: %s",
                self._source.name,
                len(strange),
                strange[0],
            )
        fresh = self._intake.due(alerts)
        try:
            return len(self._intake.accept(self._source, fresh)) if fresh else 0
        except Refused:
            return sum(self._took(alert) for alert in fresh)

    def _took(self, alert: Alert) -> bool:
        """Take one alert in by itself: one that the journal will never hold must not keep the others out."""
        try:
            self._intake.accept(self._source, [alert])
        except Refused:
            log.exception("alert %s of %s cannot be recorded", alert.key, self._source.name)
            return False
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            interval_s = self._source.poll_interval_s
            self._wake.wait(interval_s if self._poll_safely() else min(RETRY_S, interval_s))

    def _poll_safely(self) -> bool:
        try:
            self.poll()
        except (RecoverdError, TimeoutError) as error:
            self._say_once(str(error))
            ok = False
        except Exception:
            log.exception("%s was not asked for its alerts", self._source.name)
            ok = False
        else:
            self._say_once("")
            ok = True
        self._metrics.polled(self._source.name, ok)
        return ok

    def _say_once(self, trouble: str) -> None:
        """Log what is wrong when it begins, when it changes and when it is over: not every few seconds for a night."""
        if trouble and trouble != self._trouble:
            log.warning("%s was not asked for its alerts, and is asked again and again: %s", self._source.name, trouble)
        elif self._trouble and not trouble:
            log.warning("%s answers again", self._source.name)
        self._trouble = trouble

    def _ask(self) -> list[object]:
        """What fires and is neither silenced nor inhibited."""
        url = f"{str(self._source.poll_url).rstrip('/')}/api/v2/alerts"
        asked = {"active": "true", "silenced": "false", "inhibited": "false", "unprocessed": "true"}
        try:
            with httpx.stream("GET", url, params=asked, timeout=ANSWER_TIMEOUT_S, trust_env=False) as answer:
                answer.raise_for_status()
                found = json.loads(_limited(answer))
        except (httpx.HTTPError, ValueError, RecursionError) as error:
            raise Unreachable(f"{self._source.name} gives no list of alerts: {error}", f"look at {url}") from error
        if not isinstance(found, list):
            raise Unreachable(f"{self._source.name} answers with something other than a list", f"look at {url}")
        return found


def _limited(answer: httpx.Response) -> bytes:
    found = bytearray()
    for chunk in answer.iter_bytes():
        found += chunk
        if len(found) > MOST_BYTES:
            raise ValueError(f"its answer is longer than {MOST_BYTES} bytes")
    return bytes(found)


def _understood(entries: list[object]) -> tuple[list[Alert], list[str]]:
    alerts: list[Alert] = []
    strange: list[str] = []
    for entry in entries:
        try:
            alerts.append(polled(entry))
        except ParseError as error:
            strange.append(error.message)
    return alerts, strange
