"""SQL sessions that never wait longer than they are told to.

libpq rounds its connect timeout up to two seconds and has none for a query that hangs in a frozen server, so the
sessions here are asynchronous ones driven by a deadline of our own.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from recoverd.errors import Look, NotAllowed, RecoverdError, TimedOut, TryAgain, Unreachable

Row = Mapping[str, Any]


class NoLogin(Unreachable):
    """Nobody answered, or a login was begun and did not end in time: a hung disk does that behind a living postmaster."""


class Sql:
    """One session with one server; each statement is a transaction of its own. One thread at a time uses it.

    Raises on construction:
        Unreachable: Nobody listens there.
        NoLogin: Nobody answers within `timeout_s`, or not to the end of the login.
        TryAgain: The server answers that it is starting up or shutting down.
        NotAllowed: The server refuses the login.
    """

    def __init__(self, parameters: Mapping[str, Any], *, timeout_s: float, name: str = "") -> None:
        self.name = name or f"{parameters.get('host')}:{parameters.get('port', 5432)}"
        self._lock = threading.Lock()
        try:
            self._connection = psycopg2.connect(**dict(parameters), async_=True)
        except psycopg2.Error as error:
            raise _explain(self.name, error) from error
        try:
            self._wait(timeout_s)
        except psycopg2.Error as error:
            self.close()
            raise _explain(self.name, error) from error
        except TimeoutError:
            self.close()
            raise NoLogin(
                f"PostgreSQL on {self.name} does not answer within {timeout_s:g} s",
                "check the host and the network to it",
            ) from None
        self.heard_at = time.monotonic()

    def rows(self, query: str, arguments: Sequence[Any] | Mapping[str, Any] = (), *, timeout_s: float) -> list[Row]:
        """Run one statement and give its rows; an empty list where it returns none.

        Raises:
            TimedOut: No answer in time. The session is closed, the statement cancelled as far as that goes; what it did
                is unknown.
            Unreachable: The connection broke on the way.
            Look: The server refused the statement; the message is the server's.
        """
        with self._lock:
            try:
                cursor = self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
                cursor.execute(query, arguments or None)
                self._wait(timeout_s)
                self.heard_at = time.monotonic()
                return list(cursor.fetchall()) if cursor.description else []
            except psycopg2.Error as error:
                raise _explain(self.name, error) from error
            except TimeoutError:
                self.close()
                raise TimedOut(
                    f"a statement on {self.name} did not finish within {timeout_s:g} s",
                    "look at pg_stat_activity, locks and disk of that server",
                ) from None

    def value(self, query: str, arguments: Sequence[Any] | Mapping[str, Any] = (), *, timeout_s: float) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(query, arguments, timeout_s=timeout_s)
        return next(iter(rows[0].values())) if rows else None

    def check(self, timeout_s: float) -> None:
        """Have the server say a word. Raises as `rows`."""
        self.rows("select", timeout_s=timeout_s)

    @property
    def alive(self) -> bool:
        """Whether the session has not been closed from this side or found broken."""
        return not self._connection.closed

    def close(self) -> None:
        """End the session; a broken one is dropped."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.close()

    def _wait(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            state = self._connection.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            poller = select.poll()
            wanted = select.POLLIN if state == psycopg2.extensions.POLL_READ else select.POLLOUT
            poller.register(self._connection.fileno(), wanted)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError


def server_parameters(
    address: str,
    port: int,
    database: str,
    user: str,
    password: str | None,
    sslmode: str,
    application: str,
    options: str = "",
) -> dict[str, Any]:
    """libpq parameters for one server, with TCP keepalives short enough to notice a dead peer.

    Args:
        address, port, database, user, password, sslmode: As libpq knows them.
        application: Shown in pg_stat_activity.
        options: Server settings of the session, as `-c name=value`.
    """
    parameters: dict[str, Any] = {
        "host": address,
        "port": port,
        "dbname": database,
        "user": user,
        "sslmode": sslmode,
        "application_name": application,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10000,
    }
    if options:
        parameters["options"] = options
    if password is not None:
        parameters["password"] = password
    return parameters


def _explain(name: str, error: psycopg2.Error) -> RecoverdError:
    """What a driver error means to the operator; the server's own words are kept."""
    text = str(error).strip().splitlines()
    said = text[0] if text else type(error).__name__
    state = error.pgcode
    if state == "57014":
        return TryAgain(f"{name}: {said} (SQLSTATE {state})", "the statement took too long and did nothing")
    if state is not None and not isinstance(error, psycopg2.OperationalError):
        return Look(f"{name} refused a statement: {said} (SQLSTATE {state})", "see the server's log for the statement")
    if state in {"55P03", "40P01", "40001"}:
        return TryAgain(f"{name}: {said} (SQLSTATE {state})", "another session was in the way; it is tried again")
    lowered = said.lower()
    if any(word in lowered for word in ("starting up", "shutting down", "recovery mode", "not yet accepting")):
        return TryAgain(f"{name} answers, but not yet: {said}", "wait until the server has started")
    if any(word in lowered for word in ("authentication failed", "no pg_hba.conf", "does not exist", "no password")):
        return NotAllowed(
            f"{name} refuses the login: {said}", "check user, password and pg_hba.conf against the inventory"
        )
    if "too many clients" in lowered or "remaining connection slots" in lowered:
        return TryAgain(f"{name} has no connection left: {said}", "raise max_connections or free sessions")
    return Unreachable(f"PostgreSQL on {name} cannot be reached: {said}", "check the server and the network to it")
