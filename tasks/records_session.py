"""Sessions for mending records: on the one primary, in the database that is meant, each transaction whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import psycopg2
import tenacity

from recoverd.connections import Sql
from recoverd.errors import RecoverdError, Refused, TryAgain, Unreachable, Unsafe
from recoverd.records.names import literal
from recoverd.world import world
from tasks.postgres import LOGIN_TIMEOUT_S, QUERY_TIMEOUT_S
from tasks.together import together

IN_THE_WAY = frozenset({"55P03", "40P01", "40001", "57014"})
"""A lock that was not had in time, a deadlock, a serialization failure, a statement that took too long: nothing was done."""
READ_ONLY = frozenset({"25006"})
WAIT_FOR_PRIMARY_S = 300.0
_ROLE = "select case when pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' then 'reads' else 'writes' end"
_WHERE = "select (select system_identifier::text from pg_control_system()) as system, current_database() as database"


def primary_session(service: str) -> Sql:
    """The session with the server that takes writes.

    Raises:
        Unreachable: None answers that does.
        Unsafe: Several do.
    """
    here = world()
    wanted = here.inventory.service(service)
    answers = together({host: partial(_role, service, host) for host in wanted.hosts})
    writers = [host for host, answer in answers.items() if answer == "writes"]
    if len(writers) > 1:
        raise Unsafe(
            f"{' and '.join(writers)} of {service} take writes at once", f"recoverd check {service}; mend that first"
        )
    if not writers:
        said = "; ".join(f"{host}: {answer}" for host, answer in answers.items())
        raise Unreachable(f"no server of {service} takes writes ({said})", f"recoverd check {service}")
    return here.connections.data(wanted, writers[0], timeout_s=LOGIN_TIMEOUT_S)


def await_primary(service: str, system: str, database: str) -> Sql:
    """The same, waited for while a failover goes on, and proven to be where the plan was made. Raises as that and `check_place`."""
    waiting = tenacity.Retrying(
        stop=tenacity.stop_after_delay(WAIT_FOR_PRIMARY_S),
        wait=tenacity.wait_fixed(0.5),
        retry=tenacity.retry_if_exception_type(TryAgain),
        reraise=True,
    )
    session: Sql = waiting(primary_session, service)
    check_place(session, system, database)
    return session


def place_of(session: Sql) -> tuple[str, str]:
    """Which cluster and which database a session is in."""
    row = session.rows(_WHERE, timeout_s=QUERY_TIMEOUT_S)[0]
    return str(row["system"]), str(row["database"])


def check_place(session: Sql, system: str, database: str) -> None:
    """Raise Refused where a session is not in the cluster and the database of a plan."""
    found = place_of(session)
    if found != (system, database):
        raise Refused(
            f"the plan is for database {database} of cluster {system}, and this is {found[0]}, {found[1]}",
            "a restored or cloned server is another one: make a plan there",
        )


@contextlib.contextmanager
def transaction(session: Sql, begin: str, *, timeout_s: float, path: str = "", **settings: str | int) -> Iterator[None]:
    """A transaction that ends with a commit, or with nothing.

    Args:
        session: On which it is.
        begin: How it begins, such as `begin read only`.
        timeout_s: Limit of each statement in it, kept by the server too.
        path: Its search path, quoted.
        settings: Of the server, for this transaction.
    """
    local = {"statement_timeout": int(timeout_s * 1000), "idle_in_transaction_session_timeout": 60_000, **settings}
    lines = [
        f"set local {name} = {value if isinstance(value, int) else literal(value)}" for name, value in local.items()
    ]
    if path:
        lines.append(f"set local search_path = {path}")
    session.rows("; ".join([begin, *lines]), timeout_s=QUERY_TIMEOUT_S)
    try:
        yield
    except BaseException:
        with contextlib.suppress(
            RecoverdError
        ):  # what broke is what is raised; a lost session has rolled back by itself
            session.rows("rollback", timeout_s=QUERY_TIMEOUT_S)
        raise
    session.rows("commit", timeout_s=timeout_s)


def sqlstate(error: BaseException) -> str:
    """The server's code for an error; empty where it said nothing."""
    cause = error.__cause__
    return str(cause.pgcode or "") if isinstance(cause, psycopg2.Error) else ""


def server_words(error: RecoverdError) -> str:
    """What the server itself said, on one line."""
    cause = error.__cause__
    words = str(cause).strip().splitlines() if isinstance(cause, psycopg2.Error) else []
    return words[0].strip() if words else error.message


def _role(service: str, host: str) -> str:
    here = world()
    try:
        session = here.connections.data(here.inventory.service(service), host, timeout_s=LOGIN_TIMEOUT_S)
        return str(session.value(_ROLE, timeout_s=QUERY_TIMEOUT_S))
    except Refused:
        raise
    except RecoverdError as error:
        return error.message
