"""A real Alertmanager and real gateways: what fires is acted on once, whatever dies in between."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest
from alertmanager_kit import (
    ALERTMANAGER,
    DATA,
    Alertmanager,
    Gateway,
    down,
    eventually,
    free_port,
    write_inventory,
)

from recoverd.journal import Journal

FIRING = (DATA / "alertmanager-0.25-firing.json").read_bytes()

needs_alertmanager = pytest.mark.skipif(
    ALERTMANAGER is None, reason="Alertmanager is not installed (apt: prometheus-alertmanager)"
)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Journal]:
    """The journal that the gateways of the test write, on SQLite."""
    opened = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    yield opened
    opened.close()


@pytest.fixture
def keep() -> Iterator[Callable[[Any], Any]]:
    """Ends, at the end of the test, every process that it is given."""
    with ExitStack() as stack:

        def kept(process: Any) -> Any:
            stack.callback(process.end)
            return process

        yield kept


@needs_alertmanager
def test_an_alert_that_fires_starts_a_run_and_its_end_is_recorded(tmp_path: Path, record: Journal, keep: Any):
    write_inventory(tmp_path)
    port = free_port()
    keep(Gateway(tmp_path, port))
    sender = keep(Alertmanager(tmp_path / "am", free_port(), port))
    sender.fire(down())
    eventually(record.list_runs, 10, sender.log.read_text)
    (run,) = record.list_runs()
    assert (run.procedure, run.target, run.trigger, run.mode) == ("failover", "orders", "alert", "act")
    assert "the primary of orders does not answer" in run.reason
    sender.fire({**down(), "endsAt": (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()})
    eventually(lambda: record.list_alerts(status="resolved"), 10, sender.log.read_text)
    assert len(record.list_runs()) == 1
    assert record.verify().ok


@needs_alertmanager
def test_what_fired_while_recoverd_was_down_is_found_and_acts_once(tmp_path: Path, record: Journal, keep: Any):
    port, api = free_port(), free_port()
    write_inventory(tmp_path, poll_url=f"http://127.0.0.1:{api}", poll_interval_s=1)
    sender = keep(Alertmanager(tmp_path / "am", api, port))
    sender.fire(down(), down("billing"))
    gateway = keep(Gateway(tmp_path, port))
    eventually(lambda: len(record.list_runs()) == 2, 10, gateway.log.read_text)
    # The webhook has its say too, by now or soon: the same alerts, with nanoseconds in their times.
    eventually(lambda: all(alert.count > 1 for alert in record.list_alerts()), 20, sender.log.read_text)
    assert Counter(run.target for run in record.list_runs()) == {"orders": 1, "billing": 1}
    assert len(record.list_alerts()) == 2


@needs_alertmanager
def test_alerts_that_did_not_fit_into_the_message_are_asked_for(tmp_path: Path, record: Journal, keep: Any):
    port, api = free_port(), free_port()
    write_inventory(tmp_path, poll_url=f"http://127.0.0.1:{api}", poll_interval_s=3600)
    sender = keep(Alertmanager(tmp_path / "am", api, port, max_alerts=1))
    gateway = keep(Gateway(tmp_path, port))
    sender.fire(*(down(instance=f"db-{number}") for number in range(4)))
    eventually(lambda: len(record.list_alerts()) == 4, 10, gateway.log.read_text)
    assert len(record.list_runs()) == 1


@needs_alertmanager
def test_an_alert_that_still_fires_after_the_cooldown_is_found_and_acts_once_more(
    tmp_path: Path, record: Journal, keep: Any
):
    port, api = free_port(), free_port()
    write_inventory(tmp_path, poll_url=f"http://127.0.0.1:{api}", poll_interval_s=1)
    gateway = keep(Gateway(tmp_path, port, again_after_s=1))
    sender = keep(Alertmanager(tmp_path / "am", api, port))  # which repeats a notification after four hours
    sender.fire(down())
    eventually(record.list_runs, 10, gateway.log.read_text)
    (first,) = record.list_runs()
    record.set_run(first.id, "refused", who="recoverd", summary="in the cooldown", body={"passes": True})
    eventually(lambda: len(record.list_runs()) == 2, 10, gateway.log.read_text)
    second = record.list_runs()[0]
    (alert,) = record.list_alerts()
    assert (alert.run, second.alert) == (second.id, first.alert)
    record.set_run(second.id, "refused", who="recoverd", summary="the primary is healthy")
    polled = polls(gateway)
    eventually(lambda: polls(gateway) >= polled + 3, 20, gateway.log.read_text)
    assert len(record.list_runs()) == 2
    assert record.verify().ok


def polls(gateway: Gateway) -> float:
    """How often the gateway has asked Alertmanager with success."""
    said = httpx.get(f"{gateway.url}/metrics", timeout=5, trust_env=False).text
    found = [line for line in said.splitlines() if line.startswith("recoverd_polls_total{") and 'result="ok"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def test_two_gateways_that_hear_of_it_at_the_same_instant_start_one_run_more(
    tmp_path: Path, journal: Journal, journal_address: str, keep: Any
):
    write_inventory(tmp_path)
    gateways = [
        keep(Gateway(tmp_path, free_port(), f"gateway-{number}.log", journal_address, again_after_s=0))
        for number in range(2)
    ]
    first = gateways[0].post(FIRING).json()["runs"][0]
    journal.set_run(first, "refused", who="recoverd", summary="in the cooldown", body={"passes": True})
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda gateway: gateway.post(FIRING), gateways * 4))
    outcomes = Counter(kind for answer in answers for kind in answer.json()["outcomes"])
    assert outcomes == {"started": 1, "duplicate": 7}
    assert len(journal.list_runs()) == 2


def test_a_kill_right_after_the_202_loses_nothing(tmp_path: Path, record: Journal, keep: Any):
    write_inventory(tmp_path)
    gateway = keep(Gateway(tmp_path, free_port()))
    answer = gateway.post(FIRING)
    gateway.kill()
    assert answer.status_code == 202
    (run,) = record.list_runs()
    (alert,) = record.list_alerts()
    assert alert.run == run.id == answer.json()["runs"][0]
    assert record.verify().ok


def test_two_gateways_on_one_journal_act_once_on_what_both_receive(
    tmp_path: Path, journal: Journal, journal_address: str, keep: Any
):
    write_inventory(tmp_path)
    gateways = [keep(Gateway(tmp_path, free_port(), f"gateway-{number}.log", journal_address)) for number in range(2)]
    envelope = json.loads(FIRING)
    bodies = [
        {**envelope, "alerts": [{**envelope["alerts"][0], "fingerprint": f"{number:016x}"}]} for number in range(10)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda pair: pair[1].post(pair[0]), [(b, g) for b in bodies for g in gateways * 2]))
    assert {answer.status_code for answer in answers} == {202}
    outcomes = Counter(kind for answer in answers for kind in answer.json()["outcomes"])
    assert outcomes == {"started": 1, "recorded": 9, "duplicate": 30}
    assert len(journal.list_runs()) == 1
    assert {alert.count for alert in journal.list_alerts()} == {4}
    assert journal.verify().ok
