"""The ledger of a writer: every commit that a client was told of, held against what the database still has."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class small

TABLE = "lab_writes"


@dataclass(frozen=True)
class Ledger:
    """What a writer wrote down. Times are seconds since the epoch, by the machine's clock.

    Attributes:
        writer: The writer's own mark in the table.
        acknowledged: Id to the time of the acknowledgement, in order.
        unknown: Ids whose outcome the writer never learnt: connection lost, or no answer in time.
        refused: Ids that the server refused with an error: never committed.
    """

    writer: str
    acknowledged: dict[int, float]
    unknown: tuple[int, ...]
    refused: tuple[int, ...]

    def first_after(self, moment: float) -> float | None:
        """When the first write was acknowledged after `moment`, or None."""
        return next((at for at in self.acknowledged.values() if at > moment), None)

    def longest_gap(self) -> tuple[float, float]:
        """The longest time without an acknowledgement: its length in seconds and when it began."""
        times = list(self.acknowledged.values())
        gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(times)]
        return max(gaps, default=(0.0, 0.0))


@dataclass(frozen=True)
class LedgerReport:
    """A ledger held against a database.

    Attributes:
        acknowledged: How many commits were acknowledged.
        kept: How many of these the database has.
        lost: Ids of the others.
        unknown_present: Ids of unknown outcome that the database has.
        unknown_absent: Ids of unknown outcome that it has not.
        refused_present: Ids that were refused and are there all the same; never anything but empty.
        longest_gap_s: The longest time without an acknowledgement.
        gap_began_at: Its last acknowledgement before, in seconds since the epoch.
        first_write_after: The first acknowledgement after it.
    """

    acknowledged: int
    kept: int
    lost: tuple[int, ...]
    unknown_present: tuple[int, ...]
    unknown_absent: tuple[int, ...]
    refused_present: tuple[int, ...]
    longest_gap_s: float
    gap_began_at: float
    first_write_after: float
    ledger: Ledger = field(repr=False)


def check_ledger(path: Path, connect: Callable[[], Connection]) -> LedgerReport:
    """Hold a ledger against the database that `connect` opens. Raises psycopg2.Error if that cannot be read."""
    ledger = read_ledger(path)
    present = rows_of(ledger.writer, connect)
    lost = tuple(number for number in ledger.acknowledged if number not in present)
    gap_s, began = ledger.longest_gap()
    return LedgerReport(
        acknowledged=len(ledger.acknowledged),
        kept=len(ledger.acknowledged) - len(lost),
        lost=lost,
        unknown_present=tuple(number for number in ledger.unknown if number in present),
        unknown_absent=tuple(number for number in ledger.unknown if number not in present),
        refused_present=tuple(number for number in ledger.refused if number in present),
        longest_gap_s=gap_s,
        gap_began_at=began,
        first_write_after=began + gap_s,
        ledger=ledger,
    )


def read_ledger(path: Path) -> Ledger:
    """Read a ledger; a last line that its writer's death cut short is left out, for nobody saw it complete."""
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in path.read_text().splitlines(keepends=True) if "\n" in line
    ]
    return Ledger(
        writer=next((line["writer"] for line in lines if "writer" in line), ""),
        acknowledged={line["id"]: line["acknowledged"] for line in lines if "acknowledged" in line},
        unknown=tuple(line["id"] for line in lines if "unknown" in line),
        refused=tuple(line["id"] for line in lines if "refused" in line),
    )


def rows_of(writer: str, connect: Callable[[], Connection]) -> set[int]:
    """Ids of a writer's rows."""
    connection = connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", (TABLE,))
            if cursor.fetchone() != (True,):
                return set()
            cursor.execute(f"SELECT id FROM {TABLE} WHERE writer = %s", (writer,))  # noqa: S608 - our own constant
            return {row[0] for row in cursor.fetchall()}
    finally:
        connection.close()
