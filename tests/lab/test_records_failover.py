"""A primary that dies in the middle of a fix: it goes on at the new one, and each row is changed exactly once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, only_writer
from lab_kit import eventually

from lab import Lab
from recoverd import approvals
from recoverd.person import Actor

pytestmark = pytest.mark.lab

ROLE_SQL = Path(__file__).parents[2] / "deployments" / "sql" / "data-role.sql"
ROWS, IN_A_BATCH = 4000, 100  # as below
LEAD = Actor("lead", frozenset({"command"}), frozenset({"approve"}), known=True)
CUSTOMERS = """
create table customers (id int primary key, province text);
create table history (n bigserial, id int, old text, new text);
create function note() returns trigger language plpgsql security definer set search_path = public as
$$ begin insert into history (id, old, new) values (new.id, old.province, new.province); return null; end $$;
create trigger note after update on customers for each row execute function note();
insert into customers select n, '11' from generate_series(1, 4000) n;
"""


def psql(lab: Lab, host: str, sql: str) -> str:
    command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "password=mends", "-d", "orders"]
    return lab.run(host, command, user="postgres", stdin=sql).out.strip()


@pytest.fixture
def data(lab: Lab, recoverd: Controller) -> Controller:
    """The customers of the lab, and the role that may mend them."""
    clean = "drop table if exists customers, history; drop function if exists note(); drop schema if exists recoverd cascade;"
    there = psql(lab, "db-1", "select count(*) from pg_roles where rolname = 'recoverd_data'")
    psql(lab, "db-1", clean + ("drop owned by recoverd_data; drop role recoverd_data;" if there == "1" else ""))
    psql(lab, "db-1", ROLE_SQL.read_text())
    psql(lab, "db-1", CUSTOMERS + "grant select, update on customers to recoverd_data;")
    secret = recoverd.home / "data-secret"
    secret.write_text("mends")
    secret.chmod(0o600)
    (recoverd.inventory / "data.yaml").write_text(
        f"data:\n  {SERVICE}:\n    database: orders\n    password: {{file: {secret}}}\n"
        f"    batch_rows: {IN_A_BATCH}\n    pause_ms: 100\n"
    )
    return recoverd


def test_a_fix_goes_on_at_the_new_primary_and_changes_each_row_exactly_once(lab: Lab, data: Controller) -> None:
    run = data.execute(data.request("fix-record", table="customers", set="province = '44'", where="province = '11'"))
    assert run.state == "waiting", run.summary
    (gate,) = data.journal.list_approvals(run=run.id)
    approvals.decide(data.journal, run.id, LEAD, gate.plan_hash, "approve")
    fixing = threading.Thread(target=data.execute, args=(run,))
    fixing.start()
    done = "select count(*) from recoverd.fix_batches"
    assert eventually(lambda: int(psql(lab, "db-1", done)) > 5, timeout_s=30)
    lab.break_("power-off", "db-1")
    assert data.run("failover").state == "succeeded"
    fixing.join(90)
    assert not fixing.is_alive()
    run = data.journal.get_run(run.id)
    assert run.state == "succeeded", run.summary
    primary = only_writer(lab)
    assert primary != "db-1"
    assert psql(lab, primary, "select count(*) from customers where province = '44'") == str(ROWS)
    assert (
        psql(lab, primary, "select count(*), count(distinct id) from history where old = '11' and new = '44'")
        == f"{ROWS}|{ROWS}"
    )
    for lost in data.entries(run, "fix.lost"):
        assert lost.body["from"] < lost.body["to"]
