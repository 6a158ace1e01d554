"""What parsers share: strict JSON, labels, times and fingerprints. Whatever is wrong becomes a ParseError."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

from gateway.alerts_model import ParseError

MOST_DEPTH = 32

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,12}))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII
)
_FNV_OFFSET, _FNV_PRIME, _FNV_MASK = 14695981039346656037, 1099511628211, (1 << 64) - 1


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, all of whose text and numbers every database and JSON reader can hold.

    Raises:
        ParseError: It is something else.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"the body is not JSON: {error}", "look at what the sender's template produces") from error
    if not isinstance(value, dict):
        raise ParseError(f"the body is a JSON {type(value).__name__}, not an object")
    check_storable(value)
    return value


def check_storable(value: object) -> None:
    """Refuse what JSON can spell but journals and other readers cannot hold: NUL, half a character, infinity, mazes.

    Raises:
        ParseError: It holds such a thing.
    """
    waiting = [(value, 1)]
    while waiting:
        each, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise ParseError(f"the body is nested more than {MOST_DEPTH} deep")
        if isinstance(each, dict):
            waiting.extend((part, depth + 1) for pair in each.items() for part in pair)
        elif isinstance(each, list):
            waiting.extend((part, depth + 1) for part in each)
        elif isinstance(each, str):
            _check_text(each)
        elif isinstance(each, float) and not math.isfinite(each):
            raise ParseError("the body holds a number beyond all bounds")


def text_map(value: object, name: str) -> dict[str, str]:
    """A map of names to text. Numbers and truth values, which some templates write bare, become text; null is left out.

    Raises:
        ParseError: It is not a map, or holds lists or maps.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParseError(f"{name} is not an object")
    nested = [key for key, each in value.items() if isinstance(each, (dict, list))]
    if nested:
        raise ParseError(f"{name} holds something other than text at {nested[0]!r}")
    return {key: each if isinstance(each, str) else json.dumps(each) for key, each in value.items() if each is not None}


def moment(value: object, name: str) -> datetime | None:
    """An RFC 3339 time in UTC, to the microsecond; None for a missing one and for Go's zero time.

    Raises:
        ParseError: It is not a time.
    """
    if value is None or value == "":
        return None
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ParseError(f"{name} is not an RFC 3339 time")
    year, month, day, hour, minute, second = (int(each) for each in found.groups()[:6])
    micros = int((found[7] or "0").ljust(6, "0")[:6])
    offset = timedelta(hours=int(found[10]), minutes=int(found[11])) if found[9] else timedelta()
    try:
        local = datetime(year, month, day, hour, minute, second, micros, tzinfo=timezone.utc)
        utc = local - offset if found[9] == "+" else local + offset
    except (ValueError, OverflowError) as error:
        raise ParseError(f"{name} is not a time that exists: {error}") from error
    if utc.year == 1:
        return None
    if utc.year < 1970:
        raise ParseError(f"{name} lies before all alerts: {value}")
    return utc


def fingerprint_of(labels: Mapping[str, str]) -> str:
    """Prometheus's own fingerprint of a label set: FNV-1a over the sorted names and values, as 16 hex digits."""
    total = _FNV_OFFSET
    for name in sorted(labels):
        for byte in name.encode() + b"\xff" + labels[name].encode() + b"\xff":
            total = ((total ^ byte) * _FNV_PRIME) & _FNV_MASK
    return f"{total:016x}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_text(text: str) -> None:
    if text.isascii() and "\x00" not in text:
        return
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ParseError("the body holds text that cannot be stored: NUL or half a surrogate pair")
