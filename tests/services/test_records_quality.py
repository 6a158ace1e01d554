"""Records are counted by rule; what falls below what is asked for raises an incident, and prepares a fix that waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from records_kit import SERVICE, Data, data_here
from throw_away_postgres import PgServer

from deployments.catalogue import procedure
from deployments.start import start
from gateway.cli.main import run as command
from recoverd.errors import RecoverdError
from recoverd.journal import RunRow
from recoverd.raised import open_incidents
from recoverd.records.quality import past

pytestmark = pytest.mark.postgres

RULES = """
      - {name: dated, table: orders, among: "status = 'paid'", violates: "paid_at is null", mend: "paid_at = 'epoch'", least_percent: 90}
      - {name: owned, sql: "select id from orders where customer > 3", total: "select count(*) from orders", least_percent: 50}
"""
ORDERS = """
create table orders (id int primary key, status text, paid_at date, customer int);
insert into orders select n, case when n <= 20 then 'paid' else 'new' end, case when n > 1 then date '2026-01-01' end, n % 5
from generate_series(1, 100) n
"""


@pytest.fixture
def data(pg_server: PgServer, tmp_path: Path) -> Iterator[Data]:
    with data_here(pg_server, tmp_path / "home") as made:
        made.sql(ORDERS)
        made.grant("orders")
        made.configure(f"rules: {RULES}")
        yield made


def check(data: Data) -> RunRow:
    run = start("check-data", SERVICE, trigger="hand", requester="sre", reason="a test", journal=data.journal)
    with suppress(RecoverdError):  # the run's own record says so
        procedure("check-data").flow().fn(run.target, run.id, run.reason, run.options)
    return data.journal.get_run(run.id)


def test_each_rule_counts_what_is_right_and_the_trend_is_told(data: Data) -> None:
    run = check(data)
    assert run.state == "succeeded"
    assert "dated: 95.00 % of 20 rows are right, 1 are wrong (first look)" in run.summary
    assert "owned: 80.00 % of 100 rows are right, 20 are wrong (first look)" in run.summary
    data.sql("update orders set paid_at = null where id = 2")
    assert "dated: 90.00 %" in (summary := check(data).summary)
    assert "down 5.00 since" in summary
    assert [one.wrong for one in past(data.journal, SERVICE, "dated")] == [1, 2]


def test_below_what_is_asked_for_an_incident_is_open_until_it_is_well_again(data: Data) -> None:
    data.sql("update orders set paid_at = null where id < 5")
    for _ in range(2):
        check(data)
    (incident,) = open_incidents(data.journal)
    assert incident.subject == "data of orders-db: dated"
    assert "--rule dated" in incident.hint
    data.run(rule="dated", expect_rows=4)
    check(data)
    assert not open_incidents(data.journal)


def test_a_rule_that_prepares_has_one_fix_waiting_for_a_person(data: Data) -> None:
    data.configure("rules: " + RULES.replace("least_percent: 90", "least_percent: 99, prepare: true"))
    for _ in range(2):
        check(data)
    (fix,) = data.journal.list_runs(procedure="fix-record")
    assert data.execute(fix).state == "waiting"
    assert data.value("select count(*) from orders where status = 'paid' and paid_at is null") == 1
    data.approve(fix)
    assert data.execute(fix).state == "succeeded"
    assert data.value("select count(*) from orders where status = 'paid' and paid_at is null") == 0


def test_the_command_reads_only_and_says_by_its_code_whether_all_is_well(
    data: Data, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["check-data", SERVICE]) == 0
    assert "95.00 %" in capsys.readouterr().out
    data.sql("update orders set paid_at = null")
    assert command(["check-data", SERVICE, "--rule", "dated"]) == 1
    assert command(["check-data", SERVICE, "--rule", "dates"]) == 2
    assert not past(data.journal, SERVICE)


@pytest.mark.parametrize("condition", ["nothing is null", "random() > 0.5", "pg_sleep(1) is null"])
def test_a_rule_that_the_server_cannot_hold_records_against_is_refused(data: Data, condition: str) -> None:
    data.configure(f'rules: [{{name: odd, table: orders, violates: "{condition}"}}]')
    assert check(data).state == "refused"
