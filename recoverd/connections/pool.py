"""The connections of one run: opened once, reused by every step, closed at the end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from recoverd.connections.aws_calls import Aws
from recoverd.connections.s3 import S3
from recoverd.connections.sql import Sql, server_parameters
from recoverd.connections.ssh import Ssh
from recoverd.errors import RecoverdError, TimedOut, Unreachable
from recoverd.inventory import Host, Inventory, S3Site, Service
from recoverd.inventory.isolation_aws import AwsIsolation

T = TypeVar("T", Ssh, Sql)

TRUSTED_FOR_S = 0.5


class Connections:
    """Kept SSH connections by host and SQL sessions by server. Safe to use from several threads.

    Two threads that want the same connection at once: the second waits until the first has opened it, and shares the
    outcome. A session is used by one thread at a time; `Sql` and `Ssh` see to that themselves.

    A connection that nothing was heard from for half a second must say a word before it is given out. One that is broken is
    opened again; one whose other end is silent counts as unreachable this time, and is opened again the next.
    """

    def __init__(self, inventory: Inventory, *, connect_timeout_s: float = 5.0) -> None:
        self._inventory = inventory
        self._connect_timeout_s = connect_timeout_s
        self._open: dict[str, Ssh | Sql] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._failed: dict[str, tuple[float, RecoverdError]] = {}
        self._buckets: dict[S3Site, S3] = {}
        self._clouds: dict[AwsIsolation, Aws] = {}
        self._guard = threading.Lock()
        self._opened: Counter[str] = Counter()
        self._reused: Counter[str] = Counter()

    def ssh(self, host: str, *, timeout_s: float | None = None) -> Ssh:
        """The connection to a host of the inventory.

        Args:
            host: Its name in the inventory.
            timeout_s: Limit for opening it, where it is not open yet.

        Raises:
            Unreachable, NotAllowed, Tampered: See `Ssh`.
        """
        limit = self._connect_timeout_s if timeout_s is None else timeout_s
        wanted: Host = self._inventory.host(host)
        return self._kept(f"ssh:{host}", lambda: Ssh(wanted, limit), limit)

    def sql(self, service: Service, host: str, *, timeout_s: float | None = None, purpose: str = "") -> Sql:
        """The session with the server of a service on a host, as the service's administrative role.

        Args:
            service: The service.
            host: The member's host name.
            timeout_s: Limit for opening it, where it is not open yet.
            purpose: Sessions of different purposes are different sessions.

        Raises:
            Unreachable, TryAgain, NotAllowed: See `Sql`.
        """
        limit = self._connect_timeout_s if timeout_s is None else timeout_s
        server = service.postgres_of(host)
        parameters = server_parameters(
            self._inventory.host(host).address,
            server.port,
            server.database,
            server.user,
            server.password.resolve() if server.password else None,
            server.sslmode,
            "recoverd",
            # A write of recoverd's own must show what the server does, not whether its standbys answer.
            options="-c synchronous_commit=local",
        )
        key = f"sql:{service.name}:{host}:{purpose}"
        return self._kept(key, lambda: Sql(parameters, timeout_s=limit, name=f"{host}:{server.port}"), limit)

    def data(self, service: Service, host: str, *, timeout_s: float | None = None) -> Sql:
        """The session with the server of a service on a host, as the role that mends records, in their database.

        It commits as the server is set up to, and reads constants as the grammar in recoverd/records does.

        Raises:
            Invalid: data.yaml does not say how.
            Unreachable, TryAgain, NotAllowed: See `Sql`.
        """
        limit = self._connect_timeout_s if timeout_s is None else timeout_s
        rules, port = self._inventory.data_of(service.name), service.postgres_of(host).port
        parameters = server_parameters(
            self._inventory.host(host).address, port, rules.database, rules.user,
            rules.password.resolve() if rules.password else None, rules.sslmode, "recoverd fix",
            options="-c standard_conforming_strings=on -c client_min_messages=error -c jit=off",
        )  # fmt: skip
        key = f"sql:{service.name}:{host}:data"
        return self._kept(key, lambda: Sql(parameters, timeout_s=limit, name=f"{host}:{port}/{rules.database}"), limit)

    def s3(self, site: S3Site) -> S3:
        """The bucket of a backup site. Opens nothing yet: each call of it says whether the server answers."""
        with self._guard:
            if site not in self._buckets:
                self._buckets[site] = S3(site)
            return self._buckets[site]

    def aws(self, settings: AwsIsolation) -> Aws:
        """An account and region of AWS. Opens nothing yet, likewise."""
        with self._guard:
            if settings not in self._clouds:
                self._clouds[settings] = Aws(settings)
            return self._clouds[settings]

    def forget(self, host: str) -> None:
        """Close what is open to a host: it was powered off, or its server was stopped."""
        with self._guard:
            keys = [key for key in self._open if key.split(":")[0] == "ssh" and key == f"ssh:{host}"]
            keys += [key for key in self._open if key.startswith("sql:") and key.split(":")[2] == host]
            gone = [self._open.pop(key) for key in keys]
        for connection in gone:
            connection.close()

    def refresh(self, timeout_s: float) -> None:
        """Have every connection that was quiet say a word, and close those that do not: for who keeps them for later."""
        with self._guard:
            kept = dict(self._open)
        for key, connection in kept.items():
            if time.monotonic() - connection.heard_at < TRUSTED_FOR_S:
                continue
            try:
                connection.check(timeout_s)
            except RecoverdError:
                self._drop(key, connection)

    def fallen(self, service: str, timeout_s: float) -> list[str]:
        """Members of a service whose kept SQL sessions are broken, or silent when asked for a word; those are closed."""
        with self._guard:
            kept = {key: found for key, found in self._open.items() if key.startswith(f"sql:{service}:")}
        fallen = []
        for key, session in kept.items():
            try:
                session.check(timeout_s)
            except RecoverdError:
                self._drop(key, session)
                fallen.append(key.split(":")[2])
        return fallen

    def keeps(self, service: str, host: str) -> bool:
        """Whether an SQL session with a member of a service is kept open."""
        with self._guard:
            return any(key.startswith(f"sql:{service}:{host}:") for key in self._open)

    def tally(self) -> dict[str, dict[str, int]]:
        """How many connections were opened, and how often an open one was used, by kind: `ssh`, `sql`."""
        with self._guard:
            return {"opened": dict(self._opened), "reused": dict(self._reused)}

    def close(self) -> None:
        """Close everything."""
        with self._guard:
            gone: list[Ssh | Sql | S3 | Aws] = [*self._open.values(), *self._buckets.values(), *self._clouds.values()]
            self._open, self._buckets, self._clouds = {}, {}, {}
        for connection in gone:
            connection.close()

    def __enter__(self) -> Connections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kept(self, key: str, make: Callable[[], T], limit_s: float) -> T:
        arrived = time.monotonic()
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            failed_at, error = self._failed.get(key, (0.0, None))
            if error is not None and failed_at > arrived:
                raise error  # whoever we waited for has just tried: waiting out the same silence again tells nothing
            try:
                found = self._proven(key, limit_s)
                if found is not None:
                    self._reused[key.partition(":")[0]] += 1
                    return found  # type: ignore[return-value]  # the key says which kind it is
                made = make()
            except RecoverdError as failure:
                self._failed[key] = (time.monotonic(), failure)
                raise
            with self._guard:
                self._open[key] = made
                self._failed.pop(key, None)
                self._opened[key.partition(":")[0]] += 1
            return made

    def _proven(self, key: str, limit_s: float) -> Ssh | Sql | None:
        """The open connection, if it is good; None when a new one is to be opened."""
        found = self._open.get(key)
        if found is None or not found.alive:
            return None
        if time.monotonic() - found.heard_at < TRUSTED_FOR_S:
            return found
        try:
            found.check(limit_s)
        except TimedOut as silence:
            self._drop(key, found)
            raise Unreachable(
                f"{key.split(':')[-2 if key.startswith('sql:') else -1]} does not answer any more",
                "check power, network and load of that host",
            ) from silence
        except RecoverdError:
            self._drop(key, found)
            return None
        return found

    def _drop(self, key: str, connection: Ssh | Sql) -> None:
        with self._guard:
            if self._open.get(key) is connection:
                del self._open[key]
        with contextlib.suppress(RecoverdError):
            connection.close()
