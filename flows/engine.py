"""What recoverd needs of a backup engine, and which one makes the backups of a service. How to add one: docs/adding-an-engine.md.

Layers, top down: backup, restore > engine > builtin, pgbackrest (loaded when they are needed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flows.drilling import Asked, Chosen
from recoverd.drills import Drill
from recoverd.journal import Entry
from recoverd.world import world
from tasks.holdings import Holdings
from tasks.views import Facts


class Brought(Facts):
    """What a restore brought, by the entries of its run; empty where it never came to that.

    Attributes:
        sites: Those that it was to read from.
        point: Where the recovery was to end.
        bytes: Of the set, as the site has it or as it stands restored.
    """

    set: str = ""
    sites: tuple[str, ...] = ()
    point: str = ""
    bytes: int = 0


class Engine(Protocol):
    """A backup engine. Each call is made within a run; what it changes, it changes through acts.

    Attributes:
        name: As `engine` in backups.yaml.
    """

    name: str

    def survey(self, service: str, *, read: bool) -> Holdings:
        """What each site holds, in what health, and up to when each set leads. A site that is away is a value.

        Args:
            service: The service.
            read: Whether every byte is read and held against what was written; a listing proves nothing.
        """
        ...

    def back_up(self, service: str) -> str:
        """Bring a new set to every site that answers, and judge by what is there afterwards; one sentence of result.

        Raises:
            Refused: Fewer than two sites answer; nothing was changed.
            Unproven: Fewer than two sites have the new set whole.
        """
        ...

    def restore(self, service: str) -> str:
        """Do what the options of the run ask for, beside what is there; one sentence of result.

        It puts the data into `tasks.restoring.data_dir` and the WAL into `wal` beside it, as account of the server there;
        then come `tasks.restoring.recover`, a check of its own of how far that came, and `flows.proving.prove_restored`.

        Raises:
            Refused: An option that this engine does not have, or no room; nothing was changed.
            Unsafe: Nothing leads to the target, or what came of it is not as it should be.
        """
        ...

    def choose_drill(self, service: str, host: str, past: Sequence[Drill], asked: Asked) -> Chosen:
        """What a drill on `host` restores, as a decision of the name `choose_drill`; a refusal in it fails the drill."""
        ...

    def brought(self, service: str, entries: Sequence[Entry]) -> Brought:
        """What the restore of a drill brought, by the entries of the run since its choice."""
        ...


def engine_of(service: str) -> Engine:
    """The engine that makes the backups of a service. Raises Invalid where the inventory has none."""
    other = other_engine(service)
    if other is not None:
        return other
    from flows.builtin import BuiltIn

    return BuiltIn()


def other_engine(service: str) -> Engine | None:
    """The engine, where it is not the one that is built in.

    Raises:
        Invalid: The inventory names no backup of the service.
    """
    inventory = world().inventory
    if service in inventory.pgbackrest:
        from flows.pgbackrest import PgBackRestEngine

        return PgBackRestEngine()
    inventory.backup_of(service)
    return None
