"""What is hashed is exact, and the same for everyone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from recoverd.errors import Invalid
from recoverd.journal.entries import (
    GENESIS,
    MAX_BODY_BYTES,
    Entry,
    canonical,
    digest,
    instant_text,
    parse_instant,
    plain,
    seal,
)

AT = datetime(2026, 11, 22, 9, 15, 0, 123, tzinfo=timezone.utc)


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    path: Path
    at: datetime


@dataclass
class Thing:
    name: str
    inner: tuple[int, ...]


def sealed(**changes: Any) -> Entry:
    given_: dict[str, Any] = {"kind": "step.done", "who": "alice", "body": {"a": 1}, "prev_hash": GENESIS, **changes}
    return seal(1, AT, given_.pop("kind"), **given_)


def test_the_hash_of_an_entry_never_changes_between_versions() -> None:
    """Were this to fail, no journal written before could be verified any more."""
    entry = sealed(run="fo-1", step="fence", body={"b": [1, 2.5, None, True], "a": "déjà 数据"})
    assert entry.hash == "825069af5c4581d9640f3265f7b02e0c10811b18c70da5d4b8fed29ad24bfef1"
    assert entry.line().startswith('{"at":"2026-11-22T09:15:00.000123Z","body":{"a":"déjà 数据","b":[1,2.5,null,true]}')


@pytest.mark.parametrize(
    "change",
    [{"kind": "step.failed"}, {"who": "bob"}, {"body": {"a": 2}}, {"prev_hash": "1" * 64}, {"run": "r"}, {"step": "s"}],
)
def test_every_field_is_part_of_the_hash(change: dict[str, Any]) -> None:
    assert sealed(**change).hash != sealed().hash


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (AT, "2026-11-22T09:15:00.000123Z"),
        (AT.astimezone(timezone(timedelta(hours=8))), "2026-11-22T09:15:00.000123Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.10"), "1.10"),
        (Path("/etc/x"), "/etc/x"),
        (Colour.RED, "red"),
        ({"b", "a"}, ["a", "b"]),
        ((1, (2,)), [1, [2]]),
        (Thing("x", (1,)), {"name": "x", "inner": [1]}),
        (Model(path=Path("p"), at=AT), {"path": "p", "at": "2026-11-22T09:15:00.000123Z"}),
        ({Colour.RED: 1, 2: 3}, {"red": 1, "2": 3}),
        ("\ud800", "\\ud800"),
    ],
)
def test_values_are_written_predictably(value: Any, written: Any) -> None:
    assert plain({"value": value}) == {"value": written}


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", float("nan"), float("inf"), datetime(2026, 1, 1), {(1, 2): 3}],
)
def test_what_has_no_form_in_json_is_refused(value: Any) -> None:
    with pytest.raises(Invalid):
        plain({"value": value})


def test_bodies_have_limits() -> None:
    with pytest.raises(Invalid, match="larger than"):
        sealed(body={"text": "x" * MAX_BODY_BYTES})
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"deep": deep}
    with pytest.raises(Invalid, match="nested deeper"):
        plain(deep)


@pytest.mark.parametrize("kind", ["", "done", "Step.done", "step.", "step.done.twice", "step done"])
def test_a_kind_is_a_subject_and_an_event(kind: str) -> None:
    with pytest.raises(Invalid, match=r"subject\.event"):
        sealed(kind=kind)


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(timezone.utc)))
def test_an_instant_comes_back_as_it_was_written(at: datetime) -> None:
    assert parse_instant(instant_text(at)) == at


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_any_json_survives_being_written_and_read(body: dict[str, Any]) -> None:
    import json

    entry = sealed(body=body)
    again = json.loads(canonical(entry.body))
    assert canonical(again) == canonical(entry.body)
    assert digest(Entry(**{**entry.__dict__, "body": again})) == entry.hash
