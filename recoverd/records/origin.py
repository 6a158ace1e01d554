"""Who changed a record: what each source says, and how far it can be believed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid
from recoverd.records.expressions import parse_table

Trust = Literal["certain", "as noted", "by its own word"]


class Change(BaseModel):
    """A change of a row, as one source tells it.

    Attributes:
        source: Which one.
        at: When, by the server's clock; empty where it does not say.
        who: Run, database user, application, address: as much as it says.
        what: What was done.
        trust: `certain`: written in the transaction of the change itself; `as noted`: a trigger did, which sessions can pass by; `by its
            own word`: the client said so of itself.
        transaction: Its id; empty where it does not say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    at: str = ""
    who: str = ""
    what: str = ""
    trust: Trust
    transaction: str = ""

    @property
    def text(self) -> str:
        """One line."""
        parts = [self.at, self.who, self.what, f"transaction {self.transaction}" if self.transaction else ""]
        return f"{self.source}: {', '.join(part for part in parts if part)} ({self.trust})"


class Origin(BaseModel):
    """All that is known of who changed a row.

    Attributes:
        missing: Sources that say nothing, each with the reason and what to do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    row: str
    changes: tuple[Change, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        told = "; ".join(one.text for one in self.changes[:3]) or "no source tells who changed it"
        more = f"; {len(self.changes) - 3} more" if len(self.changes) > 3 else ""
        return f"{self.row}: {told}{more}; {len(self.missing)} sources say nothing"


def key_values(text: str, columns: int) -> tuple[str, ...]:
    """The values of a key, joined by commas; the last takes what is left over where there is one column alone.

    Raises:
        Invalid: There are more or fewer than the key has columns.
    """
    values = (text,) if columns == 1 else tuple(part.strip() for part in text.split(","))
    if len(values) != columns or not all(values):
        raise Invalid(
            f"{text!r} is no key of {columns} columns", "give the values in the order of the primary key, with commas"
        )
    return values


def check_options(options: Mapping[str, Any]) -> None:
    """See that the options of a trace can be meant so. Raises Invalid."""
    for name in ("table", "key"):
        if options.get(name) in (None, ""):
            raise Invalid(
                f"nobody says which {name}", "recoverd run trace SERVICE --table TABLE --key VALUE --reason …"
            )
    parse_table(str(options["table"]))
