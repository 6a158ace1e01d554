"""What the HTTP door answers when what stands behind it is full, not ready, or broken."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from intake_kit import DATA, alert, inventory, source

import gateway.app
from deployments.start import start
from gateway.alerts_model import Parsed
from gateway.app import Door, create_app
from gateway.auth import Authenticator
from gateway.health import Health
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.parsers import Parser
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.journal import Journal

FIRING = (DATA / "alertmanager-0.25-firing.json").read_bytes()
SOURCES = {"alertmanager": source(), "grafana": source(name="grafana", kind="grafana")}


class House:
    """A door with a real intake and a real journal behind it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.db"
        self.journal = Journal.open(f"sqlite:///{self.path}")
        self.writer = Writer(self.journal)
        metrics = Metrics(self.journal)
        self.intake = Intake(self.journal, self.writer, RouteTable(inventory(), ("failover",)), start, metrics)
        self.health = Health({"part": lambda: "ok"})
        self.app = create_app(Door(self.intake, Authenticator(SOURCES), self.health, metrics))
        self.writer.start()
        self.health.open()

    def post(self, name: str = "alertmanager", body: bytes = FIRING) -> httpx.Response:
        return asyncio.run(self._send("POST", f"/alerts/{name}", body))

    def get(self, path: str) -> httpx.Response:
        return asyncio.run(self._send("GET", path, b""))

    async def _send(self, method: str, path: str, body: bytes) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, content=body, headers={"authorization": "Bearer secret"})

    def close(self) -> None:
        self.writer.stop()
        self.journal.close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("TOKEN", "secret")
    one = House(tmp_path)
    yield one
    one.close()


def test_an_alert_is_taken_and_told_what_became_of_it(house: House):
    answer = house.post()
    (run,) = house.journal.list_runs()
    assert (answer.status_code, answer.json()) == (
        202,
        {"alerts": 1, "outcomes": {"started": 1}, "runs": [run.id], "quarantined": False},
    )


def test_a_full_intake_turns_away_who_tries_again_and_never_grafana(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(house.intake, "is_full", lambda: True)
    shed, taken = house.post(), house.post("grafana")
    assert (shed.status_code, shed.content) == (503, b"")
    assert taken.status_code == 202


def test_before_all_is_ready_who_tries_again_is_turned_away_and_grafanas_alert_is_kept(house: House):
    house.health.shut()
    assert house.post().status_code == 503
    assert house.get("/readyz").status_code == 503
    assert house.post("grafana").status_code == 202
    assert len(house.journal.list_runs()) == 1
    house.health.open()
    assert house.get("/readyz").json() == {"gate": "ok", "part": "ok"}


def test_an_alert_that_cannot_be_written_down_is_not_accepted(house: House):
    house.writer.stop()
    answer = house.post()
    assert (answer.status_code, answer.content) == (503, b"")


def test_a_locked_journal_delays_grafana_and_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("recoverd.journal.database.BUSY_TIMEOUT_MS", 10)
    house.journal.close()
    blocker = sqlite3.connect(house.path, check_same_thread=False, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")

    async def scene() -> httpx.Response:
        sending = asyncio.create_task(house._send("POST", "/alerts/grafana", FIRING))
        await asyncio.sleep(0.3)  # some attempts meet the lock
        assert not sending.done()
        blocker.execute("ROLLBACK")
        return await sending

    assert asyncio.run(scene()).status_code == 202
    blocker.close()
    assert len(house.journal.list_runs()) == 1


def test_a_parser_that_breaks_loses_nothing(house: House, monkeypatch: pytest.MonkeyPatch):
    def broken(_body: bytes, _headers: Any) -> Parsed:
        raise ZeroDivisionError

    monkeypatch.setattr(gateway.app, "parser", lambda kind: Parser(kind, broken))
    assert house.post().json()["quarantined"] is True
    assert house.journal.list_quarantine()[0].reason == "the parser failed: ZeroDivisionError"


def test_what_the_journal_will_never_hold_goes_into_quarantine_instead_of_coming_back(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    unholdable = Parsed((alert(annotations={"x": object()}),))
    monkeypatch.setattr(gateway.app, "parser", lambda kind: Parser(kind, lambda _body, _headers: unholdable))
    answer = house.post()
    assert (answer.status_code, answer.json()["quarantined"]) == (202, True)
    assert house.journal.list_quarantine()[0].body == FIRING.decode()
    assert house.journal.list_runs() == []


def test_a_storm_in_one_message_is_taken(house: House):
    message = json.loads(FIRING)
    one = message["alerts"][0]
    message["alerts"] = [{**one, "fingerprint": f"{number % 50:016x}"} for number in range(1000)]
    answer = house.post(body=json.dumps(message).encode())
    assert answer.json()["outcomes"] == {"started": 1, "recorded": 49, "duplicate": 950}


def test_the_description_says_how_sources_prove_themselves_and_names_no_answer_that_is_never_given(house: House):
    description = house.get("/openapi.json").json()
    assert house.get("/openapi.json").json() == description
    post = description["paths"]["/alerts/{source}"]["post"]
    assert {name for each in post["security"] for name in each} == set(description["components"]["securitySchemes"])
    assert "422" not in post["responses"]
