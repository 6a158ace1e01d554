"""One entry of the journal: how it is written, and the hash that chains it to the one before.

The hash is SHA-256 over the canonical JSON (sorted keys, no spaces, UTF-8) of all fields but the hash itself, so any
language with a JSON library can check an export.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from recoverd.errors import Invalid
from recoverd.redact import MASK, is_secret_key, redact

GENESIS = "0" * 64
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 64
KIND = re.compile(r"[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Entry:
    """A fact that was written down once and is never changed.

    Attributes:
        seq: Place in the chain, from 1, without gaps.
        at: When, by the journal's clock (UTC, microseconds).
        kind: What, as `subject.event`, for example `step.done`.
        run: The run it belongs to.
        incident: The incident it belongs to.
        step: The step of the run.
        who: The person or the part of recoverd that did it.
        body: The facts, as JSON; secrets are masked.
        prev_hash: Hash of entry `seq - 1`; 64 zeros for the first.
        hash: SHA-256 of this entry.
    """

    seq: int
    at: datetime
    kind: str
    run: str | None
    incident: str | None
    step: str | None
    who: str
    body: dict[str, Any]
    prev_hash: str
    hash: str

    def line(self) -> str:
        """The entry as one line of an export."""
        return canonical({**hashed_fields(self), "hash": self.hash})


def seal(
    seq: int,
    at: datetime,
    kind: str,
    *,
    who: str,
    body: Mapping[str, Any],
    prev_hash: str,
    run: str | None = None,
    incident: str | None = None,
    step: str | None = None,
) -> Entry:
    """A new entry, its body made plain and its hash set. Raises Invalid for what cannot be written down."""
    if not KIND.fullmatch(kind):
        raise Invalid(f"journal kind {kind!r} is not of the form subject.event")
    facts = plain(body)
    if len(canonical(facts).encode()) > MAX_BODY_BYTES:
        raise Invalid(
            f"the body of a {kind} entry is larger than {MAX_BODY_BYTES} bytes",
            "store it as evidence and journal its hash",
        )
    entry = Entry(seq, at, kind, label(run), label(incident), label(step), redact(_text(who)), facts, prev_hash, "")
    return Entry(**{**{f.name: getattr(entry, f.name) for f in fields(entry)}, "hash": digest(entry)})


def digest(entry: Entry) -> str:
    """SHA-256 of the entry's fields, in hexadecimal."""
    return hashlib.sha256(canonical(hashed_fields(entry)).encode()).hexdigest()


def hashed_fields(entry: Entry) -> dict[str, Any]:
    """All fields but the hash, as they are hashed."""
    return {
        "seq": entry.seq,
        "at": instant_text(entry.at),
        "kind": entry.kind,
        "run": entry.run,
        "incident": entry.incident,
        "step": entry.step,
        "who": entry.who,
        "body": entry.body,
        "prev_hash": entry.prev_hash,
    }


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no escapes beyond the needed: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def instant_text(at: datetime) -> str:
    """An instant as `2026-11-22T09:15:00.123456Z`: sorts as text in time order."""
    if at.tzinfo is None:
        raise Invalid("a time without a time zone cannot be written down", "use datetime.now(timezone.utc)")
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_instant(text: str) -> datetime:
    """The inverse of `instant_text`; ValueError for anything else."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)


def plain(body: Mapping[str, Any]) -> dict[str, Any]:
    """`body` as plain JSON values with secrets masked; raises Invalid for what has no JSON form."""
    result = _plain(body, 0)
    assert isinstance(result, dict)  # noqa: S101 - a mapping gives a dict
    return result


def label(value: str | None) -> str | None:
    """An id or a name as it is stored: text that every database takes."""
    return None if value is None else _text(value)


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Invalid(f"a journal body is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Enum):
        return _plain(value.value, depth + 1)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return redact(_unicode(value))
    if isinstance(value, Mapping):
        return {key: _member(key, item, depth) for key, item in ((_key(k), v) for k, v in value.items())}
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item, depth + 1) for item in value), key=canonical)
    return _converted(value, depth)


def _converted(value: Any, depth: int) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid(f"{value} has no form in JSON")
        return value
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (date, Decimal, UUID, PurePath)):
        return redact(_unicode(str(value)))
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(mode="json"), depth + 1)
    if is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in fields(value)}, depth + 1)
    raise Invalid(f"a {type(value).__name__} cannot be written to the journal", "pass JSON values")


def _member(key: str, item: Any, depth: int) -> Any:
    return MASK if isinstance(item, str) and item and is_secret_key(key) else _plain(item, depth + 1)


def _key(key: Any) -> str:
    if isinstance(key, Enum):
        key = key.value
    if not isinstance(key, (str, int)):
        raise Invalid(f"a {type(key).__name__} cannot be a key in the journal", "use text")
    return _unicode(str(key))


def _unicode(text: str) -> str:
    """Lone surrogates, as undecodable file names have them, made visible: UTF-8 has no form for them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _text(value: str) -> str:
    """Text for a column of its own: PostgreSQL stores no zero character."""
    return _unicode(value).replace("\0", "\\x00")
