"""Programs that run beside a lab until they are stopped: the writer, Alertmanager, the prober."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from lab.layout import DATABASE_HOSTS, Layout
from lab.ledger import read_ledger
from lab.machine import init_pid
from lab.shell import environment
from recoverd.errors import Refused, TimedOut

PROJECT = Path(__file__).resolve().parent.parent


class Background:
    """A program of the lab in the background; `with` stops it.

    Args:
        argv: The program.
        log: File for what it prints.
        host: Run it inside this host (its network and its power switch, the machine's file system).
    """

    def __init__(self, layout: Layout, argv: Sequence[str], *, log: Path, host: str | None = None) -> None:
        prefix: list[str] = []
        if host is not None:
            pid = init_pid(layout.hosts[host])
            if pid is None:
                raise Refused(f"{host} is off", f"recoverd lab mend power-off {host}")
            prefix = ["nsenter", f"--target={pid}", "--net", "--pid", "--uts", "--"]
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*prefix, *argv], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                env={**environment(layout.state), "PYTHONPATH": str(PROJECT)}, start_new_session=True,
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def stop(self, *, timeout_s: float = 10) -> None:
        """End it in order, else by force. May be repeated. Raises TimedOut if force was needed."""
        deadline = time.monotonic() + timeout_s
        self._signal(signal.SIGTERM)
        while self._signal(0):
            if time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                self.process.wait()
                raise TimedOut(f"a program of the lab did not end within {timeout_s:g} s", f"see {self.log}")
            time.sleep(0.01)

    def _signal(self, number: int) -> bool:
        """Signal the program, not only the nsenter before it; whether anything of it is still there."""
        self.process.poll()
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class Writer(Background):
    """The continuous writer on app-1; see `lab.writer`.

    Args:
        ledger: The file it appends to.
        through: "virtual-address", or "libpq" for trying all members in turn.
    """

    def __init__(
        self, layout: Layout, ledger: Path, *, through: str = "virtual-address", interval_s: float = 0.01,
        deadline_s: float = 0.5, churn: bool = False, host: str = "app-1",
    ) -> None:  # fmt: skip
        self.ledger = ledger
        members = [layout.hosts[name].address for name in DATABASE_HOSTS]
        addresses = members if through == "libpq" else [layout.virtual_address]
        argv = [sys.executable, "-m", "lab.writer", *(f"--host={address}" for address in addresses)]
        argv += [f"--password-file={layout.secret('app')}", f"--ledger={ledger.absolute()}"]
        argv += [f"--interval-s={interval_s}", f"--deadline-s={deadline_s}", *(["--churn"] if churn else [])]
        super().__init__(layout, argv, log=layout.state / "writer.log", host=host)

    def acknowledged(self) -> int:
        """How many commits were acknowledged so far."""
        return len(read_ledger(self.ledger).acknowledged) if self.ledger.exists() else 0
