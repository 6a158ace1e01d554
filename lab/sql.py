"""Short questions to the lab's servers, each with a deadline of its own: libpq's shortest timeout is two seconds."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg2
from psycopg2 import extensions

from lab.layout import Host
from lab.machine import init_pid
from recoverd.errors import TimedOut, Unreachable


@contextlib.contextmanager
def connected(dsn: str, *, timeout_s: float = 1.0) -> Iterator[extensions.connection]:
    """An asynchronous connection for `ask`, open within `timeout_s`. Raises Unreachable, TimedOut."""
    try:
        connection = psycopg2.connect(dsn, async_=1)
    except psycopg2.Error as error:
        raise Unreachable(str(error).strip()) from error
    try:
        settle(connection, time.monotonic() + timeout_s)
        yield connection
    finally:
        connection.close()


def ask(
    connection: extensions.connection, sql: str, values: Sequence[object] = (), *, timeout_s: float = 1.0
) -> list[tuple[Any, ...]]:
    """Run one statement, which commits by itself, and return its rows.

    Raises:
        TimedOut: No answer within `timeout_s`: its effect is unknown.
        Unreachable: The connection was lost: its effect is unknown.
        psycopg2.Error: The server refused it.
    """
    cursor = connection.cursor()
    cursor.execute(sql, values or None)
    settle(connection, time.monotonic() + timeout_s)
    return cursor.fetchall() if cursor.description else []


def settle(connection: extensions.connection, deadline: float) -> None:
    """Let libpq work until it is done or the monotonic clock passes `deadline`."""
    while True:
        try:
            state = connection.poll()
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if error.pgcode:  # the server's own word
                raise
            raise Unreachable(str(error).strip()) from error
        if state == extensions.POLL_OK:
            return
        left = deadline - time.monotonic()
        reading = [connection.fileno()] if state == extensions.POLL_READ else []
        writing = [connection.fileno()] if state == extensions.POLL_WRITE else []
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            raise TimedOut("PostgreSQL did not answer in time")


def inside(host: Host, database: str = "postgres") -> str:
    """How to reach a host's PostgreSQL from inside the host, whatever its network is doing. Raises Unreachable.

    The socket is reached through the root directory of the host's first process; pg_ident.conf lets root in.
    """
    pid = init_pid(host)
    if pid is None:
        raise Unreachable(f"{host.name} is off")
    return f"host=/proc/{pid}/root/run/postgresql user=postgres dbname={database}"
