"""The embedded Prefect server: a child process on the loopback interface with SQLite below the home directory.

With `PREFECT_API_URL` set the operator has a server of their own; then nothing is started here.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import httpx

from deployments.prefect_home import has_own_server, server_environment
from deployments.processes import Kept, die_with_parent
from recoverd.errors import Invalid, TimedOut

_PROBE_EVERY_S = 0.05


class PrefectServer:
    """The Prefect API that this installation uses.

    Args:
        home: The installation's directory; the database is `prefect/prefect.db` below it.
        port: Loopback port; 0 takes a free one.
    """

    def __init__(self, home: Path, port: int) -> None:
        self._home = home
        self._port = port
        self._kept: Kept | None = None
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        """Address of the API, with `/api`. With port 0 it is known after `start()`."""
        return os.environ["PREFECT_API_URL"] if has_own_server() else f"http://127.0.0.1:{self._port}/api"

    @property
    def pid(self) -> int | None:
        """Process id of the embedded server while it lives."""
        return self._kept.pid if self._kept else None

    def start(self) -> None:
        """Start the server and keep it. Returns at once; ask `ready`.

        The listening socket belongs to this process: while the server is started again, callers wait instead of being
        refused, and a taken port is an error here and now.

        Raises:
            Invalid: The port is taken.
        """
        if has_own_server() or self._kept is not None:
            return
        self._listener = self._listen()
        self._port = self._listener.getsockname()[1]
        directory = self._home / "prefect"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = self._listener.fileno()
        self._kept = Kept(
            "Prefect server",
            lambda _: ([sys.executable, "-c", _MAIN, str(descriptor)], [descriptor]),
            lambda: server_environment(self._home, self.url, self._port),
            log_file=directory / "server.log",
        )
        self._kept.start()

    def ready(self, timeout_s: float = 90.0) -> None:
        """Wait until the API answers.

        Raises:
            TimedOut: It did not in that time.
        """
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                if httpx.get(f"{self.url}/ready", timeout=left_s, trust_env=False).is_success:
                    return
            except httpx.TransportError:
                pass  # not there yet: ask again until the limit
            time.sleep(min(_PROBE_EVERY_S, left_s))
        where = "is it up?" if has_own_server() else f"{self._home / 'prefect' / 'server.log'} says why"
        raise TimedOut(f"the Prefect server at {self.url} was not ready after {timeout_s:g} seconds", where)

    def stop(self) -> None:
        """End the embedded server; the operator's own is left alone."""
        if self._kept is not None:
            self._kept.stop()
            self._kept = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError as error:
            listener.close()
            raise Invalid(
                f"port {self._port} of the loopback interface is taken",
                "another recoverd may run here; set RECOVERD_PREFECT_PORT to a free port",
            ) from error
        listener.listen(512)
        return listener


_MAIN = "from deployments.server import main; main()"


def main() -> None:
    """The server process: argv[1] is the file descriptor of the listening socket."""
    die_with_parent()
    from deployments.prefect_private import serve_api

    serve_api(socket.socket(fileno=int(sys.argv[1])))
