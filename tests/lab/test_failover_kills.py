"""kill -9 at every boundary of the real failover: it goes on where it was, and does everything once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from failover_kit import Controller, address_holders, name, only_writer, roles

from lab import Lab
from lab.guard import Guard
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

CHILD = Path(__file__).with_name("kill_child.py")

# Every entry that a step of the failover writes, in order. The test holds this list against an unhurt run, so that a
# step that is added to the procedure is added here.
POINTS = [
    ("step.observed", "observe_service(orders-db)"),
    ("step.decided", "diagnose(at the start)"),
    ("step.decided", "choose(before the fence,db-1)"),
    ("step.intended", "fence_by_ssh(orders-db,db-1)"),
    ("step.done", "fence_by_ssh(orders-db,db-1)"),
    ("step.observed", "observe_standbys(orders-db,db-1)"),
    ("step.decided", "choose(after the fence,db-1)"),
    ("step.intended", "promote(orders-db,db-2)"),
    ("step.done", "promote(orders-db,db-2)"),
    ("step.intended", "claim_address(orders-db,orders-address,db-2)"),
    ("step.done", "claim_address(orders-db,orders-address,db-2)"),
    ("step.observed", "observe_service(orders-db,db-1)"),
    ("step.observed", "prove_write(orders-db,orders-address,app-1)"),
    ("step.observed", "prove_write(orders-db,orders-hosts,app-1)"),
    ("step.intended", "follow(orders-db,db-3,db-2)"),
    ("step.done", "follow(orders-db,db-3,db-2)"),
    ("step.observed", "check_end(orders-db,db-2)"),
    ("step.observed", "survey_loss(orders-db,db-1,db-2)"),
    ("step.observed", "account(orders-db,db-2)"),
]


def execute(run: RunRow, when: str = "never", kind: str = "", step: str = "") -> int:
    done = subprocess.run(
        [sys.executable, str(CHILD), run.id, when, kind, step], timeout=90, capture_output=True, text=True, check=False
    )
    return done.returncode


def written(recoverd: Controller, run: RunRow) -> list[tuple[str, str]]:
    return [(entry.kind, entry.step or "") for entry in recoverd.entries(run) if entry.kind.startswith("step.")]


def test_killed_at_every_boundary_in_turn_it_does_everything_exactly_once(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.request()
    with Guard(lab.layout) as guard:
        for kind, step in POINTS:
            # Before an entry is after the one before it, except before an outcome: there the effect is done and unsaved.
            for when in ("before", "after") if kind == "step.done" else ("after",):
                assert execute(run, when, kind, step) == -signal.SIGKILL, (when, kind, step)
                assert recoverd.journal.get_run(run.id).state == "running"
        assert execute(run) == 0
    assert recoverd.journal.get_run(run.id).state == "succeeded"
    outcomes = Counter(name(entry) for entry in recoverd.entries(run, "step.done"))
    assert outcomes == {"fence_by_ssh": 1, "promote": 1, "claim_address": 1, "follow": 1}
    assert Counter(name(entry) for entry in recoverd.entries(run, "step.decided")) == {"diagnose": 1, "choose": 2}
    assert roles(lab) == {"db-1": "stopped", "db-2": "primary", "db-3": "standby"}
    assert (only_writer(lab), address_holders(lab), guard.violations) == ("db-2", ["db-2"], [])
    assert lab.run("db-2", "ls /var/lib/postgresql/data/pg_wal").out.count(".history") == 1  # promoted once
    assert recoverd.journal.verify().ok


def test_the_walk_knows_every_boundary(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.request()
    assert execute(run) == 0
    assert list(dict.fromkeys(written(recoverd, run))) == POINTS
