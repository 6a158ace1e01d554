"""What runs during the demo, and how all of it is taken down again, or left for the user to look around."""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its classes small
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from typing_extensions import Self

from lab.alertmanager import Alertmanager
from lab.background import Writer
from lab.demo.screen import Screen
from lab.demo.serving import PROGRAM, Recoverd
from lab.lab import Lab, up
from lab.layout import DATABASE, base_dir
from lab.ledger import Ledger, read_ledger
from lab.prober import Prober
from recoverd.errors import Unreachable


class Stage:
    """The lab and everything that runs beside it. `with` takes all of it down, unless `keep()` was called.

    Args:
        name: Of the lab.
        sync: Commits wait for a standby.
        sentinel: recoverd watches by itself too; otherwise it hears of the fault by the alert alone.
        lose: The primary is cut off from its standbys before the fault, so that there is a loss to be seen.
        backups: The lab has the other sites of a backup too.
    """

    lab: Lab
    recoverd: Recoverd
    writer: Writer

    def __init__(self, name: str, screen: Screen, *, sync: bool, sentinel: bool, lose: bool, backups: bool) -> None:
        self.name, self.screen, self.sync, self.sentinel, self.lose = name, screen, sync, sentinel, lose
        self.backups = backups
        self._stack = ExitStack()

    def raise_lab(self) -> None:
        """The hosts and their PostgreSQL cluster."""
        self.lab = up(
            self.name, sync=self.sync, backups=self.backups, say=self.screen.say
        )  # takes its own remains away when it fails
        self._stack.callback(Lab.remove, self.name)

    def start(self) -> None:
        """recoverd, Alertmanager, the prober and the client that writes. recoverd is not ready yet."""
        self.recoverd = Recoverd(self.lab, sentinel=self.sentinel)
        self._stack.callback(self.recoverd.stop)
        alertmanager = Alertmanager(self.lab.layout, f"{self.recoverd.url}/alerts/alertmanager")
        self._stack.enter_context(alertmanager)
        self._stack.enter_context(Prober(self.lab.layout, alertmanager.url))
        self.alertmanager_url = alertmanager.url

    def start_writer(self, ledger: str = "ledger.jsonl") -> None:
        """The client on app-1, with a ledger of its own."""
        self.writer = Writer(self.lab.layout, self.lab.state / ledger)
        self._stack.enter_context(self.writer)

    def ledger(self) -> Ledger:
        """What the client wrote down so far."""
        return read_ledger(self.writer.ledger) if self.writer.ledger.exists() else Ledger("", {}, (), ())

    def connect(self) -> Connection:
        """A connection to the service as its users have it: by its address."""
        layout = self.lab.layout
        password = layout.secret("app").read_text().strip()
        return psycopg2.connect(
            host=layout.virtual_address, user="app", password=password, dbname=DATABASE, connect_timeout=5,
            options="-c statement_timeout=30s",
        )  # fmt: skip

    @contextmanager
    def cursor(self) -> Iterator[Cursor]:
        """A transaction on the service, committed at the end. Raises Unreachable."""
        try:
            connection = self.connect()
            try:
                with connection, connection.cursor() as cursor:
                    yield cursor
            finally:
                connection.close()
        except psycopg2.OperationalError as error:
            raise Unreachable(f"the service does not answer: {error}".strip(), "recoverd lab status") from error

    def keep(self) -> None:
        """Leave everything running but the client, which would fill the disk in time."""
        self.writer.stop()
        self._stack.pop_all()

    def write_environment(self) -> Path:
        """A file for `. FILE`, after which `recoverd …` means this installation."""
        path = self.lab.state / "env"
        lines = [f"export {name}={shlex.quote(value)}" for name, value in self.recoverd.settings.items()]
        if "RECOVERD_LAB_DIR" in os.environ:
            lines.append(f"export RECOVERD_LAB_DIR={shlex.quote(os.environ['RECOVERD_LAB_DIR'])}")
        lines.append(f"export RECOVERD_LAB={self.name} PATH={shlex.quote(str(PROGRAM.parent))}:$PATH")
        path.write_text("\n".join(lines) + "\n")
        return path

    def save_logs(self) -> Path:
        """Copies of the logs, the ledger and the journal that outlive the lab. Returns their directory."""
        directory, lab = Path(tempfile.mkdtemp(prefix="recoverd-demo-")), base_dir() / self.name
        for pattern in ("*.log", "*.jsonl", "alertmanager/*.log", "recoverd/*.log", "recoverd/prefect/*.log"):
            for file in lab.glob(pattern):
                shutil.copy(file, directory / file.relative_to(lab).as_posix().replace("/", "-"))
        journal = lab / "recoverd" / "journal.db"
        if journal.exists():  # a copy by SQLite itself: recoverd may be writing
            with closing(sqlite3.connect(journal)) as one, closing(sqlite3.connect(directory / journal.name)) as other:
                one.backup(other)
        return directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()
