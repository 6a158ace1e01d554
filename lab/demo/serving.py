"""recoverd as its users start it: `recoverd serve` in the background, other commands in front."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from lab.background import PROJECT
from lab.lab import Lab
from lab.shell import environment
from recoverd.errors import Look, TimedOut, Unproven
from recoverd.journal import Journal

PROGRAM = Path(sys.executable).with_name("recoverd")
GATEWAY_PORT = 8787
PREFECT_PORT = 4207


class Recoverd:
    """An installation of recoverd for one lab: a home directory below the lab's own, and a `recoverd serve`.

    Attributes:
        home: Journal, evidence and the embedded Prefect server.
        url: Address of the gateway.
        prefect_url: Address of Prefect's pages.
    """

    def __init__(self, lab: Lab, *, sentinel: bool) -> None:
        self.home = lab.state / "recoverd"
        self.home.mkdir(mode=0o700)
        self.log = self.home / "serve.log"
        gateway, prefect = free_port(GATEWAY_PORT), free_port(PREFECT_PORT)
        self.url, self.prefect_url = f"http://127.0.0.1:{gateway}", f"http://127.0.0.1:{prefect}"
        self.settings = {
            "RECOVERD_HOME": str(self.home),
            "RECOVERD_INVENTORY": str(lab.inventory),
            "RECOVERD_LISTEN_PORT": str(gateway),
            "RECOVERD_PREFECT_PORT": str(prefect),
        }
        # The lab's mark is in the environment, so that `recoverd lab down` ends this too.
        self._environment = {**environment(lab.state), "PYTHONPATH": str(PROJECT), **self.settings}
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(PROGRAM), "serve", "--sentinel" if sentinel else "--no-sentinel"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", env=self._environment,
                start_new_session=True,
            )  # fmt: skip

    def wait_until_ready(self, tick: Callable[[float], None], *, timeout_s: float = 90) -> float:
        """Wait until it takes alerts. Returns how long that took in seconds. Raises Unproven if it ended, TimedOut."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < timeout_s:
            if self.process.poll() is not None:
                raise Unproven(f"recoverd serve ended with code {self.process.returncode}", self.last_words())
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).is_success:
                    return waited
            tick(waited)
            time.sleep(0.1)
        raise TimedOut(f"recoverd serve was not ready after {timeout_s:g} s", self.last_words())

    def last_words(self, lines: int = 15) -> str:
        """The end of its log."""
        return "its log ends with:\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def command(self, *arguments: str, timeout_s: float = 60) -> Any:
        """Run `recoverd … -o json` and return what it printed. Raises Look with its words when it failed."""
        argv = [str(PROGRAM), *arguments, "-o", "json"]
        try:
            ran = subprocess.run(
                argv, env=self._environment, cwd="/", capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"`recoverd {' '.join(arguments)}` did not end within {timeout_s:g} s") from error
        if ran.returncode != 0:
            raise Look(f"`recoverd {' '.join(arguments)}` exited with {ran.returncode}", ran.stderr.strip())
        return json.loads(ran.stdout)

    def journal(self) -> Journal:
        """Its record."""
        return Journal.open(f"sqlite:///{self.home / 'journal.db'}")

    def stop(self, *, timeout_s: float = 10) -> None:
        """End it in good order; what does not end in time ends with the lab."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            return int(one.getsockname()[1])
    raise Unproven("this machine has no free port", "see `ss -tln`")
