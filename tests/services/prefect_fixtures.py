"""One embedded Prefect server and one runner for all tests of a module that need them; import the fixtures you use."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from deployments.catalogue import load_catalogue
from deployments.prefect_home import client_environment
from deployments.runner import RunnerProcess
from deployments.server import PrefectServer
from deployments.start import start
from recoverd.journal import Journal, RunRow
from recoverd.settings import Settings, settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

CATALOGUE = "prefect_procedures:CATALOGUE"


@dataclass
class Installation:
    """A recoverd of its own below a temporary directory, with test procedures."""

    config: Settings
    server: PrefectServer
    journal: Journal
    marks: Path
    runners: list[RunnerProcess] = field(default_factory=list)

    def runner(self) -> RunnerProcess:
        """The runner; started when there is none."""
        if not self.runners:
            runner = RunnerProcess(self.config, self.server.url, CATALOGUE)
            runner.start()
            self.runners.append(runner)
        self.runners[-1].ready(timeout_s=60)
        return self.runners[-1]

    def stop_runner(self) -> None:
        """End the runner in good order."""
        while self.runners:
            self.runners.pop().stop()

    def rest(self) -> None:
        """Wait until the children that have executed runs are gone: they send their last events to the server."""
        for runner in self.runners:
            if runner.pid is not None:
                until(partial(_has_spares_only, runner.pid, self.config.spares), "the children that are through to end")

    def start(self, procedure: str = "tiny", target: str = "orders", **options: Any) -> RunRow:
        """Start a run of a test procedure by hand."""
        catalogue = load_catalogue(CATALOGUE)
        options = {"marks": str(self.marks), **options}
        return start(
            procedure, target, trigger="hand", requester="tester", reason="a test", options=options,
            journal=self.journal, catalogue=catalogue,
        )  # fmt: skip

    def until(self, run: str, *states: str, timeout_s: float = 30.0) -> RunRow:
        """Wait until the run is in one of these states."""
        until(lambda: self.journal.get_run(run).state in states, f"run {run} to be {states}", timeout_s)
        return self.journal.get_run(run)

    def did(self, run: str) -> list[str]:
        """The effects of a run on the outside world, in order."""
        path = self.marks / run
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []

    def until_did(self, run: str, step: str) -> int:
        """Wait until a run has had this effect and noted it; the process id that had it."""
        until(lambda: self.journal.outcome(run, step) is not None, f"run {run} to do {step}")
        return int((self.marks / run).read_text().split()[-1])

    def go(self, run: str) -> None:
        """Let a run that holds go on."""
        (self.marks / f"{run}.go").touch()


def until(condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition, with a limit."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} seconds for {what}"
        time.sleep(0.01)


def _has_spares_only(runner: int, spares: int) -> bool:
    return len(descendants(runner)) <= 1 + spares


def until_prefect_says(api: SyncPrefectClient, flow_run: str | UUID, state: str) -> None:
    """Wait until a flow run is in a state of this type."""
    until(lambda: api.read_flow_run(UUID(str(flow_run))).state_type.value == state.upper(), f"Prefect to say {state}")


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [below for child in children for below in descendants(child)]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One for the tests of a module, and no longer: it takes the whole environment of the process for itself."""
    with _installed(tmp_path_factory.mktemp("recoverd")) as made:
        yield made
    settings.cache_clear()
    _forget_prefect_settings()


@contextmanager
def _installed(home: Path) -> Iterator[Installation]:
    here = str(Path(__file__).parent)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "RECOVERD_"))]:
            patch.delenv(name)
        patch.setenv("RECOVERD_HOME", str(home))
        patch.setenv("PYTHONPATH", os.pathsep.join([here, str(Path(here).parents[1])]))
        patch.syspath_prepend(here)
        settings.cache_clear()
        server = PrefectServer(home, port=0)
        server.start()
        try:
            server.ready(timeout_s=60)
            for name, value in client_environment(home, server.url).items():
                patch.setenv(name, value)
            _forget_prefect_settings()
            marks = home / "marks"
            marks.mkdir()
            config = Settings(home=home, inventory=home / "inventory", spares=2, parallel_runs=4)
            made = Installation(config, server, Journal.open(config.journal_address), marks)
            yield made
            made.rest()
            made.stop_runner()
            made.journal.close()
        finally:
            server.stop()


def _forget_prefect_settings() -> None:
    """Prefect reads the environment when it is imported; a test before us may have imported it."""
    if "prefect" in sys.modules:
        import prefect.context
        from prefect.settings import get_current_settings

        current = prefect.context.SettingsContext.get()
        if current is not None:
            fresh = type(get_current_settings())()
            prefect.context.SettingsContext(profile=current.profile, settings=fresh).__enter__()
