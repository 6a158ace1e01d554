"""The documents about alerts are true: their examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from gateway.alerts_model import ParseError
from gateway.metrics import Metrics
from recoverd.inventory import AlertSource, Route
from recoverd.journal import Journal

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


def test_the_sender_in_the_guide_is_a_parser_that_works():
    names: dict[str, Any] = {}
    exec(blocks("adding-a-sender.md", "python")[0], names)  # noqa: S102 - our own document
    body = b'{"id": "7f", "host": "db-1", "service": "orders", "down": true, "since": "2026-11-22T02:53:27Z"}'
    (one,) = names["PARSER"].parse(body, {}).alerts
    assert one.key == "pigeon/7f/2026-11-22T02:53:27.000Z/firing"
    assert one.labels["service"] == "orders"
    with pytest.raises(ParseError):
        names["PARSER"].parse(b"{}", {})


def test_the_sources_and_routes_in_the_guide_are_valid():
    sources, _receiver, routes = (YAML(typ="safe").load(block) for block in blocks("alerts.md", "yaml"))
    for name, source in sources["sources"].items():
        AlertSource.model_validate({"name": name, **source})
    for route in routes["routes"]:
        Route.model_validate(route)


def test_every_metric_is_explained(tmp_path: Path):
    journal = Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")
    text = Metrics(journal).expose()[0].decode()
    journal.close()
    explained = (DOCS / "alerts.md").read_text(encoding="utf-8")
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) > 8
    unexplained = [name for name in families if name.removesuffix("_created") not in explained]
    assert unexplained == []
