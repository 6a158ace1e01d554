"""Alertmanager's webhook, version 4 of its payload (Alertmanager 0.16 and newer), and its API v2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.alerts_model import Alert, Parsed, ParseError, Rejected
from gateway.parsers import Parser
from gateway.parsers.reading import check_storable, fingerprint_of, json_object, moment, text_map

KIND = "alertmanager"


def parse(body: bytes, _headers: Mapping[str, str]) -> Parsed:
    """The alerts of one notification; those that cannot be understood are set aside, the others count."""
    return envelope(json_object(body), scope=KIND)


def envelope(message: Mapping[str, Any], scope: str) -> Parsed:
    """The shape that Alertmanager gave the trade: Grafana and others send it too.

    Raises:
        ParseError: There is no list of alerts.
    """
    entries = message.get("alerts")
    if not isinstance(entries, list):
        raise ParseError("the body has no list of alerts", "send the sender's standard payload, not a template")
    truncated = message.get("truncatedAlerts")
    alerts: list[Alert] = []
    rejected: list[Rejected] = []
    for entry in entries:
        try:
            alerts.append(one(entry, scope))
        except ParseError as error:
            rejected.append(Rejected(entry, error.message))
    count = truncated if isinstance(truncated, int) and not isinstance(truncated, bool) else 0
    return Parsed(tuple(alerts), tuple(rejected), max(count, 0))


def one(entry: object, scope: str) -> Alert:
    """One alert of the envelope.

    Raises:
        ParseError: What it is about, whether it fires, or since when, is missing or cannot be read.
    """
    if not isinstance(entry, dict):
        raise ParseError("an alert is not an object")
    status = entry.get("status")
    if status not in ("firing", "resolved"):
        raise ParseError(f"an alert's status is {str(status)[:40]!r}, neither firing nor resolved")
    labels = text_map(entry.get("labels"), "labels")
    if not labels:
        raise ParseError("an alert has no labels")
    starts_at = moment(entry.get("startsAt"), "startsAt")
    if starts_at is None:
        raise ParseError("an alert does not say since when: startsAt")
    return Alert(
        fingerprint=fingerprint(entry.get("fingerprint"), labels),
        status="resolved" if status == "resolved" else "firing",
        labels=labels,
        annotations=text_map(entry.get("annotations"), "annotations"),
        starts_at=starts_at,
        ends_at=moment(entry.get("endsAt"), "endsAt") if status == "resolved" else None,
        scope=scope,
        raw=entry,
    )


def polled(entry: object) -> Alert:
    """One alert as `GET /api/v2/alerts` lists it: only firing ones are listed.

    Raises:
        ParseError: It cannot be understood.
    """
    if not isinstance(entry, dict):
        raise ParseError("an alert is not an object")
    check_storable(entry)
    return one({**entry, "status": "firing"}, scope=KIND)


def fingerprint(value: object, labels: Mapping[str, str]) -> str:
    """The sender's fingerprint; Prometheus's own of the labels where an old version sends none.

    Raises:
        ParseError: It is not short text.
    """
    if value is None or value == "":
        return fingerprint_of(labels)
    if not isinstance(value, str) or len(value) > 128:
        raise ParseError("an alert's fingerprint is not short text")
    return value


PARSER = Parser(kind=KIND, parse=parse, retries=True)
