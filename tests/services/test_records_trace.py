"""Who changed a record is told by every source that knows, with how far it can be believed; what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from records_kit import SERVICE, Data, data_here
from throw_away_postgres import PgServer

from deployments.catalogue import procedure
from deployments.start import start
from recoverd.errors import RecoverdError
from recoverd.journal import RunRow

pytestmark = pytest.mark.postgres

TABLES = """
create table customers (id int primary key, province text);
insert into customers select n, '11' from generate_series(1, 9) n;
create table audit (n bigserial, relation text, row_key text, at timestamptz, who text, app text, ip inet, xid xid8);
create function note() returns trigger language plpgsql security definer as $$ begin
    insert into audit (relation, row_key, at, who, app, ip, xid) values (tg_table_name, new.id, clock_timestamp(), session_user,
        current_setting('application_name'), inet_client_addr(), pg_current_xact_id());
    return null; end $$;
create trigger note after update on customers for each row execute function note();
grant select on audit to recoverd_data;
"""
AUDIT = "audit: {table: audit, of: relation, key: row_key, at: at, user: who, application: app, address: ip, transaction: xid}"


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(TABLES)
        made.grant("customers")
        yield made


def trace(data: Data, **options: str) -> RunRow:
    run = start(
        "trace", SERVICE, trigger="hand", requester="sre", reason="a test", options=options, journal=data.journal
    )
    with suppress(RecoverdError):  # the run's own record says so
        procedure("trace").flow().fn(run.target, run.id, run.reason, run.options)
    return data.journal.get_run(run.id)


def facts(data: Data, run: RunRow) -> dict:  # type: ignore[type-arg]
    (entry,) = data.journal.entries(run=run.id, kinds=["step.observed"])
    return dict(entry.body["facts"])


def test_a_faulty_job_and_the_fix_after_it_are_both_told(data: Data) -> None:
    data.configure(AUDIT)
    data.sql("set application_name = 'nightly-import'", "update customers set province = '99' where id = 4")
    fix = data.run(table="customers", set="province = '44'", where="province = '99'")
    run = trace(data, table="customers", key="4")
    assert run.state == "succeeded", run.summary
    told = facts(data, run)
    by = {(one["source"], one["trust"]): one for one in told["changes"]}
    assert f"run {fix.id}, planned by sre" in by["fix", "certain"]["who"]
    noted = [one["who"] for one in told["changes"] if one["source"] == "audit table"]
    assert noted[0].startswith("user recoverd_data, application recoverd fix, from 127.0.0.1")
    assert f"user {data.server.user}, application nightly-import" in noted[1]
    assert by["the row itself", "certain"]["transaction"] == data.value("select xmin::text from customers where id = 4")


def test_sources_that_say_nothing_are_named_with_what_would_help(data: Data) -> None:
    missing = facts(data, trace(data, table="customers", key="4"))["missing"]
    assert any("track_commit_timestamp is off" in one for one in missing)
    assert any("pg_waldump --xid=" in one for one in missing)
    assert any("data.yaml names none" in one for one in missing)
    data.configure("audit: {table: nowhere, key: k, at: a}")
    assert any(
        "there is no table nowhere" in one for one in facts(data, trace(data, table="customers", key="4"))["missing"]
    )


def test_a_row_that_is_not_there_and_a_key_that_is_none_are_told(data: Data) -> None:
    assert "it is not there" in " ".join(facts(data, trace(data, table="customers", key="77"))["missing"])
    for options in (
        {"key": "x"},
        {"key": "1' or true --"},
        {"table": "nothing"},
        {"table": "customers; drop table audit"},
    ):
        assert trace(data, **{"table": "customers", "key": "4", **options}).state == "refused", options
    assert data.value("select count(*) from customers") == 9
