"""How long a look waits for a host that a look before it has waited for in vain."""

from __future__ import annotations

import socket
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any, cast

import pytest
from views_kit import LSN, MEMBERS, NOW, dead_view, lost, seen, standby

from recoverd.connections import Reach
from recoverd.errors import Unreachable
from recoverd.inventory import Service
from tasks import hosts, observation
from tasks.patience import CONFIRMED_WITHIN_S, Patience, patience
from tasks.views import Receiver, ServerView, ServiceView

FULL_S = 0.5
ORDERS = cast("Service", SimpleNamespace(hosts=MEMBERS))


def now(view: ServiceView) -> ServiceView:
    return view.model_copy(update={"at": datetime.now(timezone.utc), "since": NOW})


def test_only_what_was_lost_for_the_whole_time_gets_less_of_it() -> None:
    limits = Patience(FULL_S, now(dead_view()))
    assert limits.with_port("controller", "db-1") == limits.short_s == FULL_S / 10
    assert limits.with_port("app-1", "db-1") == limits.short_s
    assert limits.with_port("controller", "db-2") == FULL_S
    assert (limits.is_gone("db-1"), limits.is_gone("db-2")) == (True, False)


@pytest.mark.parametrize("reach", [Reach.SILENT, Reach.REFUSED, Reach.UNKNOWN])
def test_a_server_that_was_seen_in_any_other_way_gets_all_of_it(reach: Reach) -> None:
    """A frozen one accepts connections, one whose postmaster died refuses them: neither was waited for in vain."""
    limits = Patience(FULL_S, now(dead_view(reach, running=False)))
    assert limits.with_port("controller", "db-1") == FULL_S
    assert not limits.is_gone("db-1")


def test_an_earlier_look_confirms_nothing_for_long_and_none_is_none() -> None:
    old = dead_view().model_copy(
        update={"at": datetime.now(timezone.utc) - timedelta(seconds=CONFIRMED_WITHIN_S + 0.1)}
    )
    for limits in (patience(FULL_S, old), patience(FULL_S, None)):
        assert limits.with_port("controller", "db-1") == FULL_S
        assert not limits.is_gone("db-1")
    assert patience(FULL_S, now(dead_view())).is_gone("db-1")


def test_a_short_word_is_never_longer_than_the_policy_and_never_nothing() -> None:
    assert Patience(0.02).short_s == 0.02
    assert Patience(0.1).short_s == 0.05
    assert Patience(10).short_s == 1.0


def receiving(host: str, last_message_at: float) -> ServerView:
    facts = {"status": "streaming", "sender_host": "10.0.0.11", "latest_end_lsn": LSN}
    return standby(host, receiver=Receiver(**facts, last_message_at=last_message_at))


def heard(found: dict[Any, Any]) -> list[bool]:
    return [found["server", host, ""].receiver.heard for host in ("db-2", "db-3")]


def servers(*views: ServerView) -> dict[Any, Any]:
    return {("server", view.host, ""): view for view in views}


def test_receivers_that_were_asked_in_the_earlier_look_are_not_listened_to_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they had heard by then is known: a word since then shows that the primary lives, and no wait is needed."""
    monkeypatch.setattr(observation.time, "sleep", lambda _seconds: pytest.fail("it waited"))
    earlier = seen(lost("db-1"), receiving("db-2", 1.0), receiving("db-3", 1.0))
    found = servers(lost("db-1"), receiving("db-2", 1.0), receiving("db-3", 2.0))
    observation._listen_again(ORDERS, found, 0.0, earlier)
    assert heard(found) == [False, True]


def test_a_receiver_that_the_earlier_look_did_not_see_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(observation.time, "sleep", waited.append)
    monkeypatch.setattr(observation, "view_server", lambda _service, host, **_: receiving(host, 2.0))
    earlier = seen(lost("db-1"), lost("db-2"), receiving("db-3", 1.0))
    found = servers(lost("db-1"), receiving("db-2", 1.0), receiving("db-3", 1.0))
    observation._listen_again(ORDERS, found, 0.1, earlier)
    assert heard(found) == [True, False]
    assert waited == [pytest.approx(observation.LISTEN_S - 0.1)]


def test_without_an_earlier_look_all_are_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observation.time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(observation, "view_server", lambda _service, host, **_: receiving(host, 2.0))
    found = servers(lost("db-1"), receiving("db-2", 1.0), receiving("db-3", 2.0))
    observation._listen_again(ORDERS, found, 0.0, None)
    assert heard(found) == [True, False]


def test_a_host_that_refuses_a_knock_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    here = SimpleNamespace(
        inventory=SimpleNamespace(host=lambda _name: SimpleNamespace(address="127.0.0.1", port=port))
    )
    monkeypatch.setattr(hosts, "world", lambda: here)
    hosts.knock("db-1", timeout_s=1.0)

    def nobody(*_: Any, **__: Any) -> Any:
        raise TimeoutError

    monkeypatch.setattr(hosts.socket, "create_connection", nobody)
    with pytest.raises(Unreachable, match="db-1"):
        hosts.knock("db-1", timeout_s=1.0)
