"""Real services for the tests of this directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from throw_away_postgres import PgServer, throw_away_server

from recoverd.journal import Journal


@pytest.fixture(scope="session")
def pg_server() -> Iterator[PgServer]:
    """A PostgreSQL for the whole session; a test that stops it starts it again."""
    with throw_away_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def journal_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind that a journal can be kept in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/journal.db"
    server: PgServer = request.getfixturevalue("pg_server")
    return server.new_database()


@pytest.fixture
def journal(journal_address: str) -> Iterator[Journal]:
    """An open, empty journal."""
    opened = Journal.open(journal_address)
    yield opened
    opened.close()
