"""What stands in the way of a fix is found, nothing gets past it, and no value is lost on the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from records_kit import Data, data_here
from throw_away_postgres import PgServer

from recoverd.journal import RunRow

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


def waiting_run(data: Data, **options: Any) -> RunRow:
    """A run whose plan is approved, and which has not gone on yet."""
    run = data.execute(data.request(**{**WRONG, **options}))
    assert run.state == "waiting", run.summary
    data.approve(run)
    return run


def wrong(data: Data) -> int:
    return int(data.value("select count(*) from customers where province = '11'"))


def test_rows_that_were_changed_or_deleted_since_the_plan_are_left_and_named(data: Data) -> None:
    run = waiting_run(data)
    data.sql("update customers set province = '31' where id = 20", "delete from customers where id = 30")
    run = data.execute(run)
    assert run.state == "succeeded"
    assert run.summary.startswith("8 rows of public.customers changed in 1 transaction; 2 rows changed or gone since")
    assert data.facts(run)["left"] == {"changed": ["20"], "gone": ["30"]}
    assert data.value("select province from customers where id = 20") == "31"
    assert data.value("select count(*) from customers where id = 30") == 0


def test_a_value_that_was_changed_away_and_back_counts_as_changed_only_when_strict(data: Data) -> None:
    for strict, left in ((False, 0), (True, 1)):
        data.sql("update customers set province = '11' where id % 10 = 0")
        run = waiting_run(data, strict=strict)
        data.sql(
            "update customers set province = '12' where id = 50", "update customers set province = '11' where id = 50"
        )
        run = data.execute(run)
        assert data.facts(run)["conflicts"] == left


def test_an_undo_is_a_second_approved_fix_that_leaves_what_was_changed_since(data: Data) -> None:
    run = data.run(**WRONG)
    data.sql("update customers set province = '31' where id = 40", "delete from customers where id = 60")
    back = data.execute(data.request(undo=run.id))
    assert back.state == "waiting", back.summary
    (gate,) = data.journal.list_approvals(run=back.id)
    assert "2 rows changed since and stay as they are" in gate.summary
    data.approve(back)
    data.sql("update customers set province = '32' where id = 70")
    back = data.execute(back)
    assert back.state == "succeeded"
    assert "3 rows of run" in back.summary
    found = dict(data.sql("select id, province from customers where id % 10 = 0"))
    assert found == {10: "11", 20: "11", 30: "11", 40: "31", 50: "11", 70: "32", 80: "11", 90: "11", 100: "11"}
    assert data.journal.get_run(run.id).state == "succeeded"


def test_a_fix_that_was_taken_back_whole_is_undone_and_not_twice(data: Data) -> None:
    run = data.run(**WRONG)
    back = data.run(undo=run.id)
    assert back.state == "succeeded", back.summary
    assert wrong(data) == 10
    assert data.journal.get_run(run.id).state == "undone"
    assert data.run(undo=run.id).state == "refused"


@pytest.mark.parametrize(
    ("function", "timing", "says"),
    [
        ("return null", "before", "10 changes of 10 did not come about"),
        ("new.province = '99'; return new", "before", "10 rows have another value"),
        ("if new.id = 50 then return null; end if; return new", "before", "1 change of 10 did not come about"),
        (
            "update customers set province = '98' where id = new.id and province = '44'; return null",
            "after",
            "10 rows have",
        ),
    ],
)
def test_a_trigger_that_drops_or_rewrites_a_change_is_found_and_rolled_back(
    data: Data, function: str, timing: str, says: str
) -> None:
    data.sql(
        f"create function meddle() returns trigger language plpgsql as $$ begin {function}; end $$",
        f"create trigger meddle {timing} update on customers for each row execute function meddle()",
    )
    run = data.run(**WRONG)
    assert (run.state, wrong(data)) == ("failed", 10)
    assert says in run.summary
    assert data.value("select count(*) from customers where province in ('99', '98')") == 0


def test_a_deferred_check_speaks_before_the_commit(data: Data) -> None:
    data.sql(
        "create table provinces (code char(2) primary key); insert into provinces values ('11'), ('44')",
        "alter table customers add foreign key (province) references provinces deferrable initially deferred",
        "delete from customers where province = '44'; delete from provinces where code = '44'",
    )
    run = data.run(**WRONG)
    assert run.state == "failed"
    assert "foreign key" in run.summary
    assert wrong(data) == 10


@pytest.mark.parametrize(
    "tampering",
    [
        "update recoverd.{plan} set new_province = '99' where key_id = 10",
        "delete from recoverd.{plan} where key_id = 10",
        "update recoverd.{plan} set key_id = 11 where key_id = 10",
        "insert into recoverd.{plan} values (1000, 7, '44', '99')",
        "update recoverd.fixes set manifest = replace(manifest, '\"customers\"', '\"others\"')",
        "update recoverd.fixes set manifest = 'x'",
    ],
)
def test_a_plan_that_was_touched_after_its_approval_is_not_applied(data: Data, tampering: str) -> None:
    run = waiting_run(data)
    data.sql(tampering.format(plan=data.value("select name from recoverd.fixes")))
    run = data.execute(run)
    assert run.state == "failed"
    assert wrong(data) == 10
    assert data.value("select count(*) from customers where province = '99'") == 0


def test_a_plan_for_another_cluster_or_for_another_table_is_refused(data: Data) -> None:
    run = waiting_run(data)
    data.sql("alter table customers alter province type varchar(5)")
    assert data.execute(run).state == "refused"
    other = waiting_run(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.records_session.place_of", lambda _session: ("7000000000000000000", data.database))
        other = data.execute(other)
    assert other.state == "refused"
    assert "7000000000000000000" in other.summary
    assert wrong(data) == 10


def test_rows_that_others_hold_are_waited_for_a_bounded_time_and_a_resume_goes_on(data: Data) -> None:
    data.configure("most_attempts: 2")
    run = waiting_run(data, batch_rows=5)
    holder = psycopg2.connect(data.url)
    holder.cursor().execute("select from customers where id = 80 for update")
    run = data.execute(run)
    assert run.state == "failed"
    assert "held by others 2 times" in run.summary
    assert wrong(data) == 5, "the first transaction stays done"
    holder.close()
    with data.journal.transaction() as tx:
        tx.set_run(run.id, "requested", who="sre")
    run = data.execute(run)
    assert (run.state, wrong(data)) == ("succeeded", 0)
    assert data.facts(run)["batches"] == 2


def test_a_deadlock_is_tried_again(data: Data) -> None:
    """Another session holds row 20 and wants row 10; the fix holds 10 and wants 20: one of them is thrown out."""
    data.configure("lock_timeout_ms: 10000", "most_attempts: 5")
    data.sql("alter database " + data.database + " set deadlock_timeout = '50ms'")
    run = waiting_run(data)
    other = psycopg2.connect(data.url)
    other.cursor().execute("set deadlock_timeout = '10s'; select from customers where id = 20 for update")
    ended: list[RunRow] = []
    thread = threading.Thread(target=lambda: ended.append(data.execute(run)))
    thread.start()
    probe = "select count(*) from pg_stat_activity where application_name = 'recoverd fix' and wait_event_type = 'Lock'"
    while thread.is_alive() and not data.value(probe):
        thread.join(0.01)
    other.cursor().execute("update customers set name = 'first' where id = 10")
    other.commit()
    thread.join(30)
    other.close()
    assert ended[0].state == "succeeded", ended[0].summary
    assert data.value("select name from customers where id = 10") == "first"
    assert wrong(data) == 0


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


@pytest.mark.parametrize(
    ("setup", "options", "says"),
    [
        ("create table bare (a int); insert into bare values (1)", {"table": "bare", "set": "a = 2", "where": "true"}, "primary key"),
        ("create view bare as select * from customers", {"table": "bare"}, "a view"),
        ("create table kid () inherits (customers)", {}, "inherit"),
        ("alter table customers enable row level security; create policy p on customers using (id < 50)", {}, "row security"),
        ("alter table customers add g int generated always as (id) stored", {"set": "g = 2"}, "made by the server"),
        ("create rule r as on update to customers do instead nothing", {}, "instead"),
        ("revoke update on customers from recoverd_data", {}, "may not update"),
        ("revoke select on customers from recoverd_data", {}, "may not read"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_mended_safely_is_refused(
    data: Data, setup: str, options: dict[str, str], says: str
) -> None:
    data.sql(setup)
    if "bare" in setup:
        data.grant("bare")
    run = data.run(**{**WRONG, **options})
    assert (run.state, wrong(data)) == ("refused", 10)
    assert says in run.summary


def test_a_right_on_one_column_is_enough(data: Data) -> None:
    data.sql("revoke update on customers from recoverd_data", "grant update (province) on customers to recoverd_data")
    assert data.run(**WRONG).state == "succeeded"
