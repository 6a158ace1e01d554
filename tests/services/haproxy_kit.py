"""A real HAProxy on loopback in front of two servers, and runs that reach it as if over SSH."""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from aws_kit import Place, Zone

from recoverd.connections import Completed, Connections
from recoverd.inventory.isolation_drains import HaproxyDrain
from recoverd.journal import Journal, RunRow
from recoverd.world import World, entered

LIMIT_S = 30.0


def until(question: Any) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + LIMIT_S
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Server:
    """A server that says its name to whoever connects, and keeps the connection."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._held.append(connection)
                connection.sendall(self.name.encode())

    def close(self) -> None:
        for one in (self._socket, *self._held):
            one.close()


class Meeting:
    """A user's connection, and who answered it; `server` is empty where HAProxy had nobody."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self.server = self._socket.recv(64).decode()

    def is_cut(self, within_s: float = LIMIT_S) -> bool:
        """Whether the connection is ended, in so long."""
        self._socket.settimeout(within_s)
        try:
            return self._socket.recv(64) == b""
        except TimeoutError:
            return False
        except ConnectionResetError:
            return True


class Balancer:
    """A HAProxy with two backends that both have web-1, and one of them web-2."""

    def __init__(self, root: Path, servers: list[Server]) -> None:
        self.socket = root / "admin.sock"
        self.socket.unlink(missing_ok=True)
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        one, two = servers
        (root / "haproxy.cfg").write_text(
            f"""\
global
    stats socket {self.socket} mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend users
    bind 127.0.0.1:{self.port}
    default_backend web
backend web
    server web-1 127.0.0.1:{one.port}
    server web-2 127.0.0.1:{two.port}
backend api
    server web-1 127.0.0.1:{one.port} disabled
"""
        )
        self._process = subprocess.Popen(["/usr/sbin/haproxy", "-db", "-f", str(root / "haproxy.cfg")])
        until(lambda: self.socket.exists() and self.states())

    def meet(self) -> Meeting:
        """A user comes."""
        return Meeting(self.port)

    def say(self, command: str) -> str:
        """HAProxy's own answer, as an administrator gets it."""
        with closing(socket.socket(socket.AF_UNIX)) as line:
            line.settimeout(LIMIT_S)
            line.connect(str(self.socket))
            line.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: line.recv(65536), b"")).decode()

    def states(self) -> dict[str, int]:
        """`srv_admin_state` by backend and server."""
        rows = [row.split() for row in self.say("show servers state").splitlines()[2:] if row]
        return {f"{row[1]}/{row[3]}": int(row[6]) for row in rows}

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(LIMIT_S)


class Shell:
    """A host's shell, which is this machine's."""

    def __init__(self, root: Path, path: str = "") -> None:
        self.root, self.path = root, path

    def run(self, script: str, variables: Mapping[str, str] | None = None, *, timeout_s: float) -> Completed:
        """As `Ssh.run`."""
        known = "".join(f"{name}={shlex.quote(value)}\n" for name, value in (variables or {}).items())
        text = script.replace("STATE=/var/lib/recoverd", f"STATE={self.root}/state")
        if self.path:
            text = text.replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", f"PATH={self.path}")
        done = subprocess.run(
            ["/bin/dash", "-s"], input=f"{known}main() {{\n:\n{text}\n}}\nmain </dev/null\n",
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        return Completed(done.returncode, done.stdout, done.stderr, 0.0)


class Site:
    """HAProxy in front of web-1 and web-2, and runs on them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.servers = [Server("web-1"), Server("web-2")]
        self.balancer = Balancer(root, self.servers)
        self.journal = Journal.open(f"sqlite:///{root}/journal.db")
        self.drain()

    def drain(self, **settings: Any) -> None:
        """What the zone says of the load balancer."""
        known = {"kind": "haproxy", "name": "lb", "hosts": ["lb-1"], "socket": str(self.balancer.socket), "drain_s": 0}
        self.place = Place(Zone(drains=(HaproxyDrain.model_validate({**known, **settings}),)))

    @contextmanager
    def run(self, row: RunRow | None = None) -> Iterator[World]:
        """A run that is executed."""
        if row is None:
            with self.journal.transaction() as tx:
                row = tx.create_run("isolate", "hosts", trigger="hand", requester="ann", reason="x")
        inventory: Any = self.place
        with entered(World(row, inventory, self.journal, Connections(inventory))) as here:
            yield here

    def close(self) -> None:
        self.journal.close()
        self.balancer.close()
        for one in self.servers:
            one.close()
