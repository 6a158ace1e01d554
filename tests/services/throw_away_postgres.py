"""A throw-away PostgreSQL for tests: its own directory, its own port on the loopback interface, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg2

from lab.needs import find_postgres

START_TIMEOUT_S = 30
# Without fsync: a killed process loses nothing by it, and these tests do not pull the plug of the machine.
SETTINGS = """
fsync = off
listen_addresses = '127.0.0.1'
unix_socket_directories = '{directory}'
port = {port}
max_connections = 60
shared_buffers = 16MB
max_wal_size = 64MB
"""


@dataclass
class PgServer:
    """One cluster. Give each test a database of its own: `server.new_database()`."""

    directory: Path
    bin_dir: Path
    port: int
    user: str
    _numbers: Iterator[int] = field(default_factory=count, repr=False)

    @property
    def data_dir(self) -> Path:
        return self.directory / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; its address."""
        name = f"test_{next(self._numbers)}"
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        return self.url(name)

    def start(self) -> None:
        self._pg_ctl("start", "-w", "-t", str(START_TIMEOUT_S), "-l", str(self.directory / "log"))

    def stop(self, mode: str = "fast") -> None:
        self._pg_ctl("stop", "-w", "-m", mode)

    def kill(self) -> None:
        """kill -9 of the postmaster: its children notice and leave."""
        pid = int((self.data_dir / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def is_running(self) -> bool:
        return self.run("pg_ctl", "status", "-D", str(self.data_dir), check=False).returncode == 0

    def run(self, tool: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the owner of the cluster; the server refuses to run as root."""
        user = None if os.geteuid() else self.user
        groups: dict[str, object] = {} if user is None else {"group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        command = [str(self.bin_dir / tool), *arguments]
        # Output goes to a file: the server would keep a pipe open for as long as it lives.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command,
                user=user,
                cwd=self.directory,
                stdout=output,
                stderr=output,
                timeout=60,
                check=False,
                **groups,  # type: ignore[call-overload]
            )
            output.seek(0)
            text = output.read()
        assert not check or done.returncode == 0, f"{' '.join(command)}:\n{text}"
        return subprocess.CompletedProcess(command, done.returncode, text)

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self.run("pg_ctl", action, "-D", str(self.data_dir), *arguments)


@contextmanager
def throw_away_server() -> Iterator[PgServer]:
    """A running server, stopped and removed afterwards."""
    home, _version = find_postgres()
    directory = Path(tempfile.mkdtemp(prefix="recoverd-pg-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    server = PgServer(directory, home / "bin", _free_port(), user)
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, user)
        server.run(
            "initdb", "-D", str(server.data_dir), "-U", user, "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"
        )
        with (server.data_dir / "postgresql.conf").open("a") as config:
            config.write(SETTINGS.format(directory=directory, port=server.port))
        server.start()
        yield server
    finally:
        if (server.data_dir / "postmaster.pid").exists():
            server.run("pg_ctl", "stop", "-D", str(server.data_dir), "-m", "immediate", check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
