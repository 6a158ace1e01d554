"""A CSV file, line by line, in constant memory, strictly: what cannot be meant so is refused with its line. Pure."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path

from recoverd.errors import Invalid

ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16")
MOST_LINE_CHARS = 1_000_000
_BLOCK_BYTES = 1 << 20


def rows_of(path: Path, encoding: str, digest: hashlib._Hash) -> Iterator[tuple[int, list[str]]]:
    """Lines with their numbers, the header first; empty ones are left out.

    Args:
        path: The file.
        encoding: One of `ENCODINGS`; `utf-8` reads a file with or without a byte order mark.
        digest: Is fed all bytes of the file.

    Raises:
        Invalid: It cannot be read so.
    """
    rows = csv.reader(_lines(path, encoding, digest), strict=True)
    try:
        for cells in rows:
            if cells:
                yield rows.line_num, cells
    except csv.Error as error:
        raise Invalid(
            f"{path.name} is no CSV at line {rows.line_num}: {error}",
            'a cell with quotes stands in quotes, and its own are doubled: "say ""yes"""',
        ) from None


def _lines(path: Path, encoding: str, digest: hashlib._Hash) -> Iterator[str]:
    number = 0
    try:
        with path.open("rb") as raw:
            for block in iter(lambda: raw.read(_BLOCK_BYTES), b""):
                digest.update(block)
        with path.open(encoding="utf-8-sig" if encoding == "utf-8" else encoding, errors="strict", newline="") as file:
            for number, text in enumerate(iter(lambda: file.readline(MOST_LINE_CHARS), ""), start=1):
                if "\0" in text:
                    raise Invalid(f"{path.name} holds a zero character in line {number}", "export it anew, as text")
                yield text
    except UnicodeError:
        raise Invalid(
            f"{path.name} is not {encoding} after line {number}",
            f"say what it is: --option encoding=gb18030; known are {', '.join(ENCODINGS)}",
        ) from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}", "name the file where this runs") from None
