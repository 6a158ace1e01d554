"""A client that never stops writing, and notes in a ledger what it was told. Runs on app-1.

Each row is a commit of its own. The ledger has a line for each: acknowledged, refused by the server, or unknown (the
connection was lost or no answer came in time: the row may be there or not, and only the database knows).
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 writes its class small

from lab.layout import DATABASE
from lab.ledger import TABLE
from lab.sql import ask, connected
from recoverd.errors import TimedOut, Unreachable

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    writer text NOT NULL, id bigint NOT NULL, payload text NOT NULL, sent_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (writer, id));
CREATE TABLE IF NOT EXISTS {TABLE}_churn (item int PRIMARY KEY, amount int NOT NULL)
"""
PAYLOAD = "x" * 64


class Writing:
    """One run of the writer.

    Args:
        hosts: Addresses to try in turn: the virtual address, or all members; a read-only server is left again.
        ledger: The file to append to.
        deadline_s: For a connection, and for each statement.
        interval_s: Pause between rows.
        churn: Also update and delete rows of a second table, which the ledger does not follow.
    """

    def __init__(
        self, hosts: Sequence[str], password: str, ledger: Path, *, deadline_s: float, interval_s: float, churn: bool
    ) -> None:
        self.hosts = list(hosts)
        self.password = password
        self.deadline_s = deadline_s
        self.interval_s = interval_s
        self.churn = churn
        self.mark = secrets.token_hex(8)
        self.next_id = 1
        self.is_over = False
        self._ledger = os.open(ledger, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def run(self) -> None:
        """Write until `is_over`: connect, write until the connection fails, try the next address."""
        self.note(writer=self.mark, started=time.time())
        while not self.is_over:
            host = self.hosts[0]
            self.hosts = [*self.hosts[1:], host]
            dsn = psycopg2.extensions.make_dsn(
                host=host, user="app", dbname=DATABASE, password=self.password, application_name="lab-writer"
            )
            with ExitStack() as stack:
                try:
                    connection = stack.enter_context(connected(dsn, timeout_s=self.deadline_s))
                    self.write_on(connection)
                except (Unreachable, TimedOut, psycopg2.Error):
                    time.sleep(0.02)  # the next address, or the same again; what it cost is in the ledger
        os.close(self._ledger)

    def write_on(self, connection: Connection) -> None:
        """Write rows on one connection until it fails; raises what ended it."""
        if ask(connection, "SELECT pg_is_in_recovery()", timeout_s=self.deadline_s)[0][0]:
            raise Unreachable("this server is a standby")
        if self.next_id == 1:
            ask(connection, SCHEMA, timeout_s=10)
        while not self.is_over:
            self.write_row(connection)
            if self.churn and self.next_id % 5 == 0:
                self.change(connection)
            time.sleep(self.interval_s)

    def write_row(self, connection: Connection) -> None:
        """One row, one commit, one line in the ledger."""
        number, self.next_id = self.next_id, self.next_id + 1
        statement = f"INSERT INTO {TABLE} (writer, id, payload) VALUES (%s, %s, %s)"  # noqa: S608 - our own constant
        try:
            ask(connection, statement, (self.mark, number, PAYLOAD), timeout_s=self.deadline_s)
        except (Unreachable, TimedOut) as error:
            self.note(id=number, unknown=time.time(), why=error.message)
            raise
        except psycopg2.Error as error:
            # A server that is going down may say so after the commit: only other errors are a definite no.
            outcome = "unknown" if (error.pgcode or "57P").startswith("57P") else "refused"
            self.note(id=number, why=str(error).strip().splitlines()[0], **{outcome: time.time()})
            raise
        self.note(id=number, acknowledged=time.time())

    def change(self, connection: Connection) -> None:
        """An insert or update, and now and then a delete, in the second table."""
        item = self.next_id // 5 % 50
        upsert = "INSERT INTO {0} VALUES (%s, 1) ON CONFLICT (item) DO UPDATE SET amount = {0}.amount + 1"
        delete = "DELETE FROM {0} WHERE item = %s"
        statement = (delete if item % 7 == 0 else upsert).format(f"{TABLE}_churn")
        ask(connection, statement, (item,), timeout_s=self.deadline_s)

    def note(self, **facts: object) -> None:
        """Append a line to the ledger, in one write."""
        os.write(self._ledger, json.dumps(facts).encode() + b"\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: `python -m lab.writer --host ADDRESS --password-file FILE --ledger FILE`; SIGTERM ends it."""
    parser = argparse.ArgumentParser(prog="lab.writer", description="write without end, keep a ledger")
    parser.add_argument("--host", action="append", required=True, help="address to write to; several are tried in turn")
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--deadline-s", type=float, default=0.5)
    parser.add_argument("--interval-s", type=float, default=0.01)
    parser.add_argument("--churn", action="store_true")
    given = parser.parse_args(arguments)
    writing = Writing(
        given.host, given.password_file.read_text().strip(), given.ledger,
        deadline_s=given.deadline_s, interval_s=given.interval_s, churn=given.churn,
    )  # fmt: skip

    def end(_number: int, _frame: object) -> None:
        writing.is_over = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    writing.run()


if __name__ == "__main__":
    main()
