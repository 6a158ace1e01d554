from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from deployments import reconciler
from deployments.reconciler import MAX_DEATHS, Reconciler
from deployments.start import cancel, start
from recoverd import approvals, locks
from recoverd.journal import Journal
from recoverd.liveness import executing
from recoverd.settings import settings

HERE = socket.gethostname()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Journal]:
    monkeypatch.setenv("RECOVERD_HOME", str(tmp_path))
    settings.cache_clear()
    yield Journal.open()
    settings.cache_clear()


@pytest.fixture
def dead() -> str:
    """`host:pid` of a process of this machine that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait(timeout=30)
    return f"{HERE}:{done.pid}"


def running(journal: Journal, executor: str) -> str:
    run = start("failover", "orders", trigger="hand", requester="ann", reason="x", journal=journal).id
    journal.set_run(run, "running", who="runner", executor=executor)
    return run


def state_after_a_look(journal: Journal, run: str) -> str:
    Reconciler(journal).look()
    return journal.get_run(run).state


def test_a_run_whose_process_is_gone_is_queued_again(journal: Journal, dead: str) -> None:
    run = running(journal, dead)
    assert state_after_a_look(journal, run) == "requested"
    assert journal.get_run(run).executor is None


def test_a_run_that_executes_is_left_alone_however_long_it_takes(
    journal: Journal, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "CLAIM_LIMIT_S", 0)
    run = running(journal, dead)
    with executing(run):
        assert state_after_a_look(journal, run) == "running"


def test_a_run_that_was_claimed_just_now_is_given_time_to_begin(journal: Journal) -> None:
    run = running(journal, f"{HERE}:{os.getpid()}")
    assert state_after_a_look(journal, run) == "running"


def test_a_lock_file_that_a_dead_executor_left_says_nothing_of_the_next(journal: Journal, tmp_path: Path) -> None:
    run = running(journal, f"{HERE}:{os.getpid()}")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / f"{run}.lock").touch()  # unlocked: the process before died with it
    assert state_after_a_look(journal, run) == "running"


def test_a_process_that_only_has_the_number_of_the_dead_one_does_not_count(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "CLAIM_LIMIT_S", 0)
    run = running(journal, f"{HERE}:{os.getpid()}")
    assert state_after_a_look(journal, run) == "requested"


@pytest.mark.parametrize(("ttl_s", "state"), [(60.0, "running"), (-1.0, "requested")])
def test_a_run_of_another_machine_is_taken_over_only_when_its_lease_has_run_out(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, ttl_s: float, state: str
) -> None:
    monkeypatch.setattr(reconciler, "CLAIM_LIMIT_S", 0)
    run = running(journal, "other-machine:1")
    locks.acquire(journal, "postgresql:orders", run, ttl_s=ttl_s)
    assert state_after_a_look(journal, run) == state


def test_a_run_that_kills_every_process_is_given_up(journal: Journal, dead: str) -> None:
    run = running(journal, dead)
    for _ in range(MAX_DEATHS - 1):
        assert state_after_a_look(journal, run) == "requested"
        journal.set_run(run, "running", who="runner", executor=dead)
    assert state_after_a_look(journal, run) == "failed"
    assert "died 10 times" in journal.get_run(run).summary


def test_a_cancelled_run_that_died_is_not_taken_up_again(journal: Journal, dead: str) -> None:
    run = running(journal, dead)
    cancel(run, who="bob", reason="wrong", journal=journal)
    assert state_after_a_look(journal, run) == "cancelled"


@pytest.mark.parametrize(("left", "state"), [(timedelta(hours=1), "waiting"), (timedelta(seconds=-1), "requested")])
def test_a_run_goes_on_when_its_gate_is_over(journal: Journal, dead: str, left: timedelta, state: str) -> None:
    run = running(journal, dead)
    expires_at = datetime.now(timezone.utc) + left
    approvals.request(
        journal, run=run, gate="promote", plan_hash="0" * 64, summary="?", required=1, roles=(), expires_at=expires_at
    )
    journal.set_run(run, "waiting", who="recoverd")
    assert state_after_a_look(journal, run) == state


def gave_way(journal: Journal, to: str) -> str:
    run = running(journal, "elsewhere:1")
    body = {"gave_way_to": to}
    return journal.set_run(run, "waiting", who="recoverd", expected="running", body=body).id


def test_a_run_that_gave_way_goes_on_when_the_other_has_ended_and_not_before(journal: Journal) -> None:
    other = running(journal, f"{HERE}:{os.getpid()}")
    with executing(other):
        run = gave_way(journal, other)
        assert state_after_a_look(journal, run) == "waiting"
    journal.set_run(other, "waiting", who="recoverd", expected="running")  # for a person, say
    assert state_after_a_look(journal, run) == "waiting"
    journal.set_run(other, "refused", who="recoverd", expected="waiting")
    assert state_after_a_look(journal, run) == "requested"
    assert other in list(journal.entries(run=run, kinds=["run.queued"]))[-1].body["why"]


def test_a_run_that_gave_way_after_it_was_approved_waits_for_the_other_all_the_same(journal: Journal) -> None:
    other = running(journal, f"{HERE}:{os.getpid()}")
    run = gave_way(journal, other)
    approvals.request(
        journal, run=run, gate="rejoin", plan_hash="h" * 64, summary="?", plan={}, required=1, roles=(),
        expires_at=datetime.now(timezone.utc) - timedelta(seconds=1),
    )  # fmt: skip
    with executing(other):
        assert state_after_a_look(journal, run) == "waiting"
