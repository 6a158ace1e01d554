"""A rejoin that copies for hours does not stand in the way of a failover, and goes on afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, address_holders, only_writer
from lab_kit import eventually
from test_rejoin import CHILD, all_stream, execute, fail_over, lose_commits

from deployments.reconciler import Reconciler
from lab import Lab
from lab.guard import Guard
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SLOW_KBIT = 4000
"""At which the copy of the lab's few dozen megabytes takes minutes."""

NEW = "/var/lib/postgresql/data.recoverd-new"
JOB = f"/var/lib/recoverd/{SERVICE}.rebuild"


@pytest.fixture
def run(recoverd: Controller, lab: Lab, tmp_path: Path) -> Iterator[RunRow]:
    """A rejoin of db-1 that is about to copy the primary over a slow link."""
    recoverd.policy(cooldown_s=0)
    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    lab.run("db-1", f"echo re-earlier > /var/lib/recoverd/{SERVICE}.unfit")  # so that it cannot be rewound
    made = recoverd.request("rejoin")
    step = f"copy_beside({SERVICE},db-1,{only_writer(lab)})"
    assert execute(made, "after", "step.intended", step) == -signal.SIGKILL
    lab.break_("slow-link", "db-1", rate_kbit=SLOW_KBIT)
    yield made
    lab.mend("slow-link", "db-1")


@contextmanager
def executing(recoverd: Controller, run: RunRow) -> Iterator[subprocess.Popen[bytes]]:
    """The run in a process of its own, from the moment in which it only waits for the copy."""
    with subprocess.Popen([sys.executable, str(CHILD), run.id, "never", "", ""]) as child:
        try:
            waits = eventually(
                lambda: child.poll() is not None or (gives_way(recoverd, run) and copies(recoverd.lab)), timeout_s=60
            )
            assert waits
            assert child.poll() is None, recoverd.journal.get_run(run.id).summary
            yield child
        finally:
            child.kill()


def gives_way(recoverd: Controller, run: RunRow) -> bool:
    return any(lock.run == run.id and lock.gives_way for lock in recoverd.journal.list_locks())


def copies(lab: Lab) -> bool:
    return lab.run("db-1", f"ls {NEW}/backup_label", check=False).ok


def freeze_copy(lab: Lab) -> None:
    """SIGSTOP to whatever holds the lock of the copy, among the processes of that host alone."""
    lab.run("db-1", f"kill -STOP $(find /proc/[0-9]*/fd -lname {JOB}.lock | cut -d/ -f3 | sort -u)")


def test_a_failover_takes_the_target_from_a_rejoin_that_only_waits_for_its_copy(
    recoverd: Controller, lab: Lab, run: RunRow
) -> None:
    before = only_writer(lab)
    with Guard(lab.layout) as guard, executing(recoverd, run) as child:
        freeze_copy(lab)  # it hangs, as on a primary that has lost its power
        lab.break_("power-off", before)
        failover = recoverd.run("failover")
        assert failover.state == "succeeded", (failover.summary, recoverd.entries(failover, "step.failed"))
        assert child.wait(timeout=30) != 0
    after = only_writer(lab)
    assert (after, address_holders(lab)) == ("db-3", ["db-3"])
    assert not guard.violations
    assert recoverd.journal.get_run(run.id).state == "waiting"
    (given,) = recoverd.entries(run, "lock.preempted")
    assert given.body["by"] == failover.id
    assert "copy to db-1" in given.body["why"]
    assert "swap_in" not in recoverd.done(run)

    # The copy was of a server that is the primary no more: the run says so, and a new one begins with the new primary.
    late = recoverd.execute(run)
    assert (late.state, f"{after} is the primary" in late.summary) == ("refused", True), late.summary
    lab.mend("slow-link", "db-1")
    lab.power_on(before)
    again = recoverd.run("rejoin")
    assert again.state == "succeeded", (again.summary, recoverd.entries(again, "step.failed"))
    assert eventually(lambda: all_stream(lab, after))
    assert {"end_earlier_copy", "copy_beside"} <= set(recoverd.done(again))


def test_a_false_alarm_costs_a_rejoin_nothing_of_its_copy_and_it_goes_on_by_itself(
    recoverd: Controller, lab: Lab, run: RunRow
) -> None:
    primary = only_writer(lab)
    with executing(recoverd, run) as child:
        began = lab.run("db-1", f"stat -c %y {JOB}.doing").out
        alarm = recoverd.run("failover")
        assert alarm.state == "refused", alarm.summary
        assert child.wait(timeout=30) != 0
    assert [entry.body["by"] for entry in recoverd.entries(run, "lock.preempted")] == [alarm.id]
    Reconciler(recoverd.journal).go_on()
    assert recoverd.journal.get_run(run.id).state == "requested"
    lab.mend("slow-link", "db-1")
    ended = recoverd.execute(run)
    assert ended.state == "succeeded", (ended.summary, recoverd.entries(run, "step.failed"))
    assert (only_writer(lab), all_stream(lab, primary)) == (primary, True)
    assert lab.run("db-1", f"stat -c %y {JOB}.done").out == began  # one copy, from its beginning to its end
