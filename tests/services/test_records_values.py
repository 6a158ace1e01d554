"""Names, keys, texts and values of every kind go through a fix as what they are: no SQL, and without loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from records_kit import Data, data_here
from throw_away_postgres import PgServer

pytestmark = pytest.mark.postgres

CUSTOMERS = """
create table customers (id int primary key, name text not null, province char(2));
insert into customers select n, 'customer ' || n, case when n % 10 = 0 then '11' else '44' end from generate_series(1, 100) n
"""
WRONG = {"table": "customers", "set": "province = '44'", "where": "province = '11'"}


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(CUSTOMERS)
        made.grant("customers")
        yield made


def wrong(data: Data) -> int:
    return int(data.value("select count(*) from customers where province = '11'"))


HOSTILE = 'Robert"); drop table customers; --'


def test_names_that_would_be_sql_are_names(data: Data) -> None:
    schema, table, column, key = (f"{HOSTILE} {letter}%s{{x}}'".replace('"', '""') for letter in "stck")
    name = f'"{schema}"."{table}"'
    data.sql(
        f'create schema "{schema}"; create table {name} ("{key}" text primary key, "{column}" text)',
        f"insert into {name} values ('a'';drop table customers', 'x%s'), ('b', 'x')",
        f'grant usage on schema "{schema}" to recoverd_data; grant select, update on {name} to recoverd_data',
    )
    value = "'''; drop table customers; --%s{y}'"
    run = data.run(table=name, set=f'"{column}" = {value}', where=f"\"{key}\" like 'a%'")
    assert run.state == "succeeded", run.summary
    assert data.sql(f'select "{column}" from {name} order by 1') == [("'; drop table customers; --%s{y}",), ("x",)]
    assert wrong(data) == 10


def test_every_option_takes_hostile_text_without_running_it(data: Data) -> None:
    hostile = "x'; drop table customers; --"
    tries: list[dict[str, Any]] = [
        {**WRONG, name: hostile} for name in ("table", "set", "where", "expect_rows", "strict", "batch_rows")
    ]
    tries += [
        {"plan": hostile},
        {"undo": hostile},
        {"rule": hostile},
        {"table": "customers", "from_csv": "/" + hostile},
    ]
    tries += [
        {"table": hostile, "from_csv": "/etc/passwd"},
        {**WRONG, "where": "id = 1) or (select true from pg_sleep(9)) or (true"},
    ]
    for options in tries:
        assert data.run(**options).state == "refused", options
    assert wrong(data) == 10


TYPES = {
    "j": ("json", '\'{"a":  1, "a": 2}\'', "'[1]'"),
    "b": ("jsonb", "'{\"n\": 1.000000000000000000001}'", "'{}'"),
    "n": ("numeric", "1.1000", "'NaN'"),
    "m": ("numeric(10,2)", "12345678.90", "0.05"),
    "f": ("double precision", "0.1::float8 + 0.2::float8", "'-Infinity'"),
    "t": ("timestamptz", "'infinity'", "'0044-03-15 12:00:00.123456+08 BC'"),
    "d": ("date", "'-infinity'", "'4713-01-01 BC'"),
    "i": ("interval", "'1 mon 30 days 25:00:00.000001'", "'-1 year'"),
    "y": ("bytea", "'\\x00ff275c'", "''"),
    "r": ("tstzrange", "'(,2020-01-01)'", "'empty'"),
    "a": ("int[]", "'[5:6]={1,NULL}'", "'{}'"),
    "e": ("mood", "'so so'", "'it''s'"),
    "o": ("short", "'ab'", "'xyz'"),
    "x": ("xml", "'<a> </a>'", "'<b/>'"),
    "p": ("point", "'(1,2)'", "'(3,4)'"),
    "c": ("char(4)", "'a'", "'b'"),
    "v": ("varchar(3)", "' '", "null"),
    "u": ("uuid", "'00000000-0000-0000-0000-000000000001'", "'ffffffff-0000-0000-0000-000000000001'"),
    "q": ("bit varying(5)", "'101'", "'00000'"),
    "w": ("money", "'12.34'", "'-1'"),
    "g": ("pair", '\'(1,"x,""y")\'', "null"),
    "h": ("inet", "'10.0.0.1/8'", "'::1'"),
    "z": ('text collate "C"', "E'tab\\t\\n\\\\'", "'省'"),
}


def test_every_common_type_is_changed_and_taken_back_without_loss(data: Data) -> None:
    data.sql(
        "create type mood as enum ('so so', 'it''s'); create type pair as (a int, b text)",
        "create domain short as varchar(3) check (value <> 'no')",
        f"create table things (id bigint primary key, {', '.join(f'{name} {kind}' for name, (kind, _, _) in TYPES.items())})",
        f"insert into things select n, {', '.join(old for _, old, _ in TYPES.values())} from generate_series(1, 3) n",
    )
    data.grant("things")
    before = data.sql("select things::text from things order by id")
    run = data.run(
        table="things", set=", ".join(f"{name} = {new}" for name, (_, _, new) in TYPES.items()), where="id < 3"
    )
    assert run.state == "succeeded", run.summary
    assert data.sql("select things::text from things where id = 3") == before[2:]
    assert data.value("select count(distinct (j::text, b::text, x::text, t, z)) from things") == 2
    assert data.run(undo=run.id).state == "succeeded"
    assert data.sql("select things::text from things order by id") == before


def test_keys_of_several_columns_partitions_and_small_batches_go_through(data: Data) -> None:
    data.sql(
        'create table calls (shop text collate "C", no int, at date, price numeric, primary key (shop, no, at)) partition by range (at)',
        "create table calls_a partition of calls for values from ('2026-01-01') to ('2026-06-01')",
        "create table calls_b partition of calls for values from ('2026-06-01') to ('2027-01-01')",
        "insert into calls select 'shop ' || n % 3, n, date '2026-01-01' + n, n from generate_series(1, 300) n",
    )
    data.grant("calls")
    run = data.run(table="calls", set="price = price * 2", where="no % 2 = 0", batch_rows=7, strict=True)
    assert run.state == "succeeded", run.summary
    assert data.facts(run)["batches"] >= 22
    assert data.value("select sum(price) from calls") == sum(n * 2 if n % 2 == 0 else n for n in range(1, 301))


def test_a_value_that_the_journal_would_mask_is_never_written_masked(data: Data) -> None:
    given = {"table": "customers", "set": "name = 'http://user:hidden@host'", "where": "id = 10"}
    run = data.run(**given)
    assert run.state == "refused"
    assert "looks like a secret" in run.summary
    assert data.run(plan=data.planned(**given)[:12]).state == "succeeded"
    assert data.value("select name from customers where id = 10") == "http://user:hidden@host"
