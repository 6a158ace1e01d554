"""The two locks of a restore in the place of what is there: the backups' does not keep a stopped service waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from late_kit import begun, meant, requested

from flows import replace
from flows.restore import keeping_backups_out
from flows.seat import Seat
from recoverd.errors import Busy, GaveWay, Look, Stale, Unsafe
from recoverd.execution import _state_after
from recoverd.locks import acquire
from recoverd.world import World
from tasks.views import ServiceView

BACKUPS = "backup:orders-db"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("RECOVERD_HOME", str(tmp_path))
    with begun() as made:
        yield made


def test_once_the_service_is_stopped_a_restore_beside_is_not_waited_for(here: World) -> None:
    assert here.journal is not None
    acquire(here.journal, BACKUPS, requested(here.journal, "restore").id)
    with pytest.raises(Busy), keeping_backups_out("orders-db"):
        pass
    meant(here, "begin_unpacking", "db-1")
    with pytest.raises(GaveWay), keeping_backups_out("orders-db"):
        pass
    meant(here, "fence_by_ssh", "db-1")
    with keeping_backups_out("orders-db"):
        assert here.beside == []


def test_who_has_lost_the_lock_of_backups_in_a_pause_does_not_begin_to_stop_anybody(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here.journal is not None
    stopped: list[str] = []
    for name in ("note_epochs", "_see_who_serves", "stop_scratch", "put_in_place"):
        monkeypatch.setattr(replace, name, lambda *_: None)
    monkeypatch.setattr(replace, "fence_primary", lambda _service, host, _view: stopped.append(host))
    monkeypatch.setattr(replace, "observe_service", lambda _: ServiceView.model_construct())
    monkeypatch.setattr(replace, "order_to_stop", lambda *_: ("db-1",))
    with keeping_backups_out("orders-db"):
        here.beside[0].release()
        acquire(here.journal, BACKUPS, requested(here.journal, "backup").id)
        with pytest.raises(Stale):
            replace._stop_and_swap("orders-db", Seat(host="db-1"))
        assert stopped == []
        meant(here, "fence_by_ssh", "db-1")
        replace._stop_and_swap("orders-db", Seat(host="db-1"))
        assert stopped == ["db-1"], "once it is stopped, only the service's own lock counts"


def test_a_run_that_meets_another_script_in_the_middle_has_failed_and_can_be_resumed(here: World) -> None:
    assert here.journal is not None
    assert _state_after(Busy("x"), here.journal, here.run.id) == "refused"
    meant(here, "fence_by_ssh", "db-1")
    assert _state_after(Busy("x"), here.journal, here.run.id) == "failed"
    assert _state_after(Unsafe("x"), here.journal, here.run.id) == "refused"
    assert _state_after(GaveWay("x"), here.journal, here.run.id) == "waiting"
    assert _state_after(Look("x"), here.journal, here.run.id) == "failed"
