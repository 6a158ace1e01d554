"""What a replacement does when a step of it fails: it goes back, or it stands and can be resumed; in plain tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from late_kit import begun, meant
from views_kit import lost, on_host, primary, seen, standby

from flows import replace, turning_back
from flows.seat import Seat
from recoverd.errors import Busy, Expired, GaveWay, Look, RecoverdError, Stale, TimedOut, Unreachable, Unsafe
from recoverd.gate import Waiting
from recoverd.world import World
from tasks import replacing
from tasks.views import ServiceView

SEAT = Seat(host="db-1", primaries=("db-1",))
FENCED = {"running": False, "processes": 0, "standby_signal": True}
ALL_FENCED = seen(*map(lost, ("db-1", "db-2", "db-3")), hosts=tuple(on_host(f"db-{n}", **FENCED) for n in (1, 2, 3)))
SUCCEEDED = seen(lost("db-1"), primary("db-2"), standby("db-3", of="db-2"), hosts=ALL_FENCED.hosts[:1])


class Back(Exception):
    """The way back was taken."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("RECOVERD_HOME", str(tmp_path))
    with begun() as made:
        yield made


@pytest.mark.parametrize(
    ("where", "error", "ends"),
    [
        ("fence_primary", Look("x"), Back),
        ("fence_primary", Unreachable("x"), Back),
        ("fence_primary", Expired("nobody answered"), Back),
        ("fence_primary", Stale("the lock is lost"), Stale),
        ("fence_primary", GaveWay("x"), GaveWay),
        ("fence_primary", Waiting("x"), Waiting),
        ("put_in_place", Look("x"), Back),
        ("put_in_place", Busy("a script is at work there"), Busy),
        ("put_in_place", TimedOut("it may be at work there"), TimedOut),
        ("put_in_place", Unreachable("it may be at work there"), Unreachable),
        ("put_in_place", Stale("x"), Stale),
    ],
)
def test_what_fails_goes_back_but_not_while_a_swap_may_be_at_work(
    here: World, monkeypatch: pytest.MonkeyPatch, where: str, error: RecoverdError, ends: type[Exception]
) -> None:
    def nothing(*_: object) -> None: ...

    def fail(*_: object) -> None:
        raise error

    def back(*_: object) -> None:
        raise Back

    for name in ("note_epochs", "stop_scratch", "fence_primary", "put_in_place"):
        monkeypatch.setattr(replace, name, fail if name == where else nothing)
    monkeypatch.setattr(replace, "observe_service", lambda _: seen())
    monkeypatch.setattr(replace, "go_back", back)
    with pytest.raises(ends):
        replace._stop_and_swap("orders-db", SEAT)


@pytest.mark.parametrize(
    ("error", "before", "after"),
    [
        (Busy("x"), Busy, Look),
        (Unsafe("x"), Unsafe, Look),
        (Stale("x"), Stale, Look),
        (GaveWay("x"), GaveWay, GaveWay),
        (Waiting("x"), Waiting, Waiting),
        (TimedOut("x"), TimedOut, TimedOut),
    ],
)
def test_a_rule_that_says_no_in_the_middle_leaves_a_run_that_can_be_resumed(
    here: World, error: RecoverdError, before: type[Exception], after: type[Exception]
) -> None:
    with pytest.raises(before), replace._failing_once_begun():
        raise error
    meant(here, "fence_by_ssh", "db-1")
    with pytest.raises(after), replace._failing_once_begun():
        raise error


class Hosts:
    """What is done on hosts on the way back."""

    def __init__(self, patch: pytest.MonkeyPatch, view: ServiceView, put_back: RecoverdError | None = None) -> None:
        self.unfenced: list[str] = []
        self._put_back, self._view = put_back, view
        for name in ("put_back", "unfence"):
            patch.setattr(turning_back, name, getattr(self, name))
        patch.setattr(turning_back, "note_epochs", lambda _: None)
        patch.setattr(turning_back, "work_dir", lambda _: "/w")
        patch.setattr(turning_back, "observe_service", lambda _: view)

    def put_back(self, *_: object) -> None:
        if self._put_back is not None:
            raise self._put_back

    def unfence(self, _: str, host: str, remembered: dict[str, Any]) -> None:
        self.unfenced.append(host)

    def words(self) -> str:
        with pytest.raises(Look) as ended:
            turning_back.go_back("orders-db", "the disk is full")
        return ended.value.message


def all_fenced(here: World, *primaries: str) -> None:
    for host in ("db-1", "db-2", "db-3"):
        was = {"was_standby": host not in primaries, "was_running": True}
        meant(here, "fence_by_ssh", host, **was, addresses=["10.0.0.10"] if host == "db-1" else [])


def test_the_way_back_starts_the_primary_last(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = Hosts(monkeypatch, ALL_FENCED)
    all_fenced(here, "db-1")
    assert "what was there serves as before: the disk is full" in hosts.words()
    assert hosts.unfenced == ["db-3", "db-2", "db-1"]


def test_where_the_old_data_cannot_be_put_back_its_host_stays_fenced_and_the_standbys_do_not(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(monkeypatch, ALL_FENCED, Busy("another recoverd works on orders-db here"))
    all_fenced(here, "db-1")
    meant(here, "put_in_place", "db-1", run="r")
    assert "db-1 stays fenced, for its old data could not be put back: another recoverd" in hosts.words()
    assert hosts.unfenced == ["db-3", "db-2"]


def test_the_old_primary_stays_fenced_where_another_takes_writes_by_now(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(monkeypatch, SUCCEEDED)
    all_fenced(here, "db-1")
    assert "db-1: it stays fenced, for db-2 takes writes by now" in hosts.words()
    assert hosts.unfenced == ["db-3"], "and who was promoted is left alone"


def test_of_two_that_took_writes_only_the_one_with_the_address_is_started_again(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(monkeypatch, ALL_FENCED)
    all_fenced(here, "db-1", "db-2")
    monkeypatch.setattr(turning_back, "observe_service", lambda _: seen() if "db-1" in hosts.unfenced else ALL_FENCED)
    assert "db-2: it stays fenced, for db-1 takes writes by now" in hosts.words()
    assert hosts.unfenced == ["db-3", "db-1"]


def test_a_swap_waits_for_the_script_of_an_earlier_execution(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[RecoverdError | None] = [Busy("x"), Busy("x"), None]
    asked: list[str] = []

    def answer(_service: str, _host: str, verb: str, **_: object) -> None:
        asked.append(verb)
        if (error := answers.pop(0)) is not None:
            raise error

    monkeypatch.setattr(replacing, "_run", answer)
    monkeypatch.setattr(replacing, "work_dir", lambda _: "/w")
    replacing.put_in_place.function("orders-db", "db-1")
    assert asked == ["swap", "swap", "swap"]
