"""A restore in the place of what is there, as its journal has it, without any host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recoverd.connections import Connections
from recoverd.inventory import load
from recoverd.journal import Journal, RunRow
from recoverd.locks import acquire
from recoverd.settings import settings
from recoverd.world import World, entered

TARGET = "postgresql:orders-db"


@contextmanager
def begun() -> Iterator[World]:
    """A run that has the lock, and is executed."""
    settings.cache_clear()
    journal, inventory = Journal.open(), load(Path(__file__).parents[2] / "inventories" / "example")
    run = requested(journal, "restore")
    lease = acquire(journal, TARGET, run.id)
    with Connections(inventory) as connections, entered(World(run, inventory, journal, connections, lease)) as made:
        yield made
    journal.close()
    settings.cache_clear()


def requested(journal: Journal, procedure: str) -> RunRow:
    """A run of the same service."""
    with journal.transaction() as tx:
        return tx.create_run(
            procedure, "orders-db", trigger="hand", requester="ann", reason="x", options={"into": "replace"}
        )


def meant(
    here: World, name: str, host: str, by: RunRow | None = None, service: str = "orders-db", **what: object
) -> None:
    """Write that a run meant to do a step, this one or another."""
    assert here.journal is not None
    body = {"arguments": {"service": service, "host": host}, "remembered": what}
    of = (by or here.run).id
    here.journal.append("step.intended", who="recoverd", run=of, step=f"{name}({service},{host})", body=body)
