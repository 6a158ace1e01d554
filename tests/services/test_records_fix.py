"""Records are mended as an approved plan says, to the row and to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from records_kit import Data, data_here
from throw_away_postgres import PgServer

from recoverd.errors import NotAllowed
from recoverd.person import Actor

pytestmark = pytest.mark.postgres

CUSTOMERS = """
create table customers (id int primary key, name text not null, province char(2), changed_at timestamptz);
insert into customers select n, 'customer ' || n, case when n % 10 = 0 then '11' else '44' end from generate_series(1, 100) n
"""
WRONG = {"table": "customers", "set": "province = '44'", "where": "province = '11'"}


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(CUSTOMERS)
        made.grant("customers")
        yield made


def test_a_fix_is_planned_approved_by_another_person_and_applied(data: Data) -> None:
    digest = data.planned(**WRONG, expect_rows=10)
    assert data.value("select count(*) from customers where province = '11'") == 10, "a plan changes nothing"
    run = data.execute(data.request(plan=digest[:12]))
    assert run.state == "waiting"
    (waiting,) = data.journal.list_approvals(run=run.id)
    assert waiting.plan_hash == digest
    with pytest.raises(NotAllowed):
        data.approve(run, Actor("sre", frozenset({"dba"}), frozenset({"approve"}), known=True))
    data.approve(run)
    run = data.execute(run)
    assert (run.state, run.summary) == ("succeeded", "10 rows of public.customers changed in 1 transaction")
    assert data.value("select count(*) from customers where province = '44'") == 100
    again = data.execute(data.request(plan=digest[:12]))
    assert again.state == "refused"
    assert run.id in again.summary


def test_a_run_makes_its_own_plan_once_and_waits_with_it(data: Data) -> None:
    run = data.execute(data.request(**WRONG))
    assert data.execute(run).state == "waiting"
    assert data.value("select count(*) from recoverd.fixes") == 1
    data.approve(run)
    assert data.execute(run).state == "succeeded"


def test_a_plan_shows_rows_before_and_after_and_what_else_happens(data: Data) -> None:
    data.sql(
        "create function touch() returns trigger language plpgsql as 'begin new.changed_at = now(); return new; end'",
        "create trigger touch before update on customers for each row execute function touch()",
    )
    found = data.plan(**WRONG)
    rows = [(step.title, step.finding) for step in found.steps if step.kind == "row"]
    assert rows[0] == ("customers 10", "province: 11 → 44")
    assert len(rows) == 10
    warnings = [step.finding for step in found.steps if step.kind == "warning"]
    assert warnings == ["trigger touch: before update, touch()"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"expect_rows": 11}, "11 were expected"),
        ({"where": "false"}, "no row is meant"),
        ({"where": "province = '44'"}, "right value already"),
        ({"set": "id = 7"}, "primary key"),
        ({"set": "province = 'too long'"}, "value too long"),
        ({"set": "name = null"}, "may not be"),
        ({"set": "provinz = '44'"}, "no column provinz"),
        ({"table": "customer"}, "no table customer"),
        ({"where": "nextval('s') > 0"}, "volatile"),
        ({"where": "random() > 0.5"}, "volatile"),
        ({"where": "writes(id)"}, "read-only transaction"),
        ({"set": "province = pg_read_file('/etc/passwd')"}, "volatile"),
        ({"where": "nothing = 1"}, "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_changes(
    data: Data, options: dict[str, str], says: str
) -> None:
    data.sql(
        "create table log (n int); grant insert on log to recoverd_data",
        "create function note() returns void language sql as 'insert into log values (1)'",
        "create function writes(int) returns bool stable language plpgsql as 'begin perform note(); return true; end'",
    )
    run = data.run(**{**WRONG, **options})
    assert run.state == "refused", run.summary
    assert says in run.summary
    assert data.value("select count(*) from customers where province = '11'") == 10
    assert data.value("select count(*) from log") == 0


def test_whoever_approves_sees_the_rows_of_a_plan_by_its_hash(data: Data) -> None:
    digest = data.planned(**WRONG)
    found = data.plan(plan=digest[:12])
    assert found.error is None
    assert sum(step.kind == "row" for step in found.steps) == 10
    assert next(step.key for step in found.steps if step.kind == "plan") == digest
    assert data.value("select count(*) from recoverd.fixes") == 1


def test_plans_that_nobody_wanted_are_dropped_after_a_week_and_those_of_fixes_stay(data: Data) -> None:
    data.planned(**WRONG)
    done = data.run(**WRONG, expect_rows=10)
    data.sql("update recoverd.fixes set made_at = now() - interval '8 days'")
    data.planned(table="customers", set="name = 'x'", where="id = 1")
    left = data.sql("select state, coalesce(run, '') from recoverd.fixes order by made_at")
    assert left == [("done", done.id), ("planned", "")]
    tables = (
        "select count(*) from pg_class where relnamespace = 'recoverd'::regnamespace and relname ~ '^fix_[0-9a-f]{16}$'"
    )
    assert data.value(tables) == 2
