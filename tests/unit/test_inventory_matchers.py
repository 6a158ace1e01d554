"""Matchers mean what they mean to Alertmanager."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.inventory import Matcher, parse_matchers

LABELS = {"alertname": "PostgresDown", "job": "pg-1", "note": 'say "hi", twice'}


@pytest.mark.parametrize(
    ("text", "label", "op", "value"),
    [
        ('alertname="PostgresDown"', "alertname", "=", "PostgresDown"),
        ("alertname=PostgresDown", "alertname", "=", "PostgresDown"),
        (' job =~ "pg.*" ', "job", "=~", "pg.*"),
        ('a!="b c"', "a", "!=", "b c"),
        ('a!~"x|y"', "a", "!~", "x|y"),
        ('a=""', "a", "=", ""),
        ('a="q\\"q\\\\n\\n"', "a", "=", 'q"q\\n\n'),
        ('a="x=~y,z{}"', "a", "=", "x=~y,z{}"),
        ('"with space"="x"', "with space", "=", "x"),
        ("instance=10.0.0.1:9187", "instance", "=", "10.0.0.1:9187"),
    ],
)
def test_a_matcher_is_read_in_alertmanagers_syntax(text: str, label: str, op: str, value: str) -> None:
    found = Matcher.parse(text)
    assert (found.label, found.op, found.value) == (label, op, value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('alertname="PostgresDown"', True),
        ('alertname="Postgres"', False),
        ('alertname=~"Postgres"', False),
        ('alertname=~"Postgres.*"', True),
        ('alertname=~"Redis|PostgresDown"', True),
        ('alertname!~"Postgres"', True),
        ('alertname!="PostgresDown"', False),
        ('absent=""', True),
        ('absent!=""', False),
        ('absent=~".*"', True),
        ('absent=~".+"', False),
        ('absent!="x"', True),
        ('alertname=~"(?i)postgresdown"', True),
    ],
)
def test_matching_is_anchored_and_a_missing_label_is_empty(text: str, expected: bool) -> None:
    assert Matcher.parse(text).matches(LABELS) is expected


def test_several_matchers_stand_in_one_text() -> None:
    found = parse_matchers('{alertname="PostgresDown", job=~"pg-(1|2)",severity!="info"}')
    assert [str(one) for one in found] == ['alertname="PostgresDown"', 'job=~"pg-(1|2)"', 'severity!="info"']
    assert parse_matchers('a="1",') == parse_matchers('a="1"')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "=y",
        'a=="b"',
        'a="b',
        '{a="b"',
        'a="b"}',
        'a="b" c="d"',
        'a=~"("',
        'a=~"x(?=y)"',
        'a=~"[[:alpha:]]"',
        'a=~"(x)\\\\1"',
    ],
)
def test_what_is_no_matcher_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Matcher.parse(text)


@given(st.text(max_size=30))
def test_any_value_survives_being_written_and_read(value: str) -> None:
    matcher = Matcher(label="a", op="=", value=value)
    assert Matcher.parse(str(matcher)) == matcher
    assert matcher.matches({"a": value})


@given(st.text(max_size=40))
def test_any_text_is_a_matcher_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_matchers(text)
