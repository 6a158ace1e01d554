"""What a spare does while it waits: a word over open sessions, and looks from every side while the primary is gone."""

from __future__ import annotations

from typing import Any, cast

import pytest
from views_kit import dead_view, from_all, lost, off, orphan, seen, standby

from deployments import vigil
from deployments.vigil import CALM_FOR_S, KEEN_FOR_S, PAUSE_S, Vigil
from recoverd.connections import Connections, Reach
from recoverd.errors import Invalid
from tasks.views import ServiceView

SLOW_S = 10.0
PARTED = seen(lost("db-1"), orphan("db-2"), standby("db-3"), hosts=(off("db-1"),), reach={"controller": Reach.LOST})


class Service:
    """A service that can fall silent, and what a look at it sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent: list[str] = []
        self.seen: ServiceView = seen()
        self.looks = 0
        self.at = 1000.0
        monkeypatch.setattr(vigil.time, "monotonic", lambda: self.at)
        self.vigil = Vigil("orders-db", cast("Connections", self), 0.1, SLOW_S, self.look)

    def fallen(self, _service: str, _timeout_s: float) -> list[str]:
        now, self.silent = self.silent, []  # a session that is silent is closed, and so told of once
        return now

    def look(self) -> ServiceView:
        self.looks += 1
        return self.seen

    def after(self, seconds: float) -> Any:
        self.at += seconds
        self.vigil.watch()
        return self.looks


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    return Service(monkeypatch)


def test_while_all_sessions_answer_nobody_looks(service: Service) -> None:
    assert [service.after(1) for _ in range(5)] == [0] * 5
    assert service.vigil.dead is None
    assert service.vigil.due_s is None


def test_a_session_that_falls_silent_is_looked_into_until_a_primary_answers(service: Service) -> None:
    service.silent, service.seen = ["db-1"], dead_view()
    assert service.after(1) == 1
    assert service.vigil.dead is service.seen
    assert service.vigil.due_s == PAUSE_S
    assert service.after(PAUSE_S / 2) == 1
    assert service.after(PAUSE_S) == 2
    service.seen = seen()
    assert service.after(PAUSE_S) == 3
    assert service.vigil.dead is None
    assert service.after(60) == 3


def test_only_a_look_that_found_the_primary_dead_is_kept_for_the_run(service: Service) -> None:
    """A primary that somebody still reaches would be given less time to answer by the look that confirms it."""
    service.silent, service.seen = ["db-1"], PARTED
    assert service.after(1) == 1
    assert service.vigil.dead is None
    service.seen = dead_view()
    service.after(1)
    assert service.vigil.dead is service.seen
    service.seen = PARTED
    service.after(1)
    assert service.vigil.dead is None


def test_a_primary_that_stays_away_is_looked_for_less_often(service: Service) -> None:
    service.silent, service.seen = ["db-1"], seen(lost("db-1"), hosts=(off("db-1"),), reach=from_all(Reach.LOST))
    service.after(1)
    service.after(KEEN_FOR_S)
    assert service.vigil.due_s == SLOW_S


def test_a_look_that_fails_is_not_repeated_at_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> ServiceView:
        raise Invalid("there is no such service any more")

    service.vigil._look = fail
    service.silent = ["db-1"]
    with pytest.raises(Invalid):
        service.after(1)
    assert service.vigil.due_s == PAUSE_S


def test_a_server_that_misses_its_word_again_and_again_is_not_looked_at_all_the_time(service: Service) -> None:
    service.silent = ["db-1"]
    assert service.after(1) == 1
    service.silent = ["db-1"]
    assert service.after(1) == 1
    assert service.after(CALM_FOR_S) == 2, "what fell silent meanwhile is looked into later"
