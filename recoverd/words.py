"""Small help with sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """A number with its noun.

    >>> counted(1, "transaction"), counted(0, "row change")
    ('1 transaction', '0 row changes')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
