"""A CSV file of corrections, read line by line: which row, which column, the value it has, the value it shall have. Pure.

Its header names the columns of the table's primary key, then `column`, `old`, `new`; a key of one column may be called `key`.
`\\N` is NULL, an empty cell is an empty text. Cells are data: what looks like a formula is never worked out, only counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recoverd.errors import Invalid
from recoverd.records.csvfile import rows_of

NULL = "\\N"
FIXED = ("column", "old", "new")
FORMULA = ("=", "@", "\t=", "\t@")


@dataclass(frozen=True)
class Correction:
    """A line: the values of the key, and the column with its old and new value; None is NULL."""

    line: int
    key: tuple[str, ...]
    column: str
    old: str | None
    new: str | None


@dataclass
class Corrections:
    """A file of corrections. Iterating reads it in constant memory.

    Attributes:
        path: Where it is.
        encoding: How its text is written; `utf-8` reads a file with or without a byte order mark.
        formulas: So many new values look like formulas of a spreadsheet; known once it has been read.
        sha256: Of its bytes, likewise.
    """

    path: Path
    key: tuple[str, ...]
    encoding: str = "utf-8"
    formulas: int = 0
    sha256: str = ""

    def __iter__(self) -> Iterator[Correction]:
        """Every line.

        Raises:
            Invalid: The file cannot be read so; with the line.
        """
        self.formulas, digest = 0, hashlib.sha256()
        rows = rows_of(self.path, self.encoding, digest)
        self._check_header(next(rows, (1, []))[1])
        for line, cells in rows:
            yield self._correction(cells, line)
        self.sha256 = digest.hexdigest()

    def _check_header(self, header: Sequence[str] | None) -> None:
        names = [name.strip() for name in header or ()]
        wanted = [[*self.key, *FIXED], ["key", *FIXED]] if len(self.key) == 1 else [[*self.key, *FIXED]]
        if names not in wanted:
            raise Invalid(
                f"the first line of {self.path.name} does not name the columns that are wanted",  # and is not shown: it may be any file
                f"it must be: {','.join(wanted[0])}",
            )

    def _correction(self, cells: list[str], line: int) -> Correction:
        width = len(self.key) + len(FIXED)
        if len(cells) != width:
            raise Invalid(
                f"line {line} of {self.path.name} has {len(cells)} cells, and the header has {width}",
                "a comma within a cell needs quotes around it",
            )
        *key, column, old, new = cells
        if NULL in key:
            raise Invalid(f"line {line} of {self.path.name} has no key", "every line says which row it is about")
        self.formulas += new.startswith(FORMULA)
        return Correction(line, tuple(key), column, value_of(old), value_of(new))


def value_of(cell: str) -> str | None:
    """What a cell says: None is NULL."""
    return None if cell == NULL else cell
