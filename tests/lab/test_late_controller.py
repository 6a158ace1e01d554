"""A controller that is paused in the middle, and wakes up when another has long finished, changes nothing any more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from failover_kit import Controller, address_holders, name, only_writer, roles
from lab_kit import eventually

import tasks.postgres
from lab import Lab
from lab.guard import Guard
from recoverd.settings import settings
from recoverd.world import world
from tasks.hosts import paths, script

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

CHILD = Path(__file__).with_name("sleep_child.py")


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("step.decided", "choose(before the fence,db-1)"),  # it would go on with the fence
        ("step.decided", "choose(after the fence,db-1)"),  # it would go on with the promotion
        ("step.intended", "promote(orders-db,db-2)"),  # it is past every check of its own: the host must refuse it
    ],
)
def test_it_wakes_up_late_and_is_refused(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch, kind: str, step: str
) -> None:
    monkeypatch.setenv("RECOVERD_LEASE_TTL_S", "2")
    settings.cache_clear()
    lab.break_("kill", "db-1")
    slow, quick = recoverd.request(), recoverd.request()
    with Guard(lab.layout) as guard, subprocess.Popen([sys.executable, str(CHILD), slow.id, kind, step]) as child:
        try:
            assert eventually(lambda: is_stopped(child.pid), timeout_s=60)
            assert eventually(
                lambda: recoverd.journal.list_locks()[0].run != slow.id or _expired(recoverd), timeout_s=20
            )
            done = recoverd.execute(quick)
            assert done.state == "succeeded", done.summary
            before = (roles(lab), only_writer(lab), address_holders(lab), len(recoverd.entries(quick)))
            os.kill(child.pid, signal.SIGCONT)
            child.wait(timeout=60)
        finally:
            child.kill()
    late = recoverd.journal.get_run(slow.id)
    assert late.state == "refused", late.summary
    assert (roles(lab), only_writer(lab), address_holders(lab), len(recoverd.entries(quick))) == before
    assert "promote" not in [name(entry) for entry in recoverd.entries(slow, "step.done")]
    assert not guard.violations


@pytest.mark.parametrize("procedure", ["failover", "switchover"])
def test_before_one_is_promoted_every_host_that_can_be_reached_refuses_an_older_run(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch, procedure: str
) -> None:
    refused: dict[str, int] = {}
    real = tasks.postgres.run_script

    def while_another_is_late(name, service, host, variables, *, timeout_s):  # type: ignore[no-untyped-def]
        for other in {"db-2", "db-3"} - {host} if name == "promote" else ():
            late = paths(service, other) | {"EPOCH": str(world().epoch - 1)}
            done = world().connections.ssh(other).run(script("promote"), late, timeout_s=15.0)
            refused[other] = done.code
        return real(name, service, host, variables, timeout_s=timeout_s)

    monkeypatch.setattr(tasks.postgres, "run_script", while_another_is_late)
    if procedure == "failover":
        lab.break_("kill", "db-1")
    with Guard(lab.layout) as guard:
        run = recoverd.run(procedure)
    assert run.state == "succeeded", run.summary
    assert refused == {({"db-2", "db-3"} - {only_writer(lab)}).pop(): 97}
    assert not guard.violations


def test_a_host_that_cannot_be_reached_does_not_keep_the_others_from_being_promoted(
    recoverd: Controller, lab: Lab
) -> None:
    for host in ("db-1", "db-3"):
        lab.break_("power-off", host)
    run = recoverd.run()
    assert (run.state, only_writer(lab)) == ("succeeded", "db-2"), run.summary
    again = next(entry for entry in recoverd.entries(run, "step.observed") if name(entry) == "observe_standbys")
    noted = {host["host"]: host["epoch"] for host in again.body["facts"]["hosts"]}
    assert noted == {"db-1": 0, "db-2": recoverd.journal.list_locks()[0].epoch, "db-3": 0}


def _expired(recoverd: Controller) -> bool:
    expires_at = recoverd.journal.list_locks()[0].expires_at
    return expires_at is not None and expires_at <= recoverd.journal.now()
