"""The stopped server of a host, started read-only and reachable by nobody, to read what only it knows.

In place, not on a copy: a large database does not fit twice, and as a standby of nobody the server only replays the
WAL that it has, which any later use of the data directory does as well. It writes no WAL and stays fenced.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from recoverd.errors import Look, RecoverdError
from recoverd.inventory import Service
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_script
from tasks.salvage import wal_facts
from tasks.views import lsn_to_text

REPLAY_LIMIT_S = 600
QUERY_LIMIT_S = 90.0
STOP_LIMIT_S = 75.0
MOST_ANSWER_BYTES = 32 << 20


class Isolated:
    """A running isolated server; made by `isolated`."""

    def __init__(self, service: Service, host: str) -> None:
        self._service, self._host = service, host

    def lines(self, database: str, sql: str) -> list[dict[str, Any]]:
        """The answer of a query whose rows are one JSON object each.

        Raises:
            Look: The server refused it, or the answer is larger than `MOST_ANSWER_BYTES`.
        """
        variables = {"VERB": "query", "DATABASE": database, "SQL": sql, "MOST_BYTES": str(MOST_ANSWER_BYTES)}
        done = run_script(
            "isolated", self._service, self._host, variables | _user(self._service), timeout_s=QUERY_LIMIT_S
        )
        if done.err.strip():
            raise Look(
                f"the isolated server on {self._host} says: {done.err.strip().splitlines()[0]}", "resume the run"
            )
        if len(done.out) >= MOST_ANSWER_BYTES:
            raise Look(f"an answer of the isolated server on {self._host} is too large", "decode a part of it by hand")
        return [json.loads(line) for line in done.out.splitlines() if line]


@contextmanager
def isolated(service: Service, host: str, timeline: int, end: int) -> Iterator[Isolated]:
    """Start the server of a host in isolation, replayed up to `end`, and stop it at the end.

    Raises:
        Look: It does not start, or does not come to the end of its WAL.
    """
    variables = {"VERB": "start", "TIMELINE": str(timeline), "END": lsn_to_text(end), "LIMIT_S": str(REPLAY_LIMIT_S)}
    try:
        run_script("isolated", service, host, variables | _user(service), timeout_s=2.0 * REPLAY_LIMIT_S)
        yield Isolated(service, host)
    except BaseException:
        with suppress(RecoverdError):  # the first error counts; a server that is left is stopped before the next step
            _stop(service, host)
        raise
    _stop(service, host)


def _stop(service: Service, host: str) -> None:
    run_script("isolated", service, host, {"VERB": "stop"} | _user(service), timeout_s=STOP_LIMIT_S)


def _user(service: Service) -> dict[str, str]:
    return {"DB_USER": service.postgresql.user}


def _is_settled(service: str, host: str) -> Effect | None:
    facts = wal_facts(world().inventory.service(service), host)
    if facts.running or facts.state not in {"shut down", "shut down in recovery"}:
        return None
    return Effect(f"the server on {host} is {facts.state}", {"host": host, "state": facts.state})


@act(
    "let the stopped server on {host} finish its own WAL, isolated", ask=_is_settled, time_limit_s=2.0 * REPLAY_LIMIT_S
)
def settle(service: str, host: str) -> None:
    """Bring a server that was killed to a clean stop without ever letting it write: pg_rewind wants that."""
    wanted = world().inventory.service(service)
    with isolated(wanted, host, wal_facts(wanted, host).timeline, 0):
        pass
