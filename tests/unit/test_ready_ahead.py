"""What a spare has ready before its run comes: kept connections, the inventory, the first look."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from inventory_kit import SERVICES, write
from views_kit import seen

from deployments.standby import worth_keeping
from recoverd.connections import Connections, pool
from recoverd.errors import RecoverdError, TimedOut, Unreachable
from recoverd.inventory import load
from recoverd.prepared import prepared, taken
from tasks.first_look import FirstLook


class Line:
    """A connection that says what it is told to when it is asked for a word."""

    made = 0
    answer: RecoverdError | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        type(self).made += 1
        self.heard_at = time.monotonic()
        self.alive = True

    def check(self, timeout_s: float) -> None:
        if self.answer is not None:
            raise self.answer
        self.heard_at = time.monotonic()

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connections:
    monkeypatch.setattr(pool, "Ssh", Line)
    monkeypatch.setattr(Line, "made", 0)
    monkeypatch.setattr(Line, "answer", None)
    return Connections(load(write(tmp_path)))


def quiet(connections: Connections) -> Any:
    line: Any = connections.ssh("db-1")
    line.heard_at -= pool.TRUSTED_FOR_S + 1
    return line


def test_a_connection_that_was_just_heard_is_used_as_it_is(kept: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    line = kept.ssh("db-1")
    monkeypatch.setattr(Line, "answer", Unreachable("not asked"))
    assert kept.ssh("db-1") is line
    assert kept.tally() == {"opened": {"ssh": 1}, "reused": {"ssh": 1}}


def test_a_quiet_connection_that_says_a_word_is_used_again(kept: Connections) -> None:
    line = quiet(kept)
    assert kept.ssh("db-1") is line


def test_a_quiet_connection_that_is_broken_is_opened_anew(kept: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    line = quiet(kept)
    monkeypatch.setattr(Line, "answer", Unreachable("broken"))
    assert kept.ssh("db-1") is not line
    assert not line.alive


def test_a_silent_host_is_waited_for_once_and_its_connection_is_not_kept(
    kept: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(kept)
    monkeypatch.setattr(Line, "answer", TimedOut("silent"))
    with pytest.raises(Unreachable, match="db-1 does not answer any more"):
        kept.ssh("db-1")
    assert Line.made == 1
    kept.ssh("db-1")
    assert Line.made == 2


def test_refreshing_drops_what_does_not_answer(kept: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    line = quiet(kept)
    monkeypatch.setattr(Line, "answer", TimedOut("silent"))
    kept.refresh(0.1)
    assert not line.alive
    assert kept.ssh("db-1") is not line


def test_a_session_that_breaks_or_falls_silent_is_told_of_once_and_closed(
    kept: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "Sql", Line)
    service = kept._inventory.service("shop")
    lines: list[Any] = [kept.sql(service, host) for host in service.hosts]
    ssh = kept.ssh("db-1")
    assert kept.fallen("shop", 0.1) == []
    for answer in (TimedOut("silent"), Unreachable("broken")):
        monkeypatch.setattr(Line, "answer", answer)
        assert kept.fallen("other", 0.1) == []
        assert kept.fallen("shop", 0.1) == ["db-1", "db-2"]
        assert kept.fallen("shop", 0.1) == []
        assert not any(line.alive for line in lines)
        assert not kept.keeps("shop", "db-1")
        monkeypatch.setattr(Line, "answer", None)
        lines = [kept.sql(service, host) for host in service.hosts]
        assert kept.keeps("shop", "db-1")
    assert ssh.alive


def test_an_inventory_that_has_changed_is_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    ready = prepared(tmp_path)
    assert prepared(tmp_path) is ready
    services = tmp_path / "services.yaml"
    services.write_text(SERVICES.replace("priority: 200", "priority: 300"))
    os.utime(services, ns=(1, 1))
    changed = prepared(tmp_path)
    assert changed is not ready
    assert changed.inventory.service("shop").member("db-1").priority == 300


def test_what_was_taken_is_nobody_elses(tmp_path: Path) -> None:
    write(tmp_path)
    ready = taken(tmp_path)
    assert taken(tmp_path) is not ready


def test_a_spare_keeps_no_more_hosts_than_it_may_and_the_most_critical_services_first(tmp_path: Path) -> None:
    other = (
        SERVICES.partition("\n")[2]
        .replace("shop", "vault")
        .replace("db-1", "db-3")
        .replace("kind: postgresql\n", "kind: postgresql\n    criticality: critical\n", 1)
    )
    inventory = load(write(tmp_path, services=SERVICES + other.replace("10.0.0.9", "10.0.0.8")))
    assert [service.name for service in worth_keeping(inventory, 24)] == ["vault", "shop"]
    assert [service.name for service in worth_keeping(inventory, 3)] == ["vault"]
    assert worth_keeping(inventory, 0) == []


def seen_at(at: datetime) -> Any:
    return seen().model_copy(update={"at": at})


def test_the_first_look_is_handed_out_once_and_only_over_its_own_connections(kept: Connections) -> None:
    look = FirstLook()
    view = seen_at(datetime.now(timezone.utc))
    look.begin("shop", kept, lambda: view)
    assert look.taken("shop", kept) is view
    assert look.taken("shop", kept) is None
    look.begin("shop", kept, lambda: view)
    assert look.taken("shop", Connections(load(kept._inventory.root))) is None


def test_an_old_or_a_failed_first_look_is_not_handed_out(kept: Connections) -> None:
    look = FirstLook()
    look.begin("shop", kept, lambda: seen_at(datetime.now(timezone.utc) - timedelta(seconds=2)))
    assert look.taken("shop", kept) is None

    def fail() -> Any:
        raise Unreachable("nobody there")

    look.begin("shop", kept, fail)
    assert look.taken("shop", kept) is None
