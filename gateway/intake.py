"""The one way in for alerts: from HTTP, from the poller and from recoverd's own sentinel.

An alert, whether it was known already, what its route says and the run that it starts become true in one journal
transaction. Whoever sent it hears of success only when that is on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Protocol

from gateway.again import AGAIN_AFTER_S, is_due_again
from gateway.alerts_model import Alert, Key, Outcome, Sender, Verdict
from gateway.metrics import Metrics
from gateway.routes import Decision, RouteTable
from gateway.writer import MOST_WAITING, Writer
from recoverd.errors import Refused
from recoverd.inventory import AlertSource
from recoverd.journal import AlertRow, Journal, Mode, RunRow, State, Transaction, Trigger

ACTIVE: tuple[State, ...] = ("requested", "running", "waiting")

MOST_RUNS_PER_HOUR = 20
"""By one route: a monitoring system gone wild does not move every service of a company. Refused runs do not count."""

ACCEPT_TIMEOUT_S = 30.0

log = logging.getLogger(__name__)

Quarantined = tuple[bytes, str]
"""A body as it came, and why it, or a part of it, could not be understood."""


class Start(Protocol):
    """`deployments.start.start`, as far as the intake uses it."""

    def __call__(  # noqa: D102 - documented there
        self,
        procedure: str,
        target: str,
        *,
        trigger: Trigger,
        requester: str,
        reason: str,
        mode: Mode = "act",
        options: Mapping[str, Any] | None = None,
        alert: str | None = None,
        tx: Transaction | None = None,
    ) -> RunRow: ...


class Intake:
    """Takes alerts in, and starts what their routes say.

    Args:
        journal: Where all of it is kept.
        writer: The thread that writes to it.
        routes: Which alert asks for what.
        start: `deployments.start.start`.
        metrics: Told of every decision.
        notify: Told, after the commit, that a run waits for the runner.
        most_runs_per_hour: By one route.
        again_after_s: How long after a run was refused for a reason that passes an alert that still fires acts again.
    """

    def __init__(
        self,
        journal: Journal,
        writer: Writer,
        routes: RouteTable,
        start: Start,
        metrics: Metrics,
        *,
        notify: Callable[[], None] = lambda: None,
        most_runs_per_hour: int = MOST_RUNS_PER_HOUR,
        again_after_s: float = AGAIN_AFTER_S,
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._routes = routes
        self._start = start
        self._metrics = metrics
        self._notify = notify
        self._most_runs_per_hour = most_runs_per_hour
        self._again_after_s = again_after_s

    def accept(self, source: AlertSource | Sender, alerts: Sequence[Alert]) -> list[Verdict]:
        """Take alerts in and wait until that is on disk. From any thread but the event loop's.

        Returns:
            What was decided about each, in their order.

        Raises:
            TryAgain: The journal cannot be written now; nothing was recorded.
            Refused: The journal will never hold this.
            TimeoutError: It is not known yet whether it was recorded. Sending the same alerts again is harmless.
        """
        return self.submit(source, alerts).result(ACCEPT_TIMEOUT_S)

    def submit(
        self, source: AlertSource | Sender, alerts: Sequence[Alert], quarantine: Quarantined | None = None
    ) -> Future[list[Verdict]]:
        """Like `accept`, without the wait: the future is done when it is on disk.

        Args:
            source: Who sends.
            alerts: What was understood.
            quarantine: The body to keep for a person, where not all of it was understood.
        """
        sender = source if isinstance(source, Sender) else Sender(source.name)
        future = self._writer.submit(lambda tx: self._decide_all(tx, sender, alerts, quarantine))
        future.add_done_callback(lambda done: self._tell(sender, done, quarantine))
        return future

    def due(self, alerts: Iterable[Alert]) -> list[Alert]:
        """Those that have never been taken in, or may act again: a poller leaves no trace of what is known."""
        return [alert for alert in alerts if self._is_due(alert)]

    def _is_due(self, alert: Alert) -> bool:
        row = self._journal.get_alert(alert.key)
        return row is None or is_due_again(self._journal, alert, row, self._routes.decide(alert), self._again_after_s)

    def is_full(self) -> bool:
        """Whether so many requests wait for the disk that those who try again should do so."""
        return self._writer.waiting >= MOST_WAITING

    def _decide_all(
        self, tx: Transaction, sender: Sender, alerts: Sequence[Alert], quarantine: Quarantined | None
    ) -> list[Verdict]:
        if quarantine is not None:
            body, reason = quarantine
            tx.quarantine(sender.name, body.decode("utf-8", "backslashreplace"), reason)
        found: list[Verdict] = []
        seen: dict[Key, Verdict] = {}
        for alert in alerts:
            twice = seen.get(alert.key)
            verdict = self._decide(tx, sender, alert) if twice is None else _again(alert.key, twice.run)
            seen.setdefault(alert.key, verdict)
            found.append(verdict)
        return found

    def _decide(self, tx: Transaction, sender: Sender, alert: Alert) -> Verdict:
        decision = self._routes.decide(alert, sender.trigger)
        row, is_new = tx.receive_alert(
            alert.key,
            source=sender.name,
            name=alert.labels.get("alertname", ""),
            status=alert.status,
            target=decision.target or None,
            starts_at=alert.starts_at,
            body={"labels": alert.labels, "annotations": alert.annotations, "ends_at": alert.ends_at, "raw": alert.raw},
        )
        if not is_new:
            return self._decide_again(tx, sender, alert, row, decision)
        if alert.status == "resolved":
            return Verdict(alert.key, "resolved", "it is over")
        outcome, reason, run = self._follow(tx, sender, alert, decision)
        tx.settle_alert(alert.key, outcome, who=sender.name, reason=reason, run=run)
        return Verdict(alert.key, outcome, reason, run, loud=decision.loud or outcome == "refused")

    def _decide_again(
        self, tx: Transaction, sender: Sender, alert: Alert, row: AlertRow, decision: Decision
    ) -> Verdict:
        """It is known: mostly a repetition, but its run may have been refused for a reason that has passed."""
        if not is_due_again(tx, alert, row, decision, self._again_after_s):
            return _again(alert.key, row.run)
        outcome, reason, run = self._follow(tx, sender, alert, decision)
        if run is None:
            return _again(alert.key, row.run)
        reason += f"; it still fires, and {f'run {row.run}' if row.run else 'it'} was refused for a reason that passes"
        tx.settle_alert(alert.key, outcome, who=sender.name, reason=reason, run=run)
        return Verdict(alert.key, outcome, reason, run, loud=decision.loud)

    def _follow(
        self, tx: Transaction, sender: Sender, alert: Alert, decision: Decision
    ) -> tuple[Outcome, str, str | None]:
        """Start the run that the decision asks for, or say why not."""
        if decision.mode == "record":
            return "recorded", decision.reason, None
        procedure, target = decision.procedure, decision.target
        busy = tx.list_runs(states=ACTIVE, target=target, procedure=procedure, limit=1)
        if busy:
            return "recorded", f"run {busy[0].id} is already on its way with {procedure} of {target}", busy[0].id
        requester = f"route:{decision.route}"
        recent = self._recent(tx, procedure, requester)
        if recent >= self._most_runs_per_hour:
            return "refused", f"route {decision.route} has started {recent} runs within an hour, the most it may", None
        try:
            run = self._start(
                procedure,
                target,
                trigger=sender.trigger,
                requester=requester,
                reason=_reason(sender, alert),
                mode=decision.mode,
                options=_claims(alert),
                alert=alert.key,
                tx=tx,
            )
        except Refused as error:
            return "refused", error.message, None
        return "started", decision.reason, run.id

    def _recent(self, tx: Transaction, procedure: str, requester: str) -> int:
        """Runs that the route has started within an hour.

        They are counted from the journal, in the transaction that starts the next: a start that fails takes no place.
        """
        since = tx.now() - timedelta(hours=1)
        newest = tx.list_runs(procedure=procedure, limit=10 * self._most_runs_per_hour)
        return sum(run.requester == requester and run.created_at > since and run.state != "refused" for run in newest)

    def _tell(self, sender: Sender, done: Future[list[Verdict]], quarantine: Quarantined | None) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        if quarantine is not None:
            self._metrics.quarantined(sender.name)
            log.error("a body from %s went into quarantine: %s", sender.name, quarantine[1])
        if any(verdict.outcome == "started" for verdict in done.result()):
            self._notify()
        for verdict in done.result():
            self._metrics.decided(sender.name, verdict.outcome)
            if verdict.outcome != "duplicate":
                say: Callable[..., None] = log.error if verdict.loud else log.info
                say("alert %s from %s: %s: %s", verdict.key, sender.name, verdict.outcome, verdict.reason)


def _again(key: Key, run: str | None) -> Verdict:
    return Verdict(key, "duplicate", "it has been taken in before", run)


def _claims(alert: Alert) -> dict[str, Any]:
    """What the procedure should know of the alert: when the trouble began, and who is said to be in it."""
    return {"starts_at": alert.starts_at.isoformat(), "instance": alert.labels.get("instance", "")}


def _reason(sender: Sender, alert: Alert) -> str:
    """The run's reason: what fires, since when, who says so."""
    name = alert.labels.get("alertname") or alert.fingerprint
    summary = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    return f"{name} since {alert.starts_at:%Y-%m-%d %H:%M:%S} UTC, says {sender.name}" + (
        f": {summary}" if summary else ""
    )
