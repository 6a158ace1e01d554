"""Records that were kept by hand during an outage: the file they come in, and what is asked for. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid
from recoverd.records.corrections import value_of
from recoverd.records.csvfile import ENCODINGS, rows_of
from recoverd.records.expressions import parse_table


class Paper(BaseModel):
    """What is to be loaded.

    Attributes:
        table: Into which table.
        from_csv: A file whose first line names columns of it.
        key: The columns by which a record is known that is there already, with commas; empty for the primary key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    from_csv: str
    encoding: str = "utf-8"
    key: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of the natural key."""
        return tuple(name.strip() for name in self.key.split(",") if name.strip())

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.from_csv)

    def header(self) -> tuple[str, ...]:
        """The columns that the first line names. Raises Invalid."""
        first = next(rows_of(self.path, self.encoding, hashlib.sha256()), (1, []))[1]
        names = tuple(name.strip() for name in first)
        if not names or not all(names) or len(set(names)) < len(names):
            raise Invalid(
                f"the first line of {self.path.name} does not name each column once", "give it: column,column,…"
            )
        return names

    def lines(self, columns: Sequence[str], digest: hashlib._Hash) -> Iterator[tuple[int, list[str | None]]]:
        """The other lines, with their numbers. Raises Invalid."""
        rows = rows_of(self.path, self.encoding, digest)
        next(rows, None)
        for line, cells in rows:
            if len(cells) != len(columns):
                raise Invalid(
                    f"line {line} of {self.path.name} has {len(cells)} cells, and the header has {len(columns)}",
                    "a comma within a cell needs quotes around it",
                )
            yield line, [value_of(cell) for cell in cells]


def read_paper(options: Mapping[str, Any]) -> Paper:
    """What the options of a run ask for. Raises Invalid."""
    for name in ("table", "from_csv"):
        if not isinstance(options.get(name), str) or not options[name]:
            raise Invalid(f"a backfill needs --{name.replace('_', '-')}", "--table TABLE --from-csv FILE")
    given = {name: str(options[name]) for name in Paper.model_fields if options.get(name)}
    paper = Paper(**given)
    parse_table(paper.table)
    if paper.encoding not in ENCODINGS:
        raise Invalid(f"{paper.encoding!r} is no encoding that is known here", f"known are {', '.join(ENCODINGS)}")
    if not paper.path.is_absolute():
        raise Invalid(f"{paper.from_csv} is no absolute path", "a run may be executed elsewhere: give the whole path")
    return paper


def check_options(options: Mapping[str, Any]) -> None:
    """See that the options of a backfill can be meant so. Raises Invalid."""
    read_paper(options)
