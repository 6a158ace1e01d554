"""Runs with the engine pgBackRest on this machine alone: a real PostgreSQL, two real repositories, and no host but this one.

What recoverd would run on hosts over SSH runs here, with a state directory of its own.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from throw_away_postgres import PgServer, throw_away_server

from deployments.catalogue import procedure
from deployments.start import start
from recoverd.connections import Completed, Connections
from recoverd.errors import RecoverdError
from recoverd.journal import Journal, RunRow
from recoverd.settings import settings

SERVICE, STANZA = "orders-db", "orders"
SITES = {"own": 1, "second": 2}


@dataclass
class Here:
    """A cluster that archives to two repositories, and what it takes to run procedures on it.

    Attributes:
        away: Hosts that do not answer.
    """

    server: PgServer
    root: Path
    state: Path
    inventory: Path
    away: set[str]

    def run(self, name: str, **options: str) -> RunRow:
        """Request and execute a run."""
        journal = Journal.open()
        try:
            row = start(
                name, SERVICE, trigger="hand", requester="sre", reason="a test", mode="act", options=options, journal=journal
            )  # fmt: skip
            return self.execute(row)
        finally:
            journal.close()

    def execute(self, row: RunRow) -> RunRow:
        """Execute a run here, again where it has ended in the middle."""
        with suppress(RecoverdError):
            procedure(row.procedure).flow().fn(SERVICE, row.id, row.reason, row.options)
        journal = Journal.open()
        try:
            return journal.get_run(row.id)
        finally:
            journal.close()

    def sql(self, *statements: str) -> str:
        """The one value that the last statement gives, or nothing."""
        connection = psycopg2.connect(self.server.url())
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            found = cursor.fetchone() if cursor.description else None
        connection.close()
        return str(found[0]) if found else ""

    def archive_now(self) -> str:
        """End the current segment and wait until both repositories have it; its name."""
        name = self.sql("select pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + 30
        while self.sql("select coalesce(last_archived_wal, '') from pg_stat_archiver") < name:
            assert time.monotonic() < deadline, (self.server.directory / "log").read_text()[-2000:]
            time.sleep(0.05)
        return name

    def pgbackrest(self, *words: str) -> str:
        """What pgBackRest says to a command."""
        argv = ["pgbackrest", f"--config={self.root}/pgbackrest.conf", f"--stanza={STANZA}", *words]
        done = subprocess.run(
            argv, user=self.server.user, group=self.server.user, extra_groups=[], capture_output=True, text=True,
            timeout=120, check=False, cwd="/",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def work(self, row: RunRow) -> Path:
        """Where a restore stands."""
        return self.root / "restore" / SERVICE / row.id

    def ask(self, row: RunRow, sql: str) -> str:
        """What the scratch server of a restore answers."""
        done = self.server.run(
            "psql", "-XAt", "-h", str(self.work(row) / "server"), "-p", "54329", "-d", "postgres", "-c", sql
        )
        return str(done.stderr if done.stdout is None else done.stdout).strip()

    def find(self, site: str, pattern: str) -> Path:
        """A file of a repository."""
        return min((self.root / site).rglob(pattern))

    def stop_scratch(self) -> None:
        """End every server that a restore has left running."""
        for pid in (self.root / "restore").rglob("postmaster.pid"):
            self.server.run("pg_ctl", "stop", "-D", str(pid.parent), "-m", "immediate", check=False)


class Shell:
    """A host's shell, which is this machine's."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def run(self, script: str, variables: Mapping[str, str] | None = None, *, timeout_s: float) -> Completed:
        """As `Ssh.run`."""
        known = "".join(f"{name}={shlex.quote(value)}\n" for name, value in (variables or {}).items())
        text = script.replace("STATE=/var/lib/recoverd", f"STATE={self._here.state}")
        text = text.replace("ssh-keyscan -T", "echo")  # there is no sshd; who is away cannot be asked at all
        began = time.monotonic()
        done = subprocess.run(
            ["/bin/sh", "-s"], input=f"{known}main() {{\n:\n{text}\n}}\nmain </dev/null\n", capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        return Completed(done.returncode, done.stdout, done.stderr, time.monotonic() - began)

    def check(self, timeout_s: float) -> None:
        """As `Ssh.check`."""


@contextmanager
def two_repositories() -> Iterator[Here]:
    """A cluster with a table and a backup in each of two repositories."""
    with throw_away_server() as server, tempfile.TemporaryDirectory(prefix="recoverd-pgbackrest-") as place:
        root = Path(place)
        shutil.chown(root, server.user)
        root.chmod(0o711)
        here = Here(server, root, root / "state", root / "inventory", set())
        (root / "pgbackrest.conf").write_text(configuration(here))
        push = f"pgbackrest --config={root}/pgbackrest.conf --stanza={STANZA} archive-push %p"
        with (server.data_dir / "postgresql.conf").open("a") as file:
            file.write(f"archive_mode = on\narchive_command = '{push}'\n")
        server.stop()
        server.start()
        write_inventory(here)
        here.pgbackrest("stanza-create")
        (root / "space").mkdir()
        shutil.chown(root / "space", server.user)
        here.sql(
            f"create tablespace space location '{root}/space'", "create table elsewhere (words text) tablespace space"
        )
        here.sql("insert into elsewhere values ('in a tablespace')")
        here.sql("create table goods as select i, md5(i::text) as words from generate_series(1, 1000) i")
        for repo in SITES.values():
            here.pgbackrest(f"--repo={repo}", "--type=full", "backup")
        here.archive_now()
        try:
            yield here
        finally:
            here.stop_scratch()


def configuration(here: Here) -> str:
    """pgBackRest's configuration. Compressed by gzip, in which a changed byte may go unnoticed, as it is by default."""
    lines = [f"repo{repo}-path={here.root}/{site}\nrepo{repo}-retention-full=9\n" for site, repo in SITES.items()]
    paths = f"lock-path={here.root}/lock\nspool-path={here.root}/spool\nlog-level-file=off\nstart-fast=y\n"
    server = here.server
    cluster = f"pg1-path={server.data_dir}\npg1-port={server.port}\npg1-socket-path={server.directory}\n"
    return f"[global]\n{''.join(lines)}{paths}[{STANZA}]\n{cluster}"


def write_inventory(here: Here) -> None:
    """Two names for this machine: one with the service and a repository, one with the other, where restores stand."""
    server, place = here.server, here.inventory
    place.mkdir()
    hosts = "".join(
        f"    {name}: {{ansible_host: 127.0.0.{number}}}\n" for name, number in (("db-1", 1), ("backup-1", 2))
    )
    (place / "hosts.yaml").write_text(f"all:\n  hosts:\n{hosts}")
    (place / "services.yaml").write_text(
        f"""\
services:
  {SERVICE}:
    kind: postgresql
    members: [{{host: db-1}}]
    postgresql:
      data_dir: {server.data_dir}
      bin_dir: {server.bin_dir}
      user: {server.user}
      database: postgres
      control: {{kind: pg_ctl}}
    objectives: {{rto_s: 30, rpo_bytes: 1048576}}
"""
    )
    (place / "backups.yaml").write_text(
        f"""\
backups:
  {SERVICE}:
    engine: pgbackrest
    stanza: {STANZA}
    account: {server.user}
    config: {here.root}/pgbackrest.conf
    sites:
      - {{name: own, repo: 1, host: db-1}}
      - {{name: second, repo: 2, host: backup-1}}
    restore:
      drill_host: backup-1
      scratch_dir: {here.root}/restore
"""
    )


@contextmanager
def hosts_are_here(here: Here, home: Path) -> Iterator[None]:
    """Whatever goes to a host goes to this machine's shell."""

    def ssh(self: Connections, host: str, *, timeout_s: float | None = None) -> Shell:
        if host in here.away:
            from recoverd.errors import Unreachable

            raise Unreachable(f"{host} does not answer", "it is away")
        return Shell(here)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOVERD_HOME", str(home))
        patch.setenv("RECOVERD_INVENTORY", str(here.inventory))
        patch.setattr(Connections, "ssh", ssh)
        settings.cache_clear()
        yield
    settings.cache_clear()
