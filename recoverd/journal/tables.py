"""The tables of the journal: the chain (append-only) and the projections that change with it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from recoverd.journal.entries import canonical, instant_text, parse_instant


class Instant(TypeDecorator[datetime]):
    """A UTC instant with microseconds, kept as text so that both databases give back exactly what was hashed."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else instant_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Database to Python."""
        return None if value is None else parse_instant(value)


class Json(TypeDecorator[Any]):
    """Canonical JSON, kept as text: JSON types of databases re-order and re-write it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Python to database."""
        return None if value is None else canonical(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Database to Python."""
        return None if value is None else json.loads(value)


metadata = MetaData()

_BIG = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is the row's own key in SQLite

entries = Table(
    "entries",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("run", Text),
    Column("incident", Text),
    Column("step", Text),
    Column("who", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("entries_run_step", "run", "step", "kind"),
    Index("entries_kind", "kind"),
    Index("entries_incident", "incident"),
)

head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", _BIG, nullable=False),
    Column("hash", Text, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seq", _BIG, nullable=False),
    Column("procedure", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("options", Json, nullable=False),
    Column("urgency", Integer, nullable=False),
    Column("incident", Text),
    Column("alert", Text),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("flow_run", Text),
    Column("executor", Text),
    Column("summary", Text, nullable=False),
    Index("runs_state", "state", "urgency", "seq"),
    Index("runs_target", "target", "seq"),
)

alerts = Table(
    "alerts",
    metadata,
    Column("key", Text, primary_key=True),
    Column("seq", _BIG, nullable=False),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("target", Text),
    Column("starts_at", Instant),
    Column("received_at", Instant, nullable=False),
    Column("last_at", Instant, nullable=False),
    Column("count", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("run", Text),
    Column("incident", Text),
    Column("body", Json, nullable=False),
    Index("alerts_received", "received_at"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("run", Text, primary_key=True),
    Column("gate", Text, primary_key=True),
    Column("plan_hash", Text, primary_key=True),
    Column("seq", _BIG, nullable=False),
    Column("state", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("required", Integer, nullable=False),
    Column("roles", Json, nullable=False),
    Column("requester", Text, nullable=False),
    Column("requested_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("decisions", Json, nullable=False),
    Index("approvals_state", "state"),
)

locks = Table(
    "locks",
    metadata,
    Column("target", Text, primary_key=True),
    Column("run", Text),
    Column("epoch", _BIG, nullable=False),
    Column("acquired_at", Instant),
    Column("expires_at", Instant),
    Column("gives_way", Text),
)
