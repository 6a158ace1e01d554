"""A dead executor is known to be dead at once; a living one is never taken for dead."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recoverd import liveness
from recoverd.errors import Busy
from recoverd.journal import RunRow
from recoverd.settings import settings


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RECOVERD_HOME", str(tmp_path))
    monkeypatch.setattr(liveness, "TAKE_TIMEOUT_S", 0.05)
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


def row(executor: str | None) -> RunRow:
    return replace(RunRow.rehearsal("failover", "orders", {}), id="fo-1", executor=executor)


HERE = row(f"{socket.gethostname()}:1")


def test_a_run_lives_while_its_process_executes_it() -> None:
    assert not liveness.is_executing("fo-1")
    with liveness.executing("fo-1"):
        assert liveness.is_executing("fo-1")
        assert liveness.is_alive(HERE) is True
    assert not liveness.is_executing("fo-1")


def test_only_one_process_executes_a_run() -> None:
    with liveness.executing("fo-1"), pytest.raises(Busy), liveness.executing("fo-1"):
        pass
    with liveness.executing("fo-1"):
        pass


def test_of_another_machine_and_of_no_trace_nothing_is_claimed() -> None:
    assert liveness.is_alive(row("elsewhere:1")) is None
    assert liveness.is_alive(HERE) is None
    assert liveness.is_alive(row(None)) is False


def test_a_killed_executor_is_dead_the_moment_it_is_gone() -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with liveness.executing("fo-1"):
                os.write(tell, b"1")
                signal.pause()
        finally:
            os._exit(1)
    os.read(ready, 1)
    assert liveness.is_alive(HERE) is True
    os.kill(child, signal.SIGSTOP)
    assert liveness.is_alive(HERE) is True
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert liveness.is_alive(HERE) is False
    os.close(ready)
    os.close(tell)


def test_a_fork_of_the_executor_does_not_keep_the_run_alive() -> None:
    ready, tell = os.pipe()
    with liveness.executing("fo-1"):
        child = os.fork()
        if child == 0:
            os.read(ready, 1)
            os._exit(0)
    assert not liveness.is_executing("fo-1")
    os.write(tell, b"1")
    os.waitpid(child, 0)
    os.close(ready)
    os.close(tell)
