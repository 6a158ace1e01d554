"""Parsers turn whatever a sender writes into alerts, or say why not; they never fail in any other way."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake_kit import DATA, SINCE, alert

import gateway.parsers
from gateway.alerts_model import Parsed, ParseError
from gateway.parsers import Parser, parser, parsers
from gateway.parsers.alertmanager import polled
from gateway.parsers.reading import fingerprint_of, moment
from recoverd.errors import Invalid

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ALERT_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["firing", "resolved", "FIRING"]) | ANY_JSON,
        "labels": st.dictionaries(st.text(), ANY_JSON, max_size=3) | ANY_JSON,
        "annotations": ANY_JSON,
        "startsAt": st.sampled_from(["2026-11-22T02:53:27.593231032Z", "9999-12-31T23:59:59-23:59"]) | ANY_JSON,
        "endsAt": ANY_JSON,
        "fingerprint": ANY_JSON,
    },
)
BODY_LIKE = st.fixed_dictionaries(
    {"alerts": st.lists(ALERT_LIKE | ANY_JSON, max_size=4)}, optional={"orgId": ANY_JSON, "truncatedAlerts": ANY_JSON}
)


def test_the_firing_alert_of_a_real_alertmanager_is_understood():
    found = parser("alertmanager").parse((DATA / "alertmanager-0.25-firing.json").read_bytes(), {})
    (one,) = found.alerts
    assert (one.status, one.labels["service"], one.starts_at) == ("firing", "orders", SINCE)
    assert one.ends_at is None
    assert one.annotations["description"] == "主库无响应"
    assert one.key == "alertmanager/72bb016e943e78a8/2026-11-22T02:53:27.593Z/firing"


def test_a_resolved_alert_has_a_key_of_its_own_and_an_end():
    (one,) = parser("alertmanager").parse((DATA / "alertmanager-0.25-resolved.json").read_bytes(), {}).alerts
    assert one.key.endswith("/resolved")
    assert one.ends_at == datetime(2026, 11, 22, 2, 53, 30, tzinfo=timezone.utc)


def test_the_webhook_and_the_api_of_alertmanager_give_one_alert_one_key():
    (sent,) = parser("alertmanager").parse((DATA / "alertmanager-0.25-firing.json").read_bytes(), {}).alerts
    (listed,) = json.loads((DATA / "alertmanager-0.25-api-v2.json").read_text())
    assert polled(listed).key == sent.key


def test_alerts_that_the_sender_left_out_are_counted():
    found = parser("alertmanager").parse((DATA / "alertmanager-0.25-truncated.json").read_bytes(), {})
    assert (len(found.alerts), found.truncated) == (2, 3)


def test_an_old_alertmanager_that_sends_no_fingerprint_gets_the_one_that_prometheus_computes():
    for each in json.loads((DATA / "alertmanager-0.25-truncated.json").read_text())["alerts"]:
        assert fingerprint_of(each["labels"]) == each["fingerprint"]


def test_grafana_organisations_do_not_share_keys():
    body = json.loads((DATA / "grafana-12-firing.json").read_text())
    (one,) = parser("grafana").parse(json.dumps(body).encode(), {}).alerts
    (other,) = parser("grafana").parse(json.dumps({**body, "orgId": 2}).encode(), {}).alerts
    assert one.key == "grafana:1/c6eadffa33fcdf37/2026-11-22T02:53:20.000Z/firing"
    assert other.key != one.key


def test_one_broken_alert_does_not_hide_the_others():
    body = json.loads((DATA / "alertmanager-0.25-truncated.json").read_text())
    del body["alerts"][0]["startsAt"]
    found = parser("alertmanager").parse(json.dumps(body).encode(), {})
    assert [each.labels["n"] for each in found.alerts] == ["1"]
    assert [each.reason for each in found.rejected] == ["an alert does not say since when: startsAt"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"\xff"',
        b"{}",
        b'{"alerts": {}}',
        b'{"alerts": [NaN]}',
        b'{"alerts": [], "a": "\\ud800"}',
        b'{"alerts": [], "a\\u0000": 1}',
        b'{"alerts": [], "a": 1e999}',
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"[" * 100_000,
        b'{"alerts": ' + b"9" * 5_000 + b"}",
    ],
)
def test_a_body_that_cannot_be_understood_or_stored_is_a_parse_error(body: bytes):
    for each in parsers().values():
        with pytest.raises(ParseError):
            each.parse(body, {})


@settings(max_examples=60, deadline=None)
@given(body=ANY_JSON | BODY_LIKE)
def test_no_json_whatever_raises_anything_but_the_parse_error(body: Any):
    for each in parsers().values():
        assert_understood_or_refused(each, json.dumps(body).encode())


@settings(max_examples=60, deadline=None)
@given(body=st.binary(max_size=200))
def test_no_bytes_whatever_raise_anything_but_the_parse_error(body: bytes):
    for each in parsers().values():
        assert_understood_or_refused(each, body)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T02:53:27.593231032Z", SINCE),
        ("2026-11-22T10:53:27.593231+08:00", SINCE),
        ("2026-11-21T21:23:27.593231-05:30", SINCE),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_are_read_to_the_microsecond_in_utc(text: str, expected: datetime | None):
    assert moment(text, "startsAt") == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-13-01T00:00:00Z",
        "2026-11-22T02:53:27",
        "yesterday",
        7,
        "0001-01-01T00:00:00+01:00",
        "0500-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_is_refused(text: object):
    with pytest.raises(ParseError):
        moment(text, "startsAt")


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(Invalid, match="known kinds: alertmanager, grafana"):
        parser("pigeon")


def test_a_parser_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch):
    entry = EntryPoint("pigeon", f"{__name__}:PIGEON", gateway.parsers.GROUP)
    monkeypatch.setattr(gateway.parsers, "entry_points", lambda group: EntryPoints([entry]))
    parsers.cache_clear()
    try:
        assert parser("pigeon").parse(b"", {}).alerts[0].fingerprint == "coo"
    finally:
        parsers.cache_clear()


PIGEON = Parser("pigeon", lambda body, headers: Parsed((alert("coo"),)))


def assert_understood_or_refused(each: Parser, body: bytes) -> None:
    try:
        found = each.parse(body, {})
    except ParseError:
        return
    for one in found.alerts:
        assert one.labels
        assert one.key.encode()
        json.dumps(one.raw, allow_nan=False).encode()
