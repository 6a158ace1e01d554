"""The whole of recoverd on real servers: an alert leads to a failover, whatever is killed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_kit import Controller, address_holders, controller, name, only_writer
from lab_kit import eventually, lab_name
from serve_kit import Serving, kill

from lab import Lab
from lab.guard import Guard
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture(scope="module")
def _kept() -> Iterator[dict[str, Serving]]:
    kept: dict[str, Serving] = {}
    yield kept
    for serving in kept.values():
        serving.stop()


@pytest.fixture
def serving(lab: Lab, _home: Path, _kept: dict[str, Serving]) -> Iterator[Serving]:
    """One `recoverd serve` for all tests here, on a lab that is healthy at the start of each."""
    assert lab.name == lab_name("t")
    with controller(lab, _home) as made:
        made.policy(cooldown_s=0)
        serving = _kept.setdefault("serve", Serving(made))
        serving.controller = made
        if not serving.processes():
            serving.start()
        yield serving


def assert_done_once(recoverd: Controller, row: RunRow) -> None:
    assert row.state == "succeeded", row.summary
    outcomes = Counter(name(entry) for entry in recoverd.entries(row, "step.done"))
    assert outcomes == {"fence_by_ssh": 1, "promote": 1, "claim_address": 1, "follow": 1}
    assert address_holders(recoverd.lab) == [only_writer(recoverd.lab)]
    assert recoverd.journal.verify().ok


def test_an_alert_leads_to_a_failover_by_itself(serving: Serving, lab: Lab) -> None:
    with Guard(lab.layout) as guard:
        lab.break_("kill", "db-1")
        run = serving.alert(instance="db-1")["runs"][0]
        assert_done_once(serving.controller, serving.ended(run))
    assert not guard.violations
    shown = serving.command("show", run, "-o", "markdown")
    assert shown.returncode == 0
    assert "promote db-2" in shown.stdout


def test_the_record_of_a_run_is_an_artifact_of_its_flow_run_in_prefect(serving: Serving) -> None:
    run = serving.controller.journal.list_runs(limit=1)[0]
    found = serving.prefect("artifacts/filter", {"artifacts": {"key": {"any_": [f"recoverd-{run.id}"]}}})
    assert [artifact["flow_run_id"] for artifact in found] == [run.flow_run]
    assert "promote db-2" in found[0]["data"]


def test_a_run_whose_process_is_killed_in_the_middle_of_a_step_goes_on(serving: Serving, lab: Lab) -> None:
    with Guard(lab.layout) as guard:
        lab.break_("kill", "db-1")
        run = serving.alert(instance="db-1")["runs"][0]
        serving.wait_for(run, lambda entry: entry.kind == "step.intended" and name(entry) == "promote")
        first = serving.controller.journal.get_run(run)
        kill(first)
        row = serving.ended(run)
        assert_done_once(serving.controller, row)
    assert row.executor != first.executor
    assert not guard.violations


def test_all_of_recoverd_is_killed_in_the_middle_and_completes_the_run_when_it_is_started_again(
    serving: Serving, lab: Lab
) -> None:
    with Guard(lab.layout) as guard:
        lab.break_("kill", "db-1")
        run = serving.alert(instance="db-1")["runs"][0]
        serving.wait_for(run, lambda entry: entry.kind == "step.done" and name(entry) == "fence_by_ssh")
        serving.kill_all()
        assert not serving.controller.journal.get_run(run).ended
        serving.start()
        assert_done_once(serving.controller, serving.ended(run))
    assert not guard.violations


def test_two_alerts_for_one_service_at_the_same_instant_are_one_failover(serving: Serving, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    first, second = serving.alert(instance="db-1"), serving.alert(instance="10.0.0.1", severity="page")
    assert first["outcomes"] == {"started": 1}
    assert second["outcomes"] == {"recorded": 1}
    assert_done_once(serving.controller, serving.ended(first["runs"][0]))


def test_a_run_that_asks_waits_without_a_process_until_another_person_approves_its_plan(
    serving: Serving, lab: Lab
) -> None:
    lab.break_("kill", "db-1")
    run = serving.controller.request(mode="ask", by="operator").id  # whom the inventory knows root as
    assert eventually(lambda: serving.controller.journal.get_run(run).state == "waiting", timeout_s=30)
    mine = serving.command("approve", run, "--comment", "my own", "--yes")
    assert (mine.returncode, "HINT" in mine.stderr) == (3, True), (mine.stdout, mine.stderr)
    token = str(lab.layout.secret("lead"))
    theirs = serving.command("approve", run, "--yes", RECOVERD_USER_TOKEN_FILE=token)
    assert theirs.returncode == 0, theirs.stderr
    assert_done_once(serving.controller, serving.ended(run))
