"""A whole `recoverd serve` on a lab: its process tree, its alerts, and the axe."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from failover_kit import SERVICE, Controller
from lab_kit import eventually

from recoverd.journal import Entry, RunRow

READY_TIMEOUT_S = 90.0
RECOVERD = Path(sys.executable).with_name("recoverd")


class Serving:
    """`recoverd serve` as a process tree of its own, on a controller's home and inventory."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.port, self.prefect_port = _free_port(), _free_port()
        self.environment = {
            # Another test's Prefect server is not ours: with its address, no server of our own would be started.
            **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
            "RECOVERD_HOME": str(controller.home),
            "RECOVERD_INVENTORY": str(controller.inventory),
            "RECOVERD_LISTEN_PORT": str(self.port),
            "RECOVERD_PREFECT_PORT": str(self.prefect_port),
        }
        self.log = controller.home / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes alerts."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [RECOVERD, "serve", "--no-sentinel"], env=self.environment, stdout=log, stderr=log
            )
        assert eventually(self.is_ready, timeout_s=READY_TIMEOUT_S), self.log.read_text()[-3000:]

    def is_ready(self) -> bool:
        """Whether /readyz says so."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-3000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self) -> None:
        """End it in good order, and whatever is left of it."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=60)
        self.kill_all()

    def kill_all(self) -> None:
        """kill -9 to every process that belongs to this home: what a crash of the machine does."""
        deadline = time.monotonic() + 10
        while (found := self.processes()) and time.monotonic() < deadline:
            for process in found:
                _kill(process)
            if self._process is not None:
                self._process.poll()
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Every process with this home in its environment, but this one."""
        wanted = f"RECOVERD_HOME={self.controller.home}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # gone, or a zombie
        return found

    def alert(self, **labels: str) -> dict[str, Any]:
        """Post what Alertmanager would, and give the answer back once it is 202."""
        secret = self.controller.lab.layout.secret("alertmanager").read_text().strip()
        now = datetime.now(timezone.utc).isoformat()
        alert = {
            "status": "firing",
            "labels": {"alertname": "PostgresDown", "service": SERVICE, **labels},
            "annotations": {},
            "startsAt": now,
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"{time.time_ns():016x}"[-16:],
        }
        body = {"version": "4", "groupKey": "k", "truncatedAlerts": 0, "status": "firing", "alerts": [alert]}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/alerts/alertmanager",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202
            return dict(json.loads(answer.read()))

    def prefect(self, path: str, question: dict[str, Any]) -> Any:
        """Ask the embedded Prefect server, once it knows; an empty answer is asked for again for a while."""
        secret = (self.controller.home / "prefect" / "auth").read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.prefect_port}/api/{path}",
            data=json.dumps(question).encode(),
            headers={
                "Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}",
                "Content-Type": "application/json",
            },
        )
        deadline = time.monotonic() + 20
        while True:
            with urllib.request.urlopen(request, timeout=10) as answer:
                found = json.loads(answer.read())
            if found or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The `recoverd` command, as another process."""
        return subprocess.run(
            [RECOVERD, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def wait_for(self, run: str, that: Callable[[Entry], bool], *, timeout_s: float = 60.0) -> Entry:
        """Wait until the run has written an entry."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for entry in self.controller.journal.entries(run=run):
                if that(entry):
                    return entry
            time.sleep(0.005)
        raise AssertionError(f"{run} did not get there: {list(self.controller.journal.entries(run=run))[-1]}")

    def ended(self, run: str, *, timeout_s: float = 60.0) -> RunRow:
        """Wait until the run is over."""
        assert eventually(lambda: self.controller.journal.get_run(run).ended, timeout_s=timeout_s), self.log.read_text()
        return self.controller.journal.get_run(run)


def kill(row: RunRow) -> None:
    """kill -9 to the process that executes a run."""
    _kill(int((row.executor or "").rpartition(":")[2]))


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
