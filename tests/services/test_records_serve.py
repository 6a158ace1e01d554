"""A fix within Prefect: a real runner, a gate that ends the process, and the rest of it in another one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect_fixtures import Installation, installation, until  # noqa: F401  # a fixture is used by its name
from records_kit import Data, data_here
from throw_away_postgres import PgServer

from deployments import prefect_api
from deployments.runner import RunnerProcess
from recoverd.journal import ENDED
from recoverd.liveness import is_executing

pytestmark = pytest.mark.postgres


@pytest.fixture
def data(pg_server: PgServer, installation: Installation) -> Iterator[Data]:  # noqa: F811
    with data_here(pg_server, installation.config.home) as made:
        made.sql(
            "create table customers (id int primary key, province text)",
            "insert into customers select n, '11' from generate_series(1, 1000) n",
        )
        made.grant("customers")
        yield made


def test_a_fix_is_made_within_prefect_and_waits_without_a_process(data: Data, installation: Installation) -> None:  # noqa: F811
    runner = RunnerProcess(installation.config, installation.server.url)
    runner.start()
    installation.runners.append(runner)
    runner.ready(timeout_s=60)
    run = data.request(table="customers", set="province = '44'", where="id <= 900", batch_rows=100)
    row = installation.until(run.id, "waiting", *ENDED)
    assert row.state == "waiting", row.summary
    until(lambda: not is_executing(run.id), "the process to end")
    data.approve(run)
    data.journal.set_run(run.id, "requested", who="lead")
    row = installation.until(run.id, *ENDED)
    assert row.summary == "900 rows of public.customers changed in 9 transactions"
    assert data.value("select count(*) from customers where province = '44'") == 900
    with prefect_api.client() as api:
        until(lambda: api.read_flow_run(row.flow_run).state.name == "Completed", "Prefect to hear of it")
