"""What the outcome of the probing write says of a primary, and what it only says of recoverd's own rights."""

from __future__ import annotations

from typing import Any, cast

import psycopg2
import psycopg2.errors
import pytest

from recoverd.connections import Sql
from recoverd.connections.sql import _explain
from recoverd.errors import RecoverdError, TimedOut
from recoverd.inventory import Service
from tasks.postgres import _probe_write
from tasks.views import Answer


class Session:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def rows(self, *_: Any, **__: Any) -> Any:
        raise self.error


class Named:
    name = "orders-db"


def refused(kind: type[psycopg2.Error], state: str) -> RecoverdError:
    class Coded(kind):  # type: ignore[valid-type, misc]
        pgcode = state

    return _explain("db-1", Coded("no"))


@pytest.mark.parametrize(
    ("error", "writes"),
    [
        (refused(psycopg2.errors.DiskFull, "53100"), Answer.REJECTED),
        (refused(psycopg2.errors.IoError, "58030"), Answer.REJECTED),
        (refused(psycopg2.errors.DataCorrupted, "XX001"), Answer.REJECTED),
        (TimedOut("a statement did not finish"), Answer.STALLED),
        (refused(psycopg2.errors.InsufficientPrivilege, "42501"), None),
        (refused(psycopg2.errors.ReadOnlySqlTransaction, "25006"), None),
        (refused(psycopg2.errors.DeadlockDetected, "40P01"), None),
    ],
)
def test_only_what_the_server_cannot_write_counts_against_it(error: RecoverdError, writes: Answer | None) -> None:
    found, problem = _probe_write(cast("Sql", Session(error)), cast("Service", Named()))
    assert (found, bool(problem)) == (writes, True)
