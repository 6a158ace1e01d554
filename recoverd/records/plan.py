"""The plan of a fix: what is approved, and the hash that stands for it. Pure.

The rows themselves, with their old and new values, are a table in the database that is mended; the manifest holds a digest of
them. So the hash is of every value, and a plan that anybody touched after it was approved is another plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Tampered
from recoverd.gate import plan_hash
from recoverd.records.names import kept_names, qualified
from recoverd.words import counted

ROWS_A_SECOND = 30_000
DIGEST_ROWS = 5000


class Manifest(BaseModel):
    """What a fix is.

    Attributes:
        name: The plan table, in schema `recoverd`.
        system: The cluster's own identifier; a plan holds for it alone.
        schema_name, table, key, columns: What is changed.
        types: Of all these columns; where one has another type by now, the plan is stale.
        rows: So many are to change.
        matched: So many are as the condition says; the rest had the right value already.
        digest: Of all keys, old and new values.
        batch_rows: Most rows in a transaction.
        strict: A row that was written since counts as changed.
        source: What was asked for.
        left: Of the fix that is taken back: rows that were changed since, and stay as they are.
        warnings: What else happens when these rows change.
        by: Who made the plan.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    service: str
    system: str
    database: str
    schema_name: str
    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    types: dict[str, str]
    rows: int
    matched: int
    digest: str
    batch_rows: int
    strict: bool = False
    source: dict[str, Any]
    left: int = 0
    warnings: tuple[str, ...] = ()
    by: str = ""

    @property
    def text(self) -> str:
        """As it is kept beside the plan table."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)

    @property
    def hash(self) -> str:
        """What an approval is for: the gate of a run makes the same of it."""
        return plan_hash(self.model_dump(mode="json"))

    @property
    def sql(self) -> str:
        """The plan table, for statements."""
        return qualified("recoverd", self.name)

    @property
    def target(self) -> str:
        """The table that is mended, for statements."""
        return qualified(self.schema_name, self.table)

    @property
    def kept_key(self) -> tuple[str, ...]:
        """The columns of the plan table that hold the key."""
        return kept_names("key", self.key)

    @property
    def kept_old(self) -> tuple[str, ...]:
        """Those that hold the values as they were."""
        return kept_names("old", self.columns)

    @property
    def kept_new(self) -> tuple[str, ...]:
        """Those that hold the values as they shall be."""
        return kept_names("new", self.columns)

    @property
    def batches(self) -> int:
        """How many transactions, where nobody is in the way."""
        return -(-self.rows // self.batch_rows)

    @property
    def undoes(self) -> str:
        """The plan table of the fix that is taken back; empty where none is."""
        return str(self.source.get("undoes", ""))

    @property
    def summary(self) -> str:
        """The question for whoever approves, in a sentence."""
        where = f"{self.schema_name}.{self.table} in {self.database} of {self.service}"
        what = f"take back {', '.join(self.columns)} of" if self.undoes else f"mend {', '.join(self.columns)} of"
        parts = [f"{what} {counted(self.rows, 'row')} of {where}"]
        parts += (
            [f"{counted(self.matched - self.rows, 'row')} have the right values already"]
            if self.matched > self.rows
            else []
        )
        parts += [f"{counted(self.left, 'row')} changed since and stay as they are"] if self.left else []
        parts += [f"{counted(self.batches, 'transaction')}, about {self.seconds:.0f} s"] if self.batches > 1 else []
        return "; ".join(parts)

    @property
    def seconds(self) -> float:
        """About how long it takes: measured on a small machine with rows of common size."""
        return max(1.0, self.rows / ROWS_A_SECOND)


def read_manifest(text: str, expected: str) -> Manifest:
    """A manifest as it was kept.

    Raises:
        Tampered: It is not the one with that hash.
    """
    try:
        said = json.loads(text)
        found = Manifest.model_validate(said)
    except ValueError as error:
        raise Tampered(
            "the manifest of a plan cannot be read", "somebody wrote into schema recoverd: make a new plan"
        ) from error
    if plan_hash(said) != expected:
        raise Tampered(
            f"the plan {expected[:12]} has the hash {plan_hash(said)[:12]} now",
            "somebody changed it: make a new plan, and find out who",
        )
    return found


def digest_of(chunks: Sequence[str]) -> str:
    """The digest of a plan's rows, of those of its stretches in order."""
    return hashlib.sha256("\n".join(chunks).encode()).hexdigest()
