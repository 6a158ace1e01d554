"""The rule `province`: the province that a resident identity number or a postcode says, against the one that is recorded. Pure.

Codes of GB/T 2260, two digits, stand in provinces.csv with the first two digits of the postcodes that each province has. An identity
number is believed only when its check digit (GB 11643, ISO 7064 MOD 11-2) is right: a mistyped one says nothing.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from recoverd.records.names import literal, quoted

WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
CHECK_DIGITS = "10X98765432"
_BIRTH = "((19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01]))"
ID_NUMBER = f"^[1-9][0-9]{{5}}{_BIRTH}[0-9]{{3}}[0-9Xx]$"
POSTCODE = "^[0-9]{6}$"


@dataclass(frozen=True)
class Province:
    """A province: its code, its name, and the first two digits of its postcodes."""

    code: str
    name: str
    postcodes: tuple[str, ...]


@lru_cache(maxsize=1)
def provinces() -> tuple[Province, ...]:
    """All provinces, by code."""
    text = files("recoverd.records").joinpath("provinces.csv").read_text(encoding="utf-8")
    return tuple(
        Province(row["code"], row["name"], tuple(row["postcodes"].split())) for row in csv.DictReader(text.splitlines())
    )


def expected_province(id_number: str | None, postcode: str | None) -> str:
    """The same as SQL, of the columns with these names: the code, or NULL where neither says anything. The number goes first."""
    said = [_of_number(quoted(id_number))] if id_number else []
    said += [_of_postcode(quoted(postcode))] if postcode else []
    return said[0] if len(said) == 1 else f"coalesce({', '.join(said)})"


def _of_number(column: str) -> str:
    text = f"{column}::text"
    total = " + ".join(f"{weight} * substr({text}, {place}, 1)::int" for place, weight in enumerate(WEIGHTS, start=1))
    check = f"substr({literal(CHECK_DIGITS)}, ({total}) % 11 + 1, 1) = upper(right({text}, 1))"
    codes = ", ".join(literal(one.code) for one in provinces())
    return (
        f"case when {text} !~ {literal(ID_NUMBER)} then null "
        f"when {check} and left({text}, 2) in ({codes}) then left({text}, 2) end"
    )


def _of_postcode(column: str) -> str:
    text = f"{column}::text"
    cases = " ".join(
        f"when {literal(digits)} then {literal(one.code)}" for one in provinces() for digits in one.postcodes
    )
    return f"case when {text} ~ {literal(POSTCODE)} then case left({text}, 2) {cases} end end"
