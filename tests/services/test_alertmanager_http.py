"""The HTTP door as callers meet it, well-meaning or not, over real sockets."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from alertmanager_kit import BEARER, DATA, TOKEN, Gateway, eventually, free_port, write_inventory

from gateway.body import MOST_BYTES
from recoverd.journal import Journal

FIRING = (DATA / "alertmanager-0.25-firing.json").read_bytes()
GRAFANA = (DATA / "grafana-12-firing.json").read_bytes()

CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
MOST_CHUNKS = MOST_BYTES // 0x10000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gateway")
    write_inventory(directory)
    return directory


@pytest.fixture(scope="module")
def gateway(home: Path) -> Iterator[Gateway]:
    process = Gateway(home, free_port())
    yield process
    process.end()


@pytest.fixture(scope="module")
def journal(home: Path, gateway: Gateway) -> Iterator[Journal]:
    opened = Journal.open(f"sqlite:///{home / 'journal.db'}")
    yield opened
    opened.close()


def test_unknown_callers_cannot_tell_a_source_from_none(gateway: Gateway):
    wrong = {"authorization": "Bearer wrong"}
    signed = {"x-grafana-alerting-signature": "0" * 64}
    answers = [
        gateway.post(FIRING, source, headers)
        for source in ("alertmanager", "grafana", "nobody", "%00", "a" * 500)
        for headers in ({}, wrong, signed, {**wrong, **signed})
    ]
    assert {(answer.status_code, answer.content) for answer in answers} == {(401, b"")}
    assert {tuple(sorted(set(answer.headers) - {"date"})) for answer in answers} == {("content-length",)}


def test_no_answer_says_what_serves_it(gateway: Gateway):
    for path in ("/livez", "/nowhere", "/alerts/alertmanager", "/docs"):
        answer = httpx.get(gateway.url + path, trust_env=False)
        assert "server" not in answer.headers
        assert answer.status_code == 200 or answer.content == b""


def test_grafana_is_known_by_either_secret_while_they_rotate(gateway: Gateway, journal: Journal):
    for secret in (b"old-secret", b"new-secret"):
        signature = hmac.new(secret, GRAFANA, hashlib.sha256).hexdigest()
        assert gateway.post(GRAFANA, "grafana", {"X-Grafana-Alerting-Signature": signature}).status_code == 202
    row = journal.get_alert("grafana:1/c6eadffa33fcdf37/2026-11-22T02:53:20.000Z/firing")
    assert row is not None
    assert row.count == 2


def test_a_new_token_is_valid_as_soon_as_it_is_in_its_file(gateway: Gateway, home: Path):
    fresh = home / "token.new"
    fresh.write_text("another-token\n")
    fresh.replace(home / "token")
    assert gateway.post(FIRING).status_code == 401
    assert gateway.post(FIRING, headers={"authorization": "Bearer another-token"}).status_code == 202
    fresh.write_text(TOKEN + "\n")
    fresh.replace(home / "token")
    assert gateway.post(FIRING).status_code == 202


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{", b'{"alerts": 7}', b"[" * 100_000])
def test_a_known_body_that_cannot_be_understood_is_kept_and_taken(gateway: Gateway, journal: Journal, body: bytes):
    before = len(journal.list_quarantine())
    answer = gateway.post(body)
    assert (answer.status_code, answer.json()["quarantined"]) == (202, True)
    assert len(journal.list_quarantine()) == before + 1


def test_one_strange_alert_does_not_hide_the_others(gateway: Gateway, journal: Journal):
    body = json.loads((DATA / "alertmanager-0.25-truncated.json").read_bytes())
    body["alerts"][0]["status"] = "perhaps"
    answer = gateway.post(body)
    assert answer.json() == {"alerts": 1, "outcomes": {"recorded": 1}, "runs": [], "quarantined": True}
    assert "'perhaps'" in journal.list_quarantine(limit=1)[0].reason


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(gateway: Gateway):
    assert status_of(gateway, head(f"content-length: {10**12}")) == 413


def test_a_chunked_body_that_is_too_long_is_refused_with_the_reason(gateway: Gateway):
    assert status_of(gateway, head("transfer-encoding: chunked"), CHUNK * (MOST_CHUNKS + 2) + b"0\r\n\r\n") == 413
    assert status_of(gateway, head("transfer-encoding: chunked"), CHUNK * (MOST_CHUNKS + 2)) == 413


def test_an_endless_body_is_cut_off(gateway: Gateway):
    with connection(gateway) as caller, pytest.raises((BrokenPipeError, ConnectionResetError)):
        caller.sendall(head("transfer-encoding: chunked") + CHUNK * (MOST_CHUNKS * 20))


def test_a_chunked_body_within_the_limit_is_taken(gateway: Gateway):
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FIRING), FIRING)
    assert status_of(gateway, head("transfer-encoding: chunked"), chunks) == 202


def test_what_follows_the_stated_length_is_not_part_of_the_alert(gateway: Gateway, journal: Journal):
    before = len(journal.list_quarantine())
    assert status_of(gateway, head(f"content-length: {len(FIRING)}"), FIRING + b"GARBAGE") == 202
    assert len(journal.list_quarantine()) == before


def test_a_caller_that_hangs_up_in_mid_body_leaves_no_trace(gateway: Gateway, journal: Journal):
    before = journal.anchor()
    with connection(gateway) as caller:
        caller.sendall(head("content-length: 5000") + FIRING[:100])
    eventually(lambda: 'status="400"' in httpx.get(f"{gateway.url}/metrics", trust_env=False).text, 10)
    assert journal.anchor() == before


def test_health_and_numbers_are_told(gateway: Gateway):
    ready = httpx.get(f"{gateway.url}/readyz", trust_env=False)
    assert (ready.status_code, ready.json()) == (200, {"gate": "ok", "journal": "ok"})
    assert httpx.get(f"{gateway.url}/livez", trust_env=False).text == "ok\n"
    assert gateway.post(FIRING).status_code == 202
    numbers = httpx.get(f"{gateway.url}/metrics", trust_env=False).text
    for line in (
        'recoverd_alerts_total{outcome="duplicate",source="alertmanager"}',
        'recoverd_runs{procedure="failover",state="requested"} 1.0',
        "recoverd_journal_up 1.0",
        "recoverd_journal_head ",
        "recoverd_queue_age_seconds ",
        'recoverd_intake_seconds_bucket{le="0.05"}',
    ):
        assert line in numbers


def test_the_api_describes_itself(gateway: Gateway):
    description = httpx.get(f"{gateway.url}/openapi.json", trust_env=False).json()
    answers = description["paths"]["/alerts/{source}"]["post"]["responses"]
    assert {"202", "401", "408", "413", "503"} <= set(answers)


def head(*lines: str) -> bytes:
    fields = [
        "POST /alerts/alertmanager HTTP/1.1",
        "host: gateway",
        f"authorization: {BEARER['authorization']}",
        *lines,
    ]
    return "\r\n".join(fields).encode() + b"\r\n\r\n"


def status_of(gateway: Gateway, *parts: bytes) -> int:
    with connection(gateway) as caller:
        try:
            for part in parts:
                caller.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was answered before all of it was sent
        return int(caller.makefile("rb").readline().split()[1])


def connection(gateway: Gateway) -> Any:
    return socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=10)
