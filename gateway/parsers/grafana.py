"""Grafana's webhook contact point (Grafana 9 and newer): Alertmanager's envelope, with the organisation beside it."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.alerts_model import Parsed
from gateway.parsers import Parser
from gateway.parsers.alertmanager import envelope
from gateway.parsers.reading import json_object

KIND = "grafana"


def parse(body: bytes, _headers: Mapping[str, str]) -> Parsed:
    """The alerts of one notification. Organisations of one Grafana may have equal fingerprints: each is a scope."""
    message = json_object(body)
    organisation = message.get("orgId")
    scope = f"{KIND}:{organisation}" if isinstance(organisation, int) else KIND
    return envelope(message, scope)


# Grafana takes any failure as final for that notification: it is never turned away.
PARSER = Parser(kind=KIND, parse=parse, retries=False)
