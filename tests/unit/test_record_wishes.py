"""What is asked of a fix is complete and means one thing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from recoverd.errors import Invalid
from recoverd.inventory import DataRule
from recoverd.records.names import kept_names, literal, quoted
from recoverd.records.provinces import provinces
from recoverd.records.wish import read_wish

SET = {"table": "customers", "set": "province = '44'", "where": "id = 1"}


def test_each_way_of_asking_is_understood() -> None:
    assert read_wish({**SET, "expect_rows": 128}).expect_rows == 128
    assert read_wish({"plan": "0123456789ab"}).way == "plan"
    assert read_wish({"plan": 123456789012}).plan == "123456789012"
    assert read_wish({"undo": "fix-1"}).way == "undo"
    assert read_wish({"rule": "province", "strict": True}).strict
    assert read_wish({"table": "t", "from_csv": "/tmp/c.csv", "encoding": "gb18030"}).way == "from_csv"


@pytest.mark.parametrize(
    "options",
    [
        {}, {"table": "t"}, {"set": "a = 1", "table": "t"}, {"set": "a = 1", "where": "true"}, {**SET, "rule": "x"},
        {**SET, "plan": "0123456789ab"}, {"plan": "xyz"}, {"plan": "01234567"}, {"plan": "0123456789ab", "expect_rows": 1},
        {**SET, "expect_rows": -1}, {**SET, "expect_rows": "1; drop"}, {**SET, "expect_rows": True}, {**SET, "batch_rows": 0},
        {**SET, "strict": "perhaps"}, {**SET, "where": "true; drop table x"}, {**SET, "set": "a = (select 1 for update)"},
        {**SET, "table": "a, b"}, {"table": "t", "from_csv": "c.csv"}, {"table": "t", "from_csv": "/c.csv", "encoding": "rot13"},
        {"rule": "x", "table": "t"}, {**SET, "table": ["a"]},
    ],
)  # fmt: skip
def test_what_is_incomplete_or_means_two_things_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_wish(options)


def test_names_and_texts_are_quoted_so_that_nothing_gets_out() -> None:
    assert quoted('a"; drop table x; --') == '"a""; drop table x; --"'
    assert literal("it's \\ '") == "'it''s \\ '''"
    for name in ("", "a\0", "省" * 22):
        with pytest.raises(Invalid):
            quoted(name)
    assert kept_names("old", ["a", "b" * 60]) == ("old_1", "old_2")


def test_every_province_has_its_own_code_and_postcodes() -> None:
    found = provinces()
    digits = [digit for one in found for digit in one.postcodes]
    assert len(found) == len({one.code for one in found}) == 34
    assert len(digits) == len(set(digits))
    assert {one.name for one in found if not one.postcodes} == {"台湾省", "香港特别行政区", "澳门特别行政区"}


@pytest.mark.parametrize(
    "keys",
    [
        {}, {"violates": "a = 1"}, {"table": "t", "violates": "a = 1", "builtin": "province"}, {"sql": "select 1"},
        {"table": "t", "builtin": "province"}, {"table": "t", "violates": "a = 1; drop table t"}, {"table": "t; x", "violates": "a"},
        {"sql": "delete from t", "total": "select 1"}, {"table": "t", "builtin": "province", "column": "p", "postcode": "c",
         "mend": "a = 1"},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_meant_so_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataRule(name="x", **keys)
