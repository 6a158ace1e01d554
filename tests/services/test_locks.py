"""One run at a time on a target, and a late one knows that it is late."""

from __future__ import annotations

import threading
import time

import pytest

from recoverd import locks
from recoverd.errors import Busy, GaveWay, Stale
from recoverd.journal import Journal

SHORT_S = 0.2


def wait_for_expiry(lease: locks.Lease, timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while lease.journal.now() <= lease.expires_at:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kinds(journal: Journal) -> list[tuple[str, str | None]]:
    return [(entry.kind, entry.run) for entry in journal.entries()]


def test_a_second_run_is_told_who_holds_the_target(journal: Journal) -> None:
    with journal.transaction() as tx:
        run = tx.create_run("failover", "orders", trigger="hand", requester="alice", reason="x")
    locks.acquire(journal, "orders", run.id)
    with pytest.raises(Busy, match=rf"locked by run {run.id} \(failover, requested by alice\)"):
        locks.acquire(journal, "orders", "other")
    locks.acquire(journal, "billing", "other").check()


def test_the_same_run_enters_again_with_the_same_epoch(journal: Journal) -> None:
    first, again = locks.acquire(journal, "orders", "r1"), locks.acquire(journal, "orders", "r1")
    assert first.epoch == again.epoch == 1
    assert kinds(journal) == [("lock.acquired", "r1")]


def test_the_epoch_grows_with_each_holder(journal: Journal) -> None:
    for epoch in (1, 2, 3):
        lease = locks.acquire(journal, "orders", f"r{epoch}")
        assert lease.epoch == epoch
        assert lease.release()
        assert not lease.release()
    with pytest.raises(Stale, match="nobody holds it"):
        lease.check()


def test_an_expired_lock_is_taken_over_and_the_late_holder_stops(journal: Journal) -> None:
    late = locks.acquire(journal, "orders", "r1", ttl_s=SHORT_S)
    wait_for_expiry(late)
    new = locks.acquire(journal, "orders", "r2")
    assert new.epoch == 2
    for use in (late.check, late.renew):
        with pytest.raises(Stale, match="run r2 holds it with epoch 2"):
            use()
    assert not late.release()
    new.check()
    assert kinds(journal) == [("lock.acquired", "r1"), ("lock.stolen", "r1"), ("lock.acquired", "r2")]


def test_the_same_run_after_expiry_gets_a_new_epoch(journal: Journal) -> None:
    late = locks.acquire(journal, "orders", "r1", ttl_s=SHORT_S)
    wait_for_expiry(late)
    assert locks.acquire(journal, "orders", "r1").epoch == 2
    with pytest.raises(Stale):
        late.check()


def test_a_check_of_an_expired_lock_that_nobody_took_holds_it_again(journal: Journal) -> None:
    lease = locks.acquire(journal, "orders", "r1", ttl_s=SHORT_S)
    wait_for_expiry(lease)
    lease.check()
    assert lease.expires_at > journal.now()
    with pytest.raises(Busy):
        locks.acquire(journal, "orders", "r2")


def test_a_kept_lock_outlives_its_time(journal: Journal) -> None:
    with locks.acquire(journal, "orders", "r1", ttl_s=0.3).kept() as lease:
        first = lease.expires_at
        deadline = time.monotonic() + 5
        while journal.now() <= first and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(Busy):
            locks.acquire(journal, "orders", "r2")


def test_of_many_at_the_same_instant_one_gets_the_lock(journal: Journal) -> None:
    gate, got, refused = threading.Barrier(6), [], []

    def attempt(run: str) -> None:
        gate.wait(5)
        try:
            got.append(locks.acquire(journal, "orders", run).epoch)
        except Busy:
            refused.append(run)

    threads = [threading.Thread(target=attempt, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [1]
    assert len(refused) == 5


def requested(journal: Journal, procedure: str, urgency: int) -> str:
    with journal.transaction() as tx:
        return tx.create_run(
            procedure, "orders", trigger="hand", requester="ann", reason="x", urgency=urgency
        ).id  # fmt: skip


def test_a_run_for_which_users_wait_takes_the_target_from_one_that_only_waits(journal: Journal) -> None:
    rejoin, failover = requested(journal, "rejoin", 30), requested(journal, "failover", 90)
    late = locks.acquire(journal, "orders", rejoin)
    waiting = late.giving_way("the copy to db-3 goes on by itself")
    waiting.__enter__().check()
    assert locks.acquire(journal, "orders", failover).epoch == 2
    with pytest.raises(GaveWay) as gave_way:
        waiting.__exit__(None, None, None)
    assert gave_way.value.by == failover
    for use in (late.check, late.renew):
        with pytest.raises(GaveWay, match="the copy to db-3 goes on by itself"):
            use()
    assert not late.release()
    (entry,) = journal.entries(kinds=["lock.preempted"])
    assert (entry.run, entry.body["by"], entry.body["epoch"]) == (rejoin, failover, 1)
    assert "users wait for this failover" in entry.body["why"]
    (_, taken) = journal.entries(kinds=["lock.acquired"])
    assert (taken.run, taken.body["from"]) == (failover, rejoin)


def test_nobody_takes_the_target_from_a_run_that_may_be_changing_things(journal: Journal) -> None:
    rejoin, failover = requested(journal, "rejoin", 30), requested(journal, "failover", 90)
    lease = locks.acquire(journal, "orders", rejoin)
    with pytest.raises(Busy):
        locks.acquire(journal, "orders", failover)
    with lease.giving_way("a copy"):
        pass
    with pytest.raises(Busy):
        locks.acquire(journal, "orders", failover)
    lease.check()


@pytest.mark.parametrize(("holder", "asking"), [(30, 50), (60, 60), (90, 60), (30, 0)])
def test_what_can_wait_waits_also_for_a_run_that_only_waits(journal: Journal, holder: int, asking: int) -> None:
    first, second = requested(journal, "rejoin", holder), requested(journal, "switchover", asking)
    with locks.acquire(journal, "orders", first).giving_way("a copy"), pytest.raises(Busy):
        locks.acquire(journal, "orders", second)


def test_a_run_that_goes_on_after_its_death_in_the_wait_does_not_give_way_before_it_waits_again(
    journal: Journal,
) -> None:
    rejoin, failover = requested(journal, "rejoin", 30), requested(journal, "failover", 90)
    locks.acquire(journal, "orders", rejoin)._give_way("a copy")  # and then its process was killed
    locks.acquire(journal, "orders", rejoin)
    with pytest.raises(Busy):
        locks.acquire(journal, "orders", failover)


def test_a_run_that_has_begun_waits_for_the_holder_and_one_that_has_not_is_refused(journal: Journal) -> None:
    holder, begun, new = (requested(journal, "failover", 90) for _ in range(3))
    journal.append("step.intended", who="recoverd", run=begun, step="fence()")
    locks.acquire(journal, "orders", holder)
    with pytest.raises(GaveWay) as gave_way:
        locks.acquire(journal, "orders", begun)
    assert gave_way.value.by == holder
    with pytest.raises(Busy):
        locks.acquire(journal, "orders", new)
