"""The runner: takes runs from the journal the moment they are there and hands each to a warm process.

The journal is the queue: a run in state `requested` wants to be executed, whoever wrote it and why ever: new, approved,
or taken over from a process that died. The child that gets it claims it in the journal, so that any number of runners
on any number of machines may offer it.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import threading
import time
from typing import NoReturn
from uuid import UUID

from deployments import prefect_api
from deployments.catalogue import DEFAULT, load_catalogue
from deployments.child import Order
from deployments.mirror import Mirror
from deployments.pool import Child, Pool
from deployments.prefect_home import client_environment
from deployments.processes import Kept, die_with_parent
from deployments.reconciler import Reconciler
from deployments.schedules import load_schedules
from recoverd.errors import RecoverdError
from recoverd.journal import Journal
from recoverd.settings import Settings, settings

logger = logging.getLogger("recoverd.runner")

JOURNAL_POLL_S = 0.05
REFILL_AFTER_S = 2.0
OFFER_AGAIN_AFTER_S = 5.0
PREFECT_PATIENCE_S = 30.0


class RunnerProcess:
    """The runner as its parent sees it: a child process, started again when it dies.

    Args:
        config: The settings it works with.
        prefect_url: Address of the Prefect API.
        catalogue: Address of the catalogue, `module:name`.
    """

    def __init__(self, config: Settings, prefect_url: str, catalogue: str = DEFAULT) -> None:
        config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._kept = Kept(
            "runner",
            lambda descriptor: ([sys.executable, "-c", _MAIN, str(descriptor), catalogue], []),
            lambda: {**client_environment(config.home, prefect_url), **_as_environment(config)},
        )

    @property
    def pid(self) -> int | None:
        """Process id of the runner while it lives."""
        return self._kept.pid

    @property
    def is_ready(self) -> bool:
        """Whether a run would start at once."""
        return self._kept.is_ready

    def start(self) -> None:
        """Start the runner. Returns at once; ask `ready`."""
        self._kept.start()

    def ready(self, timeout_s: float = 90.0) -> None:
        """Wait until spare processes are warm and the deployments are known to Prefect.

        Raises:
            TimedOut: They were not in that time.
        """
        self._kept.wait_ready(timeout_s)

    def notify(self) -> None:
        """Say that the journal has a new run; without it the runner sees it within 50 ms."""
        self._kept.tell(b"!")

    def stop(self) -> None:
        """End the runner and its spares. Runs that execute go on and finish."""
        self._kept.stop()


_MAIN = "from deployments.runner import main; main()"


def main() -> None:
    """The runner process: argv has the descriptor of the parent's socket and the address of the catalogue."""
    die_with_parent()
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("recoverd").setLevel(logging.INFO)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    runner = Runner(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
    try:
        runner.run()
    finally:
        runner.close()


class Runner:
    """The loop of the runner process."""

    def __init__(self, parent: socket.socket, catalogue: str) -> None:
        self._config = settings()
        self._parent = parent
        self._catalogue = load_catalogue(catalogue)
        self._selector = selectors.DefaultSelector()
        self._selector.register(parent, selectors.EVENT_READ, parent)
        self._pool = Pool(self._selector, catalogue, dict(os.environ), self._config.spares)
        self._journal = Journal.open()
        self._deployments: dict[str, UUID] = {}
        self._prepared = threading.Event()
        self._reconciler = Reconciler(self._journal)
        self._offered: dict[str, float] = {}
        self._last_handed = 0.0
        self._began = time.monotonic()
        self._said_ready = False

    def run(self) -> NoReturn:
        """Serve until a signal ends the process."""
        self._pool.refill()
        for name, work in (("reconciler", self._reconciler.run_forever), ("mirror", self._mirror)):
            threading.Thread(target=work, name=name, daemon=True).start()
        seen: object = None
        while True:
            for key, _events in self._selector.select(JOURNAL_POLL_S):
                self._react(key.data)
            self._say_ready()
            try:
                marker = self._journal.marker()
                if marker != seen or self._offered:
                    seen = marker if self._offer() else None
            except RecoverdError as error:
                logger.warning("the journal cannot be read just now: %s", error)
                seen = None
            if not self._pool.has_spare or time.monotonic() - self._last_handed > REFILL_AFTER_S:
                self._pool.refill()

    def close(self) -> None:
        """End the spares."""
        self._pool.close()

    def _mirror(self) -> NoReturn:
        """In a thread of its own: the deployments, however long Prefect's server takes; then both ways with Prefect."""
        while not self._prepared.is_set():
            try:
                schedules = load_schedules(self._config.inventory, self._catalogue)
                self._deployments = prefect_api.apply_deployments(self._catalogue, schedules)
                self._prepared.set()
            except Exception:
                logger.exception("the deployments cannot be made known to Prefect, trying again")
                self._prepared.wait(1)
        Mirror(self._journal, self._catalogue, self._deployments).run_forever()

    def _react(self, source: object) -> None:
        if isinstance(source, Child):
            if not self._pool.heard(source):
                self._pool.gone(source)
                if source.run is not None:
                    self._offered.pop(source.run, None)
                    if source.state == "busy":
                        self._reconciler.look_now()
        elif isinstance(source, Pool):
            source.zygote_spoke()
        elif not self._parent.recv(4096):
            sys.exit(0)

    def _say_ready(self) -> None:
        if not self._said_ready and self._prepared.is_set() and self._pool.has_spare:
            self._said_ready = True
            self._parent.send(b"ready")

    def _offer(self) -> bool:
        """Hand what waits to spares, the most urgent first.

        Returns:
            Whether nothing is left waiting.
        """
        if not self._prepared.is_set() and time.monotonic() - self._began < PREFECT_PATIENCE_S:
            return False
        room = self._config.parallel_runs - self._executing_here()
        waiting = self._waiting() if room > 0 else []
        for run, procedure in waiting[:room]:
            if self._pool.hand(Order(run, str(self._deployments.get(procedure, "")))) is None:
                self._pool.refill(min(room, len(waiting)))
                return False
            self._offered[run] = self._last_handed = time.monotonic()
        return room > 0 and len(waiting) <= room

    def _executing_here(self) -> int:
        """Runs that execute on this machine: in children of ours, and in those that an earlier runner left."""
        ours = {child.run for child in self._pool.busy}
        here = f"{socket.gethostname()}:"
        running = self._journal.list_runs(states=["running"])
        return len(ours) + sum(1 for row in running if (row.executor or "").startswith(here) and row.id not in ours)

    def _waiting(self) -> list[tuple[str, str]]:
        """Runs that want to be executed and were not handed to a child of ours just now."""
        now = time.monotonic()
        pending = self._journal.pending_runs()
        names = {row.id for row in pending}
        self._offered = {
            run: at for run, at in self._offered.items() if run in names and now - at < OFFER_AGAIN_AFTER_S
        }
        return [
            (row.id, row.procedure)
            for row in pending
            if row.id not in self._offered and row.procedure in self._catalogue
        ]


def _as_environment(config: Settings) -> dict[str, str]:
    """The settings as variables, so that the runner and its children have the very same."""
    values = config.model_dump(mode="json", exclude_none=True)
    return {f"RECOVERD_{name.upper()}": str(value) for name, value in values.items()}


def _exit(_number: int, _frame: object) -> None:
    sys.exit(0)
