"""A CSV file of corrections, read line by line: which row, which column, the value it has, the value it shall have. Pure.

Its header names the columns of the table's primary key, then `column`, `old`, `new`; a key of one column may be called `key`.
`\\N` is NULL, an empty cell is an empty text. Cells are data: what looks like a formula is never worked out, only counted.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recoverd.errors import Invalid

NULL = "\\N"
FIXED = ("column", "old", "new")
ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16")
MOST_CELL_CHARS = 1_000_000
FORMULA = ("=", "@", "\t=", "\t@")
_GO_ON_CHARS = 1 << 20


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
        rows = csv.reader(self._lines(digest), strict=True)
        line = 0
        try:
            header = next(rows, None)
            self._check_header(header)
            for cells in rows:
                line = rows.line_num
                if cells:
                    yield self._correction(cells, line)
        except csv.Error as error:
            raise Invalid(
                f"{self.path.name} is no CSV at line {rows.line_num}: {error}",
                'a cell with quotes stands in quotes, and its own are doubled: "say ""yes"""',
            ) from None
        self.sha256 = digest.hexdigest()

    def _lines(self, digest: hashlib._Hash) -> Iterator[str]:
        encoding = "utf-8-sig" if self.encoding == "utf-8" else self.encoding
        try:
            with self.path.open("rb") as raw:
                for block in iter(lambda: raw.read(_GO_ON_CHARS), b""):
                    digest.update(block)
            number = 0
            with self.path.open(encoding=encoding, errors="strict", newline="") as file:
                for number, text in enumerate(iter(lambda: file.readline(MOST_CELL_CHARS), ""), start=1):
                    if "\0" in text:
                        raise Invalid(
                            f"{self.path.name} holds a zero character in line {number}", "export it anew, as text"
                        )
                    yield text
        except UnicodeError:
            raise Invalid(
                f"{self.path.name} is not {self.encoding} after line {number}",
                f"say what it is: --option encoding=gb18030; known are {', '.join(ENCODINGS)}",
            ) from None
        except OSError as error:
            raise Invalid(f"{self.path} cannot be read: {error.strerror}", "name the file where this runs") from None

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
        return Correction(line, tuple(key), column, _value(old), _value(new))


def _value(cell: str) -> str | None:
    return None if cell == NULL else cell
