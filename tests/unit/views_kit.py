"""A service of three servers and one client as it is seen when all is well, to be spoiled one fact at a time."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from recoverd.connections import Reach
from tasks.views import Answer, HostView, Receiver, ServerView, ServiceView, Sight

MEMBERS = ("db-1", "db-2", "db-3")
ADDRESSES = {"db-1": "10.0.0.11", "db-2": "10.0.0.12", "db-3": "10.0.0.13"}
NOW = datetime(2026, 11, 22, 3, 0, tzinfo=timezone.utc)
LSN = 0x4000000


def primary(host: str = "db-1", **changed: Any) -> ServerView:
    facts: dict[str, Any] = {
        "timeline": 1,
        "system_identifier": "7",
        "written_lsn": LSN,
        "writes": Answer.YES,
    }
    return ServerView(host=host, answer=Answer.YES, **(facts | changed))


def standby(host: str, of: str = "db-1", **changed: Any) -> ServerView:
    facts: dict[str, Any] = {
        "in_recovery": True,
        "timeline": 1,
        "system_identifier": "7",
        "received_lsn": LSN,
        "replayed_lsn": LSN,
        "upstream": ADDRESSES[of],
        "receiver": Receiver(status="streaming", sender_host=ADDRESSES[of], latest_end_lsn=LSN, last_message_at=1.0),
    }
    return ServerView(host=host, answer=Answer.YES, **(facts | changed))


def orphan(host: str, **changed: Any) -> ServerView:
    """A standby whose WAL receiver has lost its primary."""
    return standby(host, **({"receiver": None} | changed))


def lost(host: str, answer: Answer = Answer.SILENT, problem: str = "does not answer") -> ServerView:
    return ServerView(host=host, answer=answer, problem=problem)


def on_host(host: str, **changed: Any) -> HostView:
    facts: dict[str, Any] = {
        "running": True,
        "processes": 9,
        "startable": True,
        "standby_signal": host != "db-1",
        "control_state": "in production" if host == "db-1" else "in archive recovery",
        "timeline": 1,
        "free_bytes": 10**9,
    }
    return HostView(host=host, answer=Answer.YES, **(facts | changed))


def off(host: str) -> HostView:
    return HostView(host=host, answer=Answer.SILENT, problem="does not answer")


def seen(
    *servers: ServerView,
    hosts: tuple[HostView, ...] = (),
    reach: dict[str, Reach] | None = None,
    of: str = "db-1",
) -> ServiceView:
    """What is seen; `reach` says, by vantage point, how the server `of` is reached, and all else answers."""
    given = {server.host: server for server in servers}
    told = {host.host: host for host in hosts}
    sights = [
        Sight(
            vantage=vantage,
            server=server,
            reach=(reach or {}).get(vantage, Reach.ANSWERS) if server == of else Reach.ANSWERS,
        )
        for server in MEMBERS
        for vantage in ("controller", *(other for other in MEMBERS if other != server), "app-1")
    ]
    return ServiceView(
        service="orders-db",
        at=NOW,
        hosts=tuple(told.get(name, on_host(name)) for name in MEMBERS),
        servers=tuple(given.get(name, primary() if name == "db-1" else standby(name)) for name in MEMBERS),
        sights=tuple(sights),
        addresses=ADDRESSES,
    )


def from_all(reach: Reach) -> dict[str, Reach]:
    return dict.fromkeys(("controller", "db-2", "db-3", "app-1"), reach)


def dead_view(reach: Reach = Reach.LOST, **host: Any) -> ServiceView:
    """The primary's host is gone; with `host` facts it answers SSH all the same."""
    told = on_host("db-1", **host) if host else off("db-1")
    return seen(lost("db-1"), orphan("db-2"), orphan("db-3"), hosts=(told,), reach=from_all(reach))
