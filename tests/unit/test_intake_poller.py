"""The poller takes in what is new, whatever else the source lists, and never ends because of an answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from intake_kit import DATA, inventory, source

from deployments.start import start
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.poller import Poller
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.errors import Unreachable
from recoverd.journal import Journal

(LISTED,) = json.loads((DATA / "alertmanager-0.25-api-v2.json").read_text())


class Listing(ThreadingHTTPServer):
    """Answers every question with the same bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answer = b"[]"
        self.status = 200
        self.asked: list[str] = []


class _Answering(BaseHTTPRequestHandler):
    server: Listing

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


@pytest.fixture
def listing() -> Iterator[Listing]:
    server = Listing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join(5)
    server.server_close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


@pytest.fixture
def poller(journal: Journal, listing: Listing) -> Iterator[Poller]:
    writer = Writer(journal)
    writer.start()
    metrics = Metrics(journal)
    intake = Intake(journal, writer, RouteTable(inventory(), ("failover",)), start, metrics)
    address = f"http://127.0.0.1:{listing.server_port}/"
    yield Poller(source(poll_url=address, poll_interval_s=1), intake, metrics)
    writer.stop()


def test_what_is_new_is_taken_in_once_and_leaves_no_trace_afterwards(
    poller: Poller, journal: Journal, listing: Listing
):
    listing.answer = json.dumps([LISTED]).encode()
    assert poller.poll() == 1
    head = journal.anchor()
    assert poller.poll() == 0
    assert journal.anchor() == head
    assert [run.target for run in journal.list_runs()] == ["orders"]
    assert listing.asked[0] == "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=true"


def test_a_strange_alert_does_not_keep_the_others_out(poller: Poller, journal: Journal, listing: Listing):
    strange = [7, {}, {**LISTED, "startsAt": "soon"}, {**LISTED, "labels": {"alertname": "nul \x00"}}]
    listing.answer = json.dumps([*strange, LISTED]).encode()
    assert poller.poll() == 1
    assert len(journal.list_alerts()) == 1


@pytest.mark.parametrize(("status", "answer"), [(500, b"[]"), (200, b"{}"), (200, b"<html>"), (200, b"[" * 100_000)])
def test_an_answer_that_is_no_list_is_an_error_of_the_source(
    poller: Poller, listing: Listing, status: int, answer: bytes
):
    listing.status, listing.answer = status, answer
    with pytest.raises(Unreachable, match="alertmanager"):
        poller.poll()


def test_a_source_that_stays_away_is_told_once_and_so_is_its_return(
    poller: Poller, listing: Listing, caplog: pytest.LogCaptureFixture
):
    listing.status = 500
    for _ in range(3):
        poller._poll_safely()
    listing.status, listing.answer = 200, b"[]"
    for _ in range(2):
        poller._poll_safely()
    told = [record.message for record in caplog.records if record.name == "gateway.poller"]
    assert ["was not asked" in told[0], told[1:]] == [True, ["alertmanager answers again"]]


def test_it_asks_at_once_again_when_poked_and_ends_when_told(poller: Poller, journal: Journal, listing: Listing):
    marker = journal.marker()
    poller.start()
    assert poller.ready()
    listing.answer = json.dumps([LISTED]).encode()
    poller.poke()
    assert journal.wait_for_change(marker, timeout_s=5)
    poller.stop()
    assert not poller.ready()
