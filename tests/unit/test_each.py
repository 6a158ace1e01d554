"""One act for many hosts: each is written down, resumed and refused as if it had been alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd import host_locks
from recoverd.connections import Connections
from recoverd.errors import Busy, Look, Stale, TryAgain
from recoverd.execution import planned_run
from recoverd.inventory import Inventory
from recoverd.journal import Journal, RunRow
from recoverd.step import Effect, act
from recoverd.world import World, entered

HOSTS = tuple(f"web-{number}" for number in range(1, 7))
done: dict[str, int] = {}
failing: dict[str, list[Exception]] = {}
lock = threading.Lock()


def _is_marked(host: str, word: str) -> Effect | None:
    return Effect(f"{host} is marked") if done.get(host) else None


@act("mark {host} {word}", ask=_is_marked, undo="test_each:unmark")
def mark(host: str, word: str) -> None:
    """A change of a host."""
    with lock:
        if failing.get(host):
            raise failing[host].pop()
        done[host] = done.get(host, 0) + 1


@pytest.fixture(autouse=True)
def _nothing_yet() -> None:
    done.clear()
    failing.clear()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(f"sqlite:///{tmp_path}/journal.db")
    yield made
    made.close()


@pytest.fixture
def run(journal: Journal) -> RunRow:
    with journal.transaction() as tx:
        return tx.create_run("isolate", "group:web", trigger="hand", requester="ann", reason="x")


@pytest.fixture
def here(journal: Journal, run: RunRow, tmp_path: Path) -> Iterator[World]:
    inventory = Inventory(root=tmp_path)
    with (
        Connections(inventory) as connections,
        host_locks.holding(journal, HOSTS, run.id, 30) as leases,
        entered(World(run, inventory, journal, connections, leases=leases)) as made,
    ):
        yield made


def calls(hosts: tuple[str, ...] = HOSTS) -> dict[str, tuple[str, str]]:
    return {host: (host, "red") for host in hosts}


def test_each_host_has_an_intention_and_an_outcome_of_its_own_and_none_is_changed_twice(here: World) -> None:
    found = mark.each(calls(), at_most=3)
    assert tuple(found.outcomes) == HOSTS
    assert all(outcome.changed for outcome in found.outcomes.values())
    again = mark.each(calls())
    assert tuple(again.outcomes) == HOSTS
    assert done == dict.fromkeys(HOSTS, 1)
    assert here.journal is not None
    entries = list(here.journal.entries(run=here.run.id, kinds=["step.intended", "step.done"]))
    assert {(entry.kind, entry.step) for entry in entries} == {
        (kind, f"mark({host},red)") for kind in ("step.intended", "step.done") for host in HOSTS
    }


def test_one_that_fails_keeps_no_other_from_its_turn_and_the_rest_is_done_on_resume(here: World) -> None:
    failing["web-2"] = [Look("the disk is full", "free space")]
    found = mark.each(calls())
    assert set(found.outcomes) == set(HOSTS) - {"web-2"}
    assert found.faults["web-2"].message == "the disk is full"
    assert here.journal is not None
    (failed,) = here.journal.entries(run=here.run.id, kinds=["host.failed"])
    assert failed.body["name"] == "web-2"
    assert not mark.each(calls()).faults
    assert done == dict.fromkeys(HOSTS, 1)


def test_a_passing_fault_is_tried_again(here: World) -> None:
    failing["web-3"] = [TryAgain("the link is slow")]
    assert not mark.each(calls()).faults


def test_when_too_many_have_failed_the_rest_is_not_begun(here: World) -> None:
    for host in HOSTS[:3]:
        failing[host] = [Look("no")]
    found = mark.each(calls(), at_most=1, stop_after=2)
    assert set(found.faults) == set(HOSTS[:2])
    assert found.left == HOSTS[2:]
    assert not done


def test_a_host_that_another_run_has_taken_is_not_touched_and_the_others_are(here: World) -> None:
    assert here.journal is not None
    with here.journal.transaction() as tx:
        here.leases["web-4"].release_within(tx)
    found = mark.each(calls())
    assert isinstance(found.faults["web-4"], Stale)
    assert set(done) == set(HOSTS) - {"web-4"}


def test_two_runs_on_one_host_exclude_each_other_and_the_second_takes_none(here: World, journal: Journal) -> None:
    with (
        pytest.raises(Busy, match="host:web-2 is locked by run"),
        host_locks.holding(journal, ("db-1", "web-2"), "other", 30),
    ):
        pass
    with host_locks.holding(journal, ("db-1",), "other", 30) as leases:
        assert leases["db-1"].epoch == 1


def test_a_dry_run_only_says_what_it_would_do_to_each(tmp_path: Path) -> None:
    inventory = Inventory(root=tmp_path)
    row = planned_run("isolate", "group:web", {})
    with Connections(inventory) as connections, entered(World(row, inventory, None, connections, dry_run=True)) as it:
        mark.each(calls())
    assert {step.title for step in it.planned} == {f"mark {host} red" for host in HOSTS}
    assert not done


def test_prefect_binds_the_step_for_many_by_its_batch_and_calls_it_by_the_acts_name() -> None:
    from prefect.utilities.callables import get_call_parameters

    from recoverd.step.acts import _of_a_batch
    from recoverd.step.each import Batch
    from recoverd.step.prefect_task import _task_of

    made = _task_of(mark._perform_each, _of_a_batch(mark.function), 60, 0)
    batch = Batch(calls(), 4, None)
    assert get_call_parameters(made.fn, (batch,), {}) == {"batch": batch}  # type: ignore[attr-defined]
    assert made.name == "mark"  # type: ignore[attr-defined]
