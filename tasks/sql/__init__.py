"""Statements about data records, one a file, and how they are filled in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


def statement(name: str, **parts: str | int) -> str:
    """A statement with its parts in their places. Parts are quoted names, numbers, and expressions that are proven to be such."""
    return _text(name).format(**parts)


@cache
def _text(name: str) -> str:
    lines = (_HERE / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))
