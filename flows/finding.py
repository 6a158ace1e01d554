"""What a check of readiness found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]
Area = Literal[
    "inventory", "reach", "credentials", "hosts", "replication", "configuration", "fencing", "entry points", "policies",
    "routes", "backups", "drills",
]  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `problem`: a recovery would fail or be refused; `warning`: it would be slower, or lose something.
        area: What it belongs to.
        where: Service, host, device or file.
        what: A lowercase sentence.
        hint: The operator's next move; empty when all is well.
    """

    level: Level
    area: Area
    where: str
    what: str
    hint: str = ""
