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
