"""Promises of the runner, kept on a real Prefect server with real processes that are really killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from alertmanager_kit import write_inventory
from prefect_fixtures import Installation, descendants, installation, until, until_prefect_says  # noqa: F401  # a fixture is used by its name

from deployments import prefect_api
from deployments.catalogue import load_catalogue
from deployments.start import cancel, start
from recoverd.journal import ENDED, RunRow
from recoverd.liveness import is_executing

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@pytest.fixture
def here(installation: Installation) -> Installation:  # noqa: F811
    installation.runner()
    return installation


def test_a_run_reaches_its_end_and_is_seen_in_prefect(here: Installation) -> None:
    run = here.start().id
    row = here.until(run, *ENDED)
    assert (row.state, here.did(run)) == ("succeeded", ["first", "last"])
    with prefect_api.client() as api:
        flow_run = api.read_flow_run(row.flow_run)
        until_prefect_says(api, row.flow_run, "completed")
        assert flow_run.name == run


def test_asking_twice_with_one_id_starts_one_run(here: Installation) -> None:
    def ask() -> str:
        return start(
            "tiny", "orders", trigger="alert", requester="am", reason="x", run="ti-twice", journal=here.journal,
            options={"marks": str(here.marks)}, catalogue=load_catalogue("prefect_procedures:CATALOGUE"),
        ).id  # fmt: skip

    assert ask() == ask()
    here.until("ti-twice", "succeeded")
    assert ask() == "ti-twice"
    assert here.did("ti-twice") == ["first", "last"]


@pytest.mark.parametrize(("procedure", "why"), [("broken", "the inventory is wrong"), ("missing", "cannot be loaded")])
def test_a_procedure_that_cannot_run_fails_at_once_and_says_why(here: Installation, procedure: str, why: str) -> None:
    row = here.until(here.start(procedure).id, *ENDED, timeout_s=10)
    assert row.state == "failed"
    assert why in row.summary


def test_a_killed_child_is_replaced_and_no_step_is_repeated(here: Installation) -> None:
    run = here.start(hold=True).id
    child = here.until_did(run, "holding")
    os.kill(child, signal.SIGKILL)
    until(lambda: any(here.journal.entries(run=run, kinds=["run.queued"])), "the death to be seen", timeout_s=5)
    here.go(run)
    row = here.until(run, *ENDED)
    assert (row.state, here.did(run)) == ("succeeded", ["first", "holding", "last"])
    with prefect_api.client() as api:
        names = [state.name for state in api.read_flow_run_states(row.flow_run)]
    assert "Crashed" in names


def test_a_run_lives_on_when_its_runner_is_killed(here: Installation) -> None:
    run = here.start(hold=True).id
    child = here.until_did(run, "holding")
    before = here.runner().pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    until(lambda: here.runner().pid not in (None, before), "the runner to be started again")
    assert is_executing(run)
    here.go(run)
    assert here.until(run, *ENDED).state == "succeeded"
    assert len(list(here.journal.entries(run=run, kinds=["run.started", "run.resumed"]))) == 1
    assert f" {child}" in (here.marks / run).read_text().splitlines()[-1]


def test_a_run_whose_runner_and_child_both_died_is_taken_over(here: Installation) -> None:
    run = here.start(hold=True).id
    child = here.until_did(run, "holding")
    here.stop_runner()
    os.kill(child, signal.SIGKILL)
    here.go(run)
    here.runner()
    assert here.until(run, *ENDED).state == "succeeded"
    assert here.did(run) == ["first", "holding", "last"]


def test_a_run_goes_on_while_the_prefect_server_is_killed_and_prefect_hears_of_its_end(here: Installation) -> None:
    run = here.start(hold=True).id
    here.until_did(run, "holding")
    before = here.server.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    here.go(run)
    row = here.until(run, *ENDED, timeout_s=10)
    assert (row.state, here.did(run)) == ("succeeded", ["first", "holding", "last"])
    until(lambda: here.server.pid not in (None, before), "the server to be started again")
    here.server.ready(timeout_s=60)
    with prefect_api.client() as api:
        until_prefect_says(api, str(row.flow_run), "completed")


def test_spares_die_with_their_runner(here: Installation) -> None:
    runner = here.runner().pid
    assert runner is not None
    family = descendants(runner)
    assert len(family) >= 2
    os.kill(runner, signal.SIGKILL)
    until(lambda: not any(_is_alive(pid) for pid in family), "the forking process and the spares to end", timeout_s=5)
    until(lambda: here.runner().pid not in (None, runner), "the runner to be started again")


def test_a_gate_ends_the_process_and_an_answer_brings_the_run_back(here: Installation) -> None:
    run = here.start(gate=True).id
    row = here.until(run, "waiting")
    until(lambda: not is_executing(run), "the process to end")
    with prefect_api.client() as api:
        assert api.read_flow_run(row.flow_run).state.name == "Suspended"
    here.journal.append("gate.approved", who="somebody", run=run)
    here.journal.set_run(run, "requested", who="somebody")
    assert here.until(run, *ENDED).state == "succeeded"
    assert here.did(run) == ["first", "last"]


def test_a_run_that_prefect_resumes_without_an_answer_waits_again(here: Installation) -> None:
    run = here.start(gate=True).id
    row = here.until(run, "waiting")
    until(lambda: not is_executing(run), "the process to end")
    with prefect_api.client() as api:
        api.resume_flow_run(row.flow_run)
    until(lambda: len(list(here.journal.entries(run=run, kinds=["run.waiting"]))) == 2, "it to wait again")
    cancel(run, who="tester", reason="enough", journal=here.journal)
    assert here.journal.get_run(run).state == "cancelled"
    with prefect_api.client() as api:
        until_prefect_says(api, row.flow_run, "cancelled")


def test_cancel_stops_a_run(here: Installation) -> None:
    run = here.start(hold=True).id
    here.until_did(run, "holding")
    cancel(run, who="tester", reason="wrong target", journal=here.journal)
    row = here.until(run, *ENDED, timeout_s=10)
    assert (row.state, here.did(run)) == ("cancelled", ["first", "holding"])
    with prefect_api.client() as api:
        until_prefect_says(api, row.flow_run, "cancelled")


def test_cancel_in_prefect_stops_a_run(here: Installation) -> None:
    from prefect.states import Cancelling

    run = here.start(hold=True).id
    here.until_did(run, "holding")
    with prefect_api.client() as api:
        api.set_flow_run_state(here.journal.get_run(run).flow_run, Cancelling())
        assert here.until(run, *ENDED, timeout_s=10).state == "cancelled"
        until_prefect_says(api, here.journal.get_run(run).flow_run, "cancelled")


def test_a_run_started_in_prefect_comes_into_the_journal_once(here: Installation) -> None:
    with prefect_api.client() as api:
        deployment = api.read_deployment_by_name("tiny/recoverd-tiny")
        parameters = {"target": "billing", "options": {"marks": str(here.marks)}}
        flow_run = api.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        until_prefect_says(api, flow_run.id, "completed")
    rows = [row for row in here.journal.list_runs(target="billing") if row.flow_run == str(flow_run.id)]
    assert [row.state for row in rows] == ["succeeded"]
    assert here.did(rows[0].id) == ["first", "last"]


@pytest.fixture
def with_policies(here: Installation) -> Iterator[None]:
    """Two services: failovers by schedule are to be asked for on one, and only recorded on the other."""
    write_inventory(here.config.home)
    policies = {name: {"failover": {"schedule": mode}} for name, mode in (("asks", "ask"), ("records", "record"))}
    services = json.loads((here.config.inventory / "services.yaml").read_text())
    for service, policy in (("orders", "asks"), ("billing", "records")):
        services["services"][service] = {**services["services"][service], "policy": policy}
    (here.config.inventory / "policies.yaml").write_text(json.dumps({"policies": policies}))
    (here.config.inventory / "services.yaml").write_text(json.dumps(services))
    yield
    shutil.rmtree(here.config.inventory)


@pytest.mark.usefixtures("with_policies")
def test_what_a_schedule_starts_does_no_more_by_itself_than_the_policy_allows(here: Installation) -> None:
    def first(target: str) -> RunRow | None:
        return next(iter(here.journal.list_runs(procedure="failover", target=target, states=list(ENDED))), None)

    with prefect_api.client() as api, scheduled_often(api, "tiny/recoverd-failover", here, ("orders", "billing")):
        until(lambda: first("orders") and first("billing"), "both schedules to have started a run", timeout_s=90)
        asked, recorded = first("orders"), first("billing")
        assert asked is not None
        assert recorded is not None
        assert (asked.trigger, asked.mode, asked.state) == ("schedule", "ask", "succeeded")
        assert (recorded.mode, recorded.state, here.did(recorded.id)) == ("record", "refused", [])
        assert "only records a failover that is asked for by a schedule" in recorded.summary
        until_prefect_says(api, str(recorded.flow_run), "failed")


@contextmanager
def scheduled_often(
    api: SyncPrefectClient, deployment: str, here: Installation, targets: tuple[str, ...]
) -> Iterator[None]:
    """A schedule of every ten seconds for each target, for as long as the block lasts."""
    place = f"/deployments/{api.read_deployment_by_name(deployment).id}/schedules"
    made = [
        {
            "schedule": {"interval": 10},
            "active": True,
            "parameters": {"target": target, "options": {"marks": str(here.marks)}},
        }
        for target in targets
    ]
    answer = api._client.post(place, json=made)
    answer.raise_for_status()
    try:
        yield
    finally:
        for schedule in answer.json():
            api._client.delete(f"{place}/{schedule['id']}").raise_for_status()


def test_a_storm_runs_a_few_at_once_the_urgent_ones_first(here: Installation) -> None:
    holding = [here.start(hold=True).id for _ in range(here.config.parallel_runs)]
    for run in holding:
        here.until_did(run, "holding")
    tiny = [here.start().id for _ in range(12)]
    urgent = [here.start("urgent").id for _ in range(4)]
    for run in holding:
        here.go(run)
    for run in (*holding, *tiny, *urgent):
        assert here.until(run, *ENDED, timeout_s=60).state == "succeeded"
    started = [entry.run for entry in here.journal.entries(kinds=["run.started"])]
    order = [run for run in started if run in tiny or run in urgent]
    assert set(order[:4]) == set(urgent)
    assert _most_at_once(here) <= here.config.parallel_runs


def _most_at_once(here: Installation) -> int:
    now = most = 0
    for entry in here.journal.entries(
        kinds=["run.started", "run.resumed", "run.finished", "run.queued", "run.waiting"]
    ):
        now += 1 if entry.kind in ("run.started", "run.resumed") else -(entry.body.get("from") == "running")
        most = max(most, now)
    return most


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
