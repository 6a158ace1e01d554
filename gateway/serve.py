"""`recoverd serve`: everything that must run so that an alert leads to a recovery, in one process tree."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol, TextIO

import uvicorn

from deployments.catalogue import DEFAULT, load_catalogue
from deployments.prefect_home import auth_string
from deployments.runner import RunnerProcess
from deployments.server import PrefectServer
from deployments.start import start
from gateway.alerts_model import SENTINEL
from gateway.app import Door, create_app
from gateway.auth import Authenticator, secrets_of
from gateway.health import Check, Health, answers, journal_writable
from gateway.home import held
from gateway.intake import Intake
from gateway.listener import Ending, Server, listening, uvicorn_config
from gateway.metrics import Metrics
from gateway.parsers import parser
from gateway.poller import Poller
from gateway.routes import RouteTable
from gateway.writer import Writer
from recoverd.errors import Invalid, RecoverdError
from recoverd.inventory import Inventory
from recoverd.journal import Journal
from recoverd.settings import Settings

START_TIMEOUT_S = 90.0
RUNS_TIMEOUT_S = 60.0
"""For runs under way: so long the embedded Prefect server stays up for them. After that they go on without it."""

log = logging.getLogger(__name__)


class Background(Protocol):
    """A service beside the HTTP door, such as the sentinel."""

    name: str

    def start(self) -> None:
        """Begin; return at once."""

    def stop(self) -> None:
        """End, within a limit."""

    def ready(self) -> bool:
        """Whether it does its work."""


@dataclass(frozen=True)
class Parts:
    """What a background service gets to work with."""

    config: Settings
    inventory: Inventory
    journal: Journal
    intake: Intake
    metrics: Metrics


def serve(
    config: Settings,
    inventory: Inventory,
    background: Sequence[Callable[[Parts], Background]] = (),
    *,
    catalogue: str = DEFAULT,
    say: TextIO = sys.stdout,
) -> None:
    """Bring everything up, take alerts until SIGTERM or SIGINT, then end in good order. Runs that execute live on.

    Args:
        config: Where things are kept, and where to listen.
        inventory: What exists.
        background: Makers of further services: called once, started when alerts are taken.
        catalogue: Address of the procedures that alerts may start, `module:name`.
        say: Gets one line when alerts are taken.

    Raises:
        Busy: Another `recoverd serve` works in the same home directory.
        Invalid: The routes or sources do not fit, or the address to listen on is taken.
        TimedOut: A part was not ready in time.
    """
    with ExitStack() as stack:
        ending = stack.enter_context(Ending().caught())
        stack.enter_context(held(config.home))
        journal = Journal.open(config.journal_address)
        stack.callback(journal.close)
        routes = RouteTable(inventory, load_catalogue(catalogue))
        check_sources(inventory)
        listener = stack.enter_context(listening(config.listen_host, config.listen_port))
        auth_string(config.home)  # made here and now: server and runner, which come up together, both read it
        prefect = PrefectServer(config.home, config.prefect_port)
        prefect.start()
        stack.callback(prefect.stop)
        stack.callback(_wait_for_runs, journal, prefect)
        house = _Serving(config, inventory, journal, routes, prefect, catalogue, say)
        house.run(background, listener, ending, stack)


class _Serving:
    """The parts of one `serve`, wired to each other."""

    def __init__(
        self,
        config: Settings,
        inventory: Inventory,
        journal: Journal,
        routes: RouteTable,
        prefect: PrefectServer,
        catalogue: str,
        say: TextIO,
    ) -> None:
        self.config, self.inventory, self.journal, self.prefect, self.say = config, inventory, journal, prefect, say
        self.started = time.monotonic()
        self.runner = RunnerProcess(config, prefect.url, catalogue)
        self.writer = Writer(journal)
        self.metrics = Metrics(journal, lambda: self.writer.waiting)
        procedures = load_catalogue(catalogue)
        self.intake = Intake(
            journal,
            self.writer,
            routes,
            lambda *args, **named: start(*args, **named, catalogue=procedures),
            self.metrics,
            notify=self.runner.notify,
        )
        self.pollers = {
            source.name: Poller(source, self.intake, self.metrics)
            for source in inventory.sources.values()
            if source.poll_url
        }
        self.failure: BaseException | None = None
        self._opening = threading.Lock()

    def run(
        self,
        makers: Sequence[Callable[[Parts], Background]],
        listener: socket.socket,
        ending: Ending,
        stack: ExitStack,
    ) -> None:
        """Listen at once, with the gate shut; open it when all parts are ready; end on a signal."""
        parts = Parts(self.config, self.inventory, self.journal, self.intake, self.metrics)
        beside: list[Background] = [*self.pollers.values(), *(make(parts) for make in makers)]
        health = Health(self._checks(beside))
        door = Door(self.intake, Authenticator(self.inventory.sources), health, self.metrics, self.pollers)
        server = Server(uvicorn_config(create_app(door)))
        ending.ends(server)
        self.writer.start()
        stack.callback(self.writer.stop)
        self.runner.start()
        stack.callback(self.runner.stop)
        stack.callback(_stop_all, beside)
        opener = threading.Thread(target=self._open, args=(health, beside, server), name="bring-up", daemon=True)
        opener.start()
        server.run(sockets=[listener])
        with self._opening:
            health.shut()
        if self.failure is not None:
            raise self.failure

    def _open(self, health: Health, beside: Sequence[Background], server: uvicorn.Server) -> None:
        try:
            self.prefect.ready(START_TIMEOUT_S)
            self.runner.ready(START_TIMEOUT_S)
            with self._opening:
                if server.should_exit:
                    return
                health.open()
                for each in beside:
                    each.start()
        except Exception as error:  # noqa: BLE001 - raised again by the main thread, which this ends
            self.failure = error
            server.should_exit = True
            return
        where = f"http://{self.config.listen_host}:{self.config.listen_port}"
        took_s = time.monotonic() - self.started
        print(f"recoverd takes alerts on {where}/alerts/ ({took_s:.1f} s to get ready)", file=self.say, flush=True)

    def _checks(self, beside: Sequence[Background]) -> dict[str, Check]:
        return {
            "journal": lambda: journal_writable(self.journal),
            "intake": lambda: "ok" if self.writer.ready() else "its writer has ended",
            "prefect": lambda: answers(f"{self.prefect.url}/ready"),
            "runner": lambda: "ok" if self.runner.is_ready else "it has no warm process yet",
            **{each.name: _check_of(each) for each in beside},
        }


def check_sources(inventory: Inventory) -> None:
    """See that each source has a parser and a secret that can be read now.

    Raises:
        Invalid: With all problems at once.
    """
    problems: list[str] = []
    for source in inventory.sources.values():
        if source.name == SENTINEL.name:
            problems.append(f"source {source.name}: this name is recoverd's own")
        try:
            parser(source.kind)
            for reference in secrets_of(source.auth):
                reference.resolve()
        except RecoverdError as error:
            problems.append(f"source {source.name}: {error.message}")
    if problems:
        raise Invalid("the alert sources cannot be used\n" + "\n".join(problems), "correct alerts.yaml or the secrets")


def _wait_for_runs(journal: Journal, prefect: PrefectServer) -> None:
    """Keep the embedded Prefect server up for the runs that execute on this machine, within a limit."""
    if prefect.pid is None:
        return
    here = f"{socket.gethostname()}:"
    deadline = time.monotonic() + RUNS_TIMEOUT_S
    while time.monotonic() < deadline:
        marker = journal.marker()
        if not any((run.executor or "").startswith(here) for run in journal.list_runs(states=["running"])):
            return
        journal.wait_for_change(marker, min(1.0, max(deadline - time.monotonic(), 0.0)))
    log.warning(
        "runs are still under way after %.0f s; they go on and are found by the next `recoverd serve`", RUNS_TIMEOUT_S
    )


def _stop_all(services: Sequence[Background]) -> None:
    for each in reversed(services):
        each.stop()


def _check_of(service: Background) -> Check:
    return lambda: "ok" if service.ready() else "it does not run"
