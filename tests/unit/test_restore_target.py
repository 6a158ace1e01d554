"""What a person may ask a restore for, and what is refused before anything is begun."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from deployments.catalogue import procedure
from recoverd.backup.target import Kind, check_options, parse_target
from recoverd.errors import Invalid

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("latest", Kind.LATEST, ""),
        ("2026-11-21 09:14:00+08", Kind.TIME, "2026-11-21T01:14:00+00:00"),
        ("2026-11-21T09:14+08:00", Kind.TIME, "2026-11-21T01:14:00+00:00"),
        ("2026-11-21 09:14:00.25 -0330", Kind.TIME, "2026-11-21T12:44:00.250000+00:00"),
        ("time:2026-11-21 09:14:00Z", Kind.TIME, "2026-11-21T09:14:00+00:00"),
        ("2026-11-21 09:14:00 UTC", Kind.TIME, "2026-11-21T09:14:00+00:00"),
        ("lsn:16/b374d848", Kind.LSN, "16/B374D848"),
        ("xid:1234", Kind.XID, "1234"),
        ("name:before the upgrade", Kind.NAME, "before the upgrade"),
    ],
)
def test_a_target_is_read_as_it_is_meant(text: str, kind: Kind, value: str) -> None:
    found = parse_target(text, NOW)
    assert (found.kind, found.value) == (kind, value)


def test_a_position_is_counted_in_bytes() -> None:
    assert parse_target("lsn:1/10").lsn == (1 << 32) + 16


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-21 09:14:00", "has no zone"),
        ("2026-11-21", "nobody can tell"),
        ("yesterday", "nobody can tell"),
        ("2026-11-31 09:14:00Z", "there is no time"),
        ("2026-11-27 09:14:00Z", "in the future"),
        ("2026-11-26 20:00:01+08", "in the future"),
        ("lsn:16", "nobody can tell"),
        ("xid:2", "nobody can tell"),
        ("name:", "nobody can tell"),
        ("", "nobody can tell"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_give(text: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refused:
        parse_target(text, NOW)
    assert refused.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"to": "2026-11-21 09:14:00"},
        {"into": "here"},
        {"table": "a.b.c"},
        {"table": "orders; drop table orders"},
        {"as": "new"},
        {"table": "orders", "into": "replace"},
    ],
)
def test_options_that_do_not_go_together_are_refused_at_once(options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        procedure("restore").check_options(options)


def test_options_that_go_together_pass() -> None:
    check_options({"to": "latest", "into": "replace", "site": "own"})
    check_options({"table": "public.orders", "as": "orders_before"})
