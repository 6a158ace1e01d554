"""The heartbeat row: a committed write that proves a server takes them, and a marker of time in the data itself."""

from __future__ import annotations

from typing import Any

from recoverd.connections import Sql
from recoverd.errors import RecoverdError

# How far a copy or a restore reaches can be read from it.
HEARTBEAT_TABLE = (
    "create schema if not exists recoverd",
    "create table if not exists recoverd.heartbeat "
    "(service text primary key, at timestamptz not null, by text not null)",
)
HEARTBEAT = (
    "insert into recoverd.heartbeat as h (service, at, by) values (%s, clock_timestamp(), %s) "
    "on conflict (service) do update set at = excluded.at, by = excluded.by "
    "returning h.at, pg_is_in_recovery() as in_recovery, host(inet_server_addr()) as server"
)


def write_heartbeat(session: Sql, service: str, by: str, *, timeout_s: float) -> dict[str, Any]:
    """Commit the heartbeat row, making its table when there is none."""
    try:
        return dict(session.rows(HEARTBEAT, (service, by), timeout_s=timeout_s)[0])
    except RecoverdError as error:
        if "42P01" not in error.message and "3F000" not in error.message:
            raise
        for statement in HEARTBEAT_TABLE:
            session.rows(statement, timeout_s=timeout_s)
        return dict(session.rows(HEARTBEAT, (service, by), timeout_s=timeout_s)[0])
