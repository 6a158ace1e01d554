"""Before a server is started as the primary by a run that goes on late: who else may take writes, in plain tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from late_kit import TARGET, begun, meant, requested
from views_kit import lost, off, on_host, orphan, primary, seen, standby

from flows import lone_writer
from flows.lone_writer import moved_on, other_writer, proven_off, told_by_others, unknown, was_away
from recoverd.locks import acquire
from recoverd.world import World
from tasks.views import HostView, ServiceView


def stopped(host: str, **changed: object) -> HostView:
    return on_host(host, **{"running": False, "processes": 0, "standby_signal": True, **changed})


FENCED = seen(lost("db-1"), hosts=(stopped("db-1"),))
SUCCEEDED = seen(lost("db-1"), primary("db-2"), standby("db-3", of="db-2"), hosts=(stopped("db-1"),))
SILENT = seen(lost("db-1"), lost("db-2"), hosts=(stopped("db-1"), off("db-2")))
DIED = seen(lost("db-1"), lost("db-2"), hosts=(stopped("db-1"), stopped("db-2", standby_signal=False)))
ABOUT_TO = seen(lost("db-1"), orphan("db-2"), hosts=(stopped("db-1"), on_host("db-2", promoting=True)))


@pytest.mark.parametrize(
    ("view", "told", "all_answer", "words"),
    [
        (FENCED, set(), True, ""),
        (SUCCEEDED, set(), False, "db-2 takes writes by now"),
        (SILENT, set(), False, ""),
        (SILENT, set(), True, "db-2 cannot be asked whether it takes writes by now"),
        (SILENT, {"db-2"}, False, "db-2 was told to promote itself, and is not seen to be a standby"),
        (DIED, set(), True, ""),
        (DIED, {"db-2"}, False, "db-2 was told to promote itself, and is not seen to be a standby"),
        (ABOUT_TO, {"db-2"}, False, "db-2 was told to promote itself, and is not seen to be a standby"),
        (ABOUT_TO, set(), True, "db-2 cannot be asked whether it takes writes by now"),
        (FENCED, {"db-1", "db-2"}, True, ""),
    ],
)
def test_a_primary_is_started_only_where_nobody_else_may_be_one(
    view: ServiceView, told: set[str], all_answer: bool, words: str
) -> None:
    assert other_writer(view, "db-1", told, all_answer) == words


@pytest.mark.parametrize(
    ("view", "spoken_of", "told", "words"),
    [
        (seen(), ("db-1",), set(), ""),
        (seen(), ("db-2", "db-1"), {"db-1"}, ""),
        (seen(), ("db-2",), set(), "db-1 has become the primary"),
        (SUCCEEDED, ("db-1", "db-1"), {"db-2"}, "db-2 has become the primary"),
        (seen(primary("db-2")), ("db-1", "db-1", "db-2"), set(), ""),
        (SILENT, ("db-1",), {"db-2"}, "db-2 was told to promote itself since this run began"),
        (SILENT, ("db-1",), set(), ""),
    ],
)
def test_data_of_a_primary_that_nobody_spoke_of_is_not_replaced(
    view: ServiceView, spoken_of: tuple[str, ...], told: set[str], words: str
) -> None:
    assert moved_on(view, spoken_of, told).startswith(words)
    assert bool(moved_on(view, spoken_of, told)) is bool(words)


def test_members_of_which_nothing_is_known_are_those_that_may_take_writes_unseen() -> None:
    assert unknown(SILENT, "db-1") == ("db-2",)
    assert unknown(DIED, "db-1") == ()
    starting = seen(lost("db-1"), lost("db-2"), hosts=(stopped("db-1"), on_host("db-2")))
    assert unknown(starting, "db-1") == ("db-2",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A run that has the lock and has meant to fence the primary."""
    monkeypatch.setenv("RECOVERD_HOME", str(tmp_path))
    with begun() as made:
        meant(made, "fence_by_ssh", "db-1")
        yield made


def test_what_other_runs_have_promoted_since_is_known_from_the_journal(here: World) -> None:
    assert here.journal is not None
    other = requested(here.journal, "failover")
    meant(here, "promote", "db-2", other)
    meant(here, "promote", "db-9", other, service="bills-db")
    meant(here, "promote", "db-3")
    assert told_by_others() == {"db-2"}


def test_who_died_or_had_to_leave_the_lock_to_another_after_its_first_stop_was_away(here: World) -> None:
    assert here.journal is not None
    assert here.lease is not None
    assert not was_away()
    acquire(here.journal, TARGET, here.run.id)  # held all the time: a quick resume
    acquire(here.journal, "backup:orders-db", here.run.id)
    assert not was_away()
    here.lease.release()  # it waits for a person
    again = acquire(here.journal, TARGET, here.run.id)
    assert not was_away()
    again.release()
    acquire(here.journal, TARGET, requested(here.journal, "failover").id).release()
    acquire(here.journal, TARGET, here.run.id)
    assert was_away()


def test_who_died_with_the_lock_was_away(here: World) -> None:
    assert here.journal is not None
    assert here.lease is not None
    here.lease.release()
    acquire(here.journal, TARGET, here.run.id, ttl_s=0.01)
    assert not was_away()
    time.sleep(0.02)
    acquire(here.journal, TARGET, here.run.id)
    assert was_away()


def test_a_host_that_a_device_still_says_is_off_takes_no_writes(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert here.journal is not None
    for host in ("db-2", "db-3"):
        body = {"arguments": {"service": "orders-db", "host": host, "device": "power"}, "remembered": {}}
        here.journal.append("step.intended", who="recoverd", run=here.run.id, step=f"power_off({host})", body=body)
    monkeypatch.setattr(lone_writer.power_off, "ask", lambda service, host, device: "off" if host == "db-2" else None)
    assert proven_off() == {"db-2"}
    assert other_writer(SILENT, "db-1", set(), True, proven_off()) == ""
