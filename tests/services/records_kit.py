"""Fixes of data on a throw-away PostgreSQL, as the role that deployments/sql/data-role.sql makes, and runs executed in this process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from throw_away_postgres import PgServer

from deployments.catalogue import procedure
from deployments.start import start
from gateway.cli.plans import Rehearsed, rehearse
from recoverd import approvals
from recoverd.errors import RecoverdError
from recoverd.inventory import load
from recoverd.journal import Journal, RunRow
from recoverd.person import Actor
from recoverd.settings import settings

SERVICE = "orders-db"
ROLE_SQL = Path(__file__).parents[2] / "deployments" / "sql" / "data-role.sql"
LEAD = Actor("lead", frozenset({"dba"}), frozenset({"approve"}), known=True)

HOSTS = """
all:
  hosts:
    db-1: {ansible_host: 127.0.0.1}
"""
SERVICES = """
services:
  orders-db:
    kind: postgresql
    members: [{{host: db-1}}]
    postgresql: {{data_dir: {data}, bin_dir: {bin}, port: {port}, user: {user}, control: {{kind: pg_ctl}}}}
    objectives: {{rto_s: 30}}
"""
PEOPLE = """
roles:
  dba: {may: [run, approve]}
people:
  lead: {roles: [dba]}
  sre: {roles: [dba]}
"""
DATA = """
data:
  orders-db:
    database: {database}
{more}
"""


@dataclass
class Data:
    """A database with a recoverd that may mend its records.

    Attributes:
        more: Settings that are added to data.yaml, below the service.
    """

    server: PgServer
    url: str
    home: Path
    journal: Journal
    more: dict[str, str] = field(default_factory=lambda: {"lock_timeout_ms": "300"})

    @property
    def database(self) -> str:
        return self.url.rpartition("/")[2]

    def sql(self, *statements: str, role: str = "") -> list[Any]:
        """Run statements as the owner of everything, or as a role; the rows of the last."""
        url = self.url.replace(f"//{self.server.user}@", f"//{role}@") if role else self.url
        connection = psycopg2.connect(url)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for one in statements:
                    cursor.execute(one)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def value(self, statement: str) -> Any:
        return self.sql(statement)[0][0]

    def grant(self, *tables: str) -> None:
        for table in tables:
            self.sql(f"grant select, update on {table} to recoverd_data")

    def configure(self, *lines: str) -> None:
        """Set keys in data.yaml, below the service: `key: value`."""
        self.more |= dict(line.split(": ", 1) for line in lines)
        text = DATA.format(
            database=self.database, more="\n".join(f"    {key}: {value}" for key, value in self.more.items())
        )
        (self.home / "inventory" / "data.yaml").write_text(text)

    def plan(self, **options: Any) -> Rehearsed:
        """What `recoverd plan fix-record` does."""
        known = procedure("fix-record")
        known.check_options(options)
        return rehearse(known.name, known.entrypoint, SERVICE, load(self.home / "inventory"), options)

    def planned(self, **options: Any) -> str:
        """The hash of a plan that is made now."""
        found = self.plan(**options)
        if found.error is not None:
            raise found.error
        return next(step.key for step in found.steps if step.kind == "plan")

    def request(self, by: str = "sre", name: str = "fix-record", **options: Any) -> RunRow:
        return start(
            name, SERVICE, trigger="hand", requester=by, reason="a test", options=options, journal=self.journal
        )

    def execute(self, run: RunRow) -> RunRow:
        """Execute it here; whatever it raises is in the row."""
        with suppress(RecoverdError):
            procedure(run.procedure).flow().fn(run.target, run.id, run.reason, run.options)
        return self.journal.get_run(run.id)

    def approve(self, run: RunRow, who: Actor = LEAD) -> None:
        (waiting,) = self.journal.list_approvals(run=run.id, state="waiting")
        approvals.decide(self.journal, run.id, who, waiting.plan_hash, "approve")

    def run(self, **options: Any) -> RunRow:
        """Request, execute up to the gate, have another person approve, and execute to the end."""
        row = self.execute(self.request(**options))
        if row.state != "waiting":
            return row
        self.approve(row)
        return self.execute(row)

    def facts(self, run: RunRow) -> dict[str, Any]:
        """What the run accounted for."""
        return dict(next(entry.body for entry in self.journal.entries(run=run.id, kinds=["fix.done"])))


@contextmanager
def data_here(server: PgServer, home: Path) -> Iterator[Data]:
    """A new database with the role in it, and a recoverd whose home is `home`."""
    url, inventory = server.new_database(), home / "inventory"
    inventory.mkdir(parents=True)
    services = SERVICES.format(data=server.data_dir, bin=server.bin_dir, port=server.port, user=server.user)
    for name, text in {"hosts": HOSTS, "services": services, "people": PEOPLE}.items():
        (inventory / f"{name}.yaml").write_text(text)
    make_role(server, url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOVERD_HOME", str(home))
        patch.setenv("RECOVERD_INVENTORY", str(inventory))
        settings.cache_clear()
        journal = Journal.open(f"sqlite:///{home}/journal.db")
        made = Data(server, url, home, journal)
        made.configure()
        try:
            yield made
        finally:
            journal.close()
    settings.cache_clear()


def make_role(server: PgServer, url: str) -> None:
    """As the documents say; the role is one for the whole cluster, so that what an earlier test left of it is taken away."""
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("select datname from pg_database where datname like 'test%'")
        names = [row[0] for row in cursor.fetchall()]
        cursor.execute("select from pg_roles where rolname = 'recoverd_data'")
        there = bool(cursor.fetchall())
    for name in names if there else ():
        inner = psycopg2.connect(server.url(name))
        inner.autocommit = True
        with inner.cursor() as cursor:
            cursor.execute("drop owned by recoverd_data cascade")
        inner.close()
    if there:
        with connection.cursor() as cursor:
            cursor.execute("drop role recoverd_data")
    connection.close()
    argv = [str(server.bin_dir / "psql"), "-X", "-q", "-d", url, "-v", "password=pw", "-f", str(ROLE_SQL)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
