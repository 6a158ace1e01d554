"""Small inventories and alerts for the tests of the alert intake."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from gateway.alerts_model import Alert
from recoverd.inventory import AlertSource, Inventory, Policy, Route, Service

DATA = Path(__file__).parents[1] / "data" / "alerts"
SINCE = datetime(2026, 11, 22, 2, 53, 27, 593231, tzinfo=timezone.utc)


def service(name: str, policy: str = "default") -> Service:
    return Service.model_validate(
        {
            "name": name,
            "kind": "postgresql",
            "members": [{"host": "db-1"}],
            "postgresql": {"data_dir": "/data", "bin_dir": "/usr/bin", "control": {"kind": "pg_ctl"}},
            "objectives": {"rto_s": 60},
            "policy": policy,
        }
    )


def route(**changes: Any) -> Route:
    facts = {
        "name": "postgres-down",
        "match": 'alertname="PostgresDown"',
        "procedure": "failover",
        "target": "{labels.service}",
        "mode": "act",
    }
    return Route.model_validate({**facts, **changes})


def inventory(
    *routes: Route, services: tuple[str, ...] = ("orders", "billing"), policy: dict[str, Any] | None = None
) -> Inventory:
    return Inventory(
        root=Path("/nowhere"),
        services={name: service(name) for name in services},
        policies={"default": Policy.model_validate({"name": "default", **(policy or {})})},
        routes=routes or (route(),),
    )


def alert(fingerprint: str = "72bb016e943e78a8", **changes: Any) -> Alert:
    facts: dict[str, Any] = {
        "fingerprint": fingerprint,
        "status": "firing",
        "labels": {"alertname": "PostgresDown", "service": "orders"},
        "annotations": {},
        "starts_at": SINCE,
        "scope": "alertmanager",
    }
    return Alert(**{**facts, **changes})


def source(**changes: Any) -> AlertSource:
    facts = {"name": "alertmanager", "kind": "alertmanager", "auth": {"kind": "bearer", "tokens": [{"env": "TOKEN"}]}}
    return AlertSource.model_validate({**facts, **changes})
