"""Names and texts as PostgreSQL takes them. Pure.

Statements are made with these alone: what comes from outside is a name that is quoted here, a value that is bound, or an
expression that recoverd/records/expressions.py has proven to be one.
"""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.errors import Invalid

MOST_NAME_BYTES = 63


def quoted(name: str) -> str:
    """A name of the server's, quoted.

    >>> quoted("Order s")
    '"Order s"'

    Raises:
        Invalid: No server has such a name.
    """
    if not name or "\0" in name or len(name.encode()) > MOST_NAME_BYTES:
        raise Invalid(
            f"{name!r} is no name of PostgreSQL", f"a name has 1 to {MOST_NAME_BYTES} bytes, and no zero byte"
        )
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str, name: str) -> str:
    """A name with its schema, both quoted."""
    return f"{quoted(schema)}.{quoted(name)}"


def literal(text: str) -> str:
    """A text as a constant, for sessions whose `standard_conforming_strings` is on: `it''s`.

    Raises:
        Invalid: It holds a zero character, which no text of PostgreSQL can.
    """
    if "\0" in text:
        raise Invalid("a text with a zero character is no value of PostgreSQL", "take it out")
    return "'" + text.replace("'", "''") + "'"


def kept_names(prefix: str, columns: Sequence[str]) -> tuple[str, ...]:
    """What the columns of a plan are called: `old_province`; by number where such a name would be too long.

    >>> kept_names("old", ["province"]), kept_names("old", ["x" * 60])
    (('old_province',), ('old_1',))
    """
    names = tuple(f"{prefix}_{column}" for column in columns)
    if all(len(name.encode()) <= MOST_NAME_BYTES for name in names):
        return names
    return tuple(f"{prefix}_{number}" for number, _ in enumerate(columns, start=1))
