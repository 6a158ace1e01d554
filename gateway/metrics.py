"""Numbers for Prometheus: what came in and what became of it, counted here; runs and the journal, read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import func, select

from recoverd.errors import RecoverdError
from recoverd.journal import Journal
from recoverd.journal.tables import runs

BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """The numbers of one process."""

    def __init__(self, journal: Journal, waiting: Callable[[], int] = lambda: 0) -> None:
        registry = self._registry = CollectorRegistry()
        self._alerts = Counter(
            "recoverd_alerts", "Alerts by what became of them", ["source", "outcome"], registry=registry
        )
        self._quarantined = Counter("recoverd_quarantined", "Bodies not understood", ["source"], registry=registry)
        self._requests = Counter("recoverd_alert_requests", "Requests with alerts", ["status"], registry=registry)
        self._latency = Histogram(
            "recoverd_intake_seconds", "From a request's head to its 202", buckets=BUCKETS_S, registry=registry
        )
        self._polls = Counter("recoverd_polls", "Questions to a source", ["source", "result"], registry=registry)
        self._polled_at = Gauge("recoverd_poll_success_timestamp_seconds", "Last answer", ["source"], registry=registry)
        waiting_now = Gauge("recoverd_intake_waiting", "Requests that wait for the disk", registry=registry)
        waiting_now.set_function(waiting)
        registry.register(_FromJournal(journal))

    def decided(self, source: str, outcome: str) -> None:
        """Count an alert."""
        self._alerts.labels(source, outcome).inc()

    def quarantined(self, source: str) -> None:
        """Count a body that was not understood."""
        self._quarantined.labels(source).inc()

    def answered(self, status: int, took_s: float) -> None:
        """Count a request; the time counts for those that were accepted."""
        self._requests.labels(str(status)).inc()
        if status == 202:
            self._latency.observe(took_s)

    def polled(self, source: str, ok: bool) -> None:
        """Count a question to a source."""
        self._polls.labels(source, "ok" if ok else "failed").inc()
        if ok:
            self._polled_at.labels(source).set_to_current_time()

    def expose(self) -> tuple[bytes, str]:
        """The text for Prometheus and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _FromJournal:
    """What several processes know together is read from the journal at each scrape."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def collect(self) -> Iterable[Metric]:
        """The families; a journal that does not answer shows as `recoverd_journal_up 0` and nothing more."""
        up = GaugeMetricFamily("recoverd_journal_up", "Whether the journal answers")
        try:
            families = list(self._families())
        except RecoverdError:
            families = []
        up.add_metric([], 1 if families else 0)
        return [up, *families]

    def _families(self) -> Iterator[Metric]:
        head = GaugeMetricFamily(
            "recoverd_journal_head", "Number of the newest entry", value=self._journal.anchor().seq
        )
        counts = GaugeMetricFamily("recoverd_runs", "Runs by procedure and state", labels=["procedure", "state"])
        grouped = select(runs.c.procedure, runs.c.state, func.count().label("count")).group_by(
            runs.c.procedure, runs.c.state
        )
        for row in self._journal.database.read(grouped):
            counts.add_metric([row._mapping["procedure"], row._mapping["state"]], row._mapping["count"])
        waiting = self._journal.database.read(select(func.min(runs.c.created_at)).where(runs.c.state == "requested"))
        age = GaugeMetricFamily("recoverd_queue_age_seconds", "Age of the oldest run that nobody executes yet")
        age.add_metric([], _age_s(waiting[0][0]))
        yield from (head, counts, age)


def _age_s(since: datetime | None) -> float:
    return 0.0 if since is None else max((datetime.now(timezone.utc) - since).total_seconds(), 0.0)
