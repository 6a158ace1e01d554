"""Several servers take writes: only where something besides the timeline says so is the older one taken for a returned one."""

from __future__ import annotations

from typing import Any

import pytest
from views_kit import MEMBERS, off, on_host, primary, seen

from flows.verdict import Alarm, Verdict, judge
from tasks.views import HostView, ServiceView

ADDRESS = "10.0.0.100/24"
NEITHER = Alarm()
WE_PROMOTED_DB_2 = Alarm(last_promoted="db-2", promoted_timeline=2)


def writing(timelines: dict[str, int], *holders: str, hosts: tuple[HostView, ...] = (), **facts: Any) -> ServiceView:
    """Servers that take writes, by timeline; `holders` hold the address of the service."""
    servers = [primary(host, timeline=timeline) for host, timeline in timelines.items()]
    told = {name: on_host(name, addresses=(ADDRESS,) if name in holders else ()) for name in MEMBERS}
    told |= {host.host: host for host in hosts}
    return seen(*servers, hosts=tuple(told.values())).model_copy(update=facts)


TWO = {"db-1": 1, "db-2": 2}
CAME_BACK: dict[str, tuple[ServiceView, Alarm, str, tuple[str, ...]]] = {
    "we promoted the newer one, and clients know all members": (writing(TWO), WE_PROMOTED_DB_2, "db-2", ("db-1",)),
    "we promoted the newer one, and the older one took its old address again": (
        writing(TWO, "db-1", "db-2"),
        WE_PROMOTED_DB_2,
        "db-2",
        ("db-1",),
    ),
    "we promoted the newer one, and the older one's host does not answer": (
        writing(TWO, hosts=(off("db-1"),)),
        WE_PROMOTED_DB_2,
        "db-2",
        ("db-1",),
    ),
    "users are led to the newer one alone": (writing(TWO, "db-2"), NEITHER, "db-2", ("db-1",)),
    "two came back": (writing({"db-1": 1, "db-2": 2, "db-3": 3}, "db-3"), NEITHER, "db-3", ("db-2", "db-1")),
    "Patroni's leader is the newer one, and the address was not moved yet": (
        writing(TWO, "db-1", patroni=True, leader="db-2"),
        NEITHER,
        "db-2",
        ("db-1",),
    ),
}

NOBODY_KNOWS: dict[str, tuple[ServiceView, Alarm]] = {
    "pg_promote on the wrong server": (writing(TWO, "db-1"), NEITHER),
    "pg_promote on the wrong server, and clients know all members": (writing(TWO), NEITHER),
    "pg_promote on a server that we promoted long ago": (
        writing({"db-1": 3, "db-2": 4}),
        WE_PROMOTED_DB_2,
    ),
    "pg_promote on another than the one we promoted": (writing({"db-2": 2, "db-3": 3}), WE_PROMOTED_DB_2),
    "we promoted the newer one, and people went back to the older one": (writing(TWO, "db-1"), WE_PROMOTED_DB_2),
    "both hold the address": (writing(TWO, "db-1", "db-2"), NEITHER),
    "the newer one holds the address, and the older one's host cannot be asked": (
        writing(TWO, "db-2", hosts=(off("db-1"),)),
        NEITHER,
    ),
    "both are on one timeline, and one is ours": (
        writing({"db-1": 1, "db-2": 2, "db-3": 2}, "db-2"),
        WE_PROMOTED_DB_2,
    ),
    "of three, the one in the middle holds the address": (
        writing({"db-1": 1, "db-2": 2, "db-3": 3}, "db-2"),
        WE_PROMOTED_DB_2,
    ),
    "Patroni's leader is the older one": (writing(TWO, "db-2", patroni=True, leader="db-1"), NEITHER),
}  # fmt: skip


@pytest.mark.parametrize("case", CAME_BACK)
def test_an_older_writer_came_back_where_users_are_proven_to_be_elsewhere(case: str) -> None:
    view, alarm, first, returned = CAME_BACK[case]
    found = judge(view, alarm)
    assert (found.verdict, found.primary, found.returned) == (Verdict.FAILED_OVER, first, returned), found.summary


@pytest.mark.parametrize("case", NOBODY_KNOWS)
def test_a_newer_timeline_alone_makes_nobody_the_primary(case: str) -> None:
    view, alarm = NOBODY_KNOWS[case]
    found = judge(view, alarm)
    assert (found.verdict, found.primary, found.returned) == (Verdict.SPLIT, "", ()), found.summary
    for host in view.primaries:
        assert f"{host} on timeline {view.server(host).timeline}" in found.summary
    assert "recoverd run rejoin orders-db" in found.hint


def test_of_two_primaries_the_one_that_users_are_led_to_is_named_and_the_other_is_the_one_to_stop() -> None:
    found = judge(writing(TWO, "db-1"))
    assert f"db-1 on timeline 1 (holds {ADDRESS})" in found.summary
    assert "stop PostgreSQL on db-2 by hand" in found.hint
    led = judge(writing(TWO, "db-2", patroni=True, leader="db-1"))
    assert "db-1 on timeline 1 (Patroni's leader)" in led.summary
    assert "stop PostgreSQL on db-2 by hand" in led.hint
    assert "pg_stat_activity" in judge(writing(TWO)).hint
