"""A run that goes on later than it began: the world may have gone on too, and nobody is promoted on yesterday's news."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, address_holders, only_writer, roles
from lab_kit import eventually

from lab import Lab
from lab.cluster import wait_for_standbys
from lab.guard import Guard
from recoverd import approvals
from recoverd.journal import RunRow
from recoverd.person import Actor

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

CHILD = Path(__file__).with_name("kill_child.py")
LEAD = Actor("lead", roles=frozenset({"command"}), rights=frozenset({"approve"}), known=True, by="token")
DATA = "/var/lib/postgresql/data"


def waits_because_nothing_fences(recoverd: Controller, lab: Lab) -> RunRow:
    """A primary that is cut off, and a fence device that does not work: the run asks a person."""
    recoverd.policy(unfenced_promotion="ask")
    fencing = recoverd.inventory / "fencing.yaml"
    working = fencing.read_text()
    fencing.write_text(working.replace("/power]", "/no-such-agent]"))
    lab.break_("partition", "db-1")
    run = recoverd.run()
    fencing.write_text(working)
    assert run.state == "waiting", run.summary
    return run


def approve(recoverd: Controller, run: RunRow) -> RunRow:
    gate = recoverd.journal.list_approvals(run=run.id)[0]
    approvals.decide(recoverd.journal, run.id, LEAD, gate.plan_hash, "approve", "I read it late")
    return recoverd.execute(run)


def killed_after(run: RunRow, kind: str, step: str) -> None:
    command = [sys.executable, str(CHILD), run.id, "after", kind, step]
    assert subprocess.run(command, timeout=90, capture_output=True, check=False).returncode == -signal.SIGKILL


def test_an_approval_that_comes_after_another_run_has_failed_over_promotes_nobody(
    recoverd: Controller, lab: Lab
) -> None:
    waiting = waits_because_nothing_fences(recoverd, lab)
    with Guard(lab.layout) as guard:
        assert recoverd.run().state == "succeeded"
        primary = only_writer(lab)
        late = approve(recoverd, waiting)
    assert (late.state, "has become the primary" in late.summary) == ("refused", True), late.summary
    assert (only_writer(lab), address_holders(lab), guard.violations) == (primary, [primary], [])


def test_an_approval_that_comes_when_the_primary_serves_again_touches_nothing(recoverd: Controller, lab: Lab) -> None:
    waiting = waits_because_nothing_fences(recoverd, lab)
    lab.mend("partition", "db-1")
    wait_for_standbys(lab.host("db-1"), 2, timeout_s=30)
    late = approve(recoverd, waiting)
    assert (late.state, "but now" in late.summary) == ("refused", True), late.summary
    assert (only_writer(lab), address_holders(lab)) == ("db-1", ["db-1"])


def test_a_fence_that_was_taken_away_while_the_run_was_away_is_made_again(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.request()
    killed_after(run, "step.done", f"fence_by_ssh({SERVICE},db-1)")
    lab.run("db-1", f"rm {DATA}/standby.signal /var/lib/recoverd/{SERVICE}.fenced")
    assert recoverd.execute(run).state == "succeeded"
    assert recoverd.done(run).count("fence_by_ssh") == 2
    assert lab.run("db-1", f"ls {DATA}").out.count("standby.signal") == 1
    assert roles(lab)["db-1"] == "stopped"


def test_a_primary_that_was_started_again_while_the_run_was_away_gets_no_second_one(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.request()
    killed_after(run, "step.decided", "choose(after the fence,db-1)")
    lab.run("db-1", f"rm {DATA}/standby.signal /var/lib/recoverd/{SERVICE}.fenced")
    lab.start_postgres("db-1")
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    ended = recoverd.execute(run)
    assert (ended.state, only_writer(lab)) == ("refused", "db-1"), ended.summary
