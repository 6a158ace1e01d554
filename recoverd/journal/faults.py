"""Database failures told as what to do next: try again, or look. Nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from recoverd.errors import Busy, Look, RecoverdError, TimedOut, TryAgain, Unreachable
from recoverd.redact import redact

_NOTHING = "nothing of this was recorded"

# PostgreSQL's classes of error (first two or all five characters of SQLSTATE).
_PG_FAULTS: tuple[tuple[str, type[RecoverdError], str, str], ...] = (
    ("53100", TryAgain, "the disk of the journal's database is full", "free space on the database's host, then repeat"),
    ("53", TryAgain, "the journal's database is out of resources", "see its log, then repeat"),
    ("55P03", Busy, "the journal is locked by another process", "repeat; see pg_stat_activity when it stays"),
    ("57014", TimedOut, "the journal's database did not finish in time", "repeat; see pg_stat_activity when it stays"),
    ("40", Busy, "another process changed the journal at the same instant", "repeat"),
    ("25P03", TimedOut, "the journal ended a transaction that was idle for too long", "repeat"),
    ("25006", Unreachable, "the journal's database is read-only", "point the journal's address at the primary"),
    ("08", Unreachable, "the connection to the journal's database broke", "repeat once it answers"),
    ("57P", Unreachable, "the journal's database is shutting down or starting", "repeat once it answers"),
    ("XX", Look, "the journal's database reports damage", "see its log; restore a backup before more is written"),
)

_SQLITE_FAULTS: tuple[tuple[str, type[RecoverdError], str, str], ...] = (
    ("locked", Busy, "the journal is locked by another process", "repeat; look for a stopped recoverd process"),
    ("full", TryAgain, "the disk of the journal is full", "free space there, then repeat"),
    ("unable to open", Unreachable, "the journal's file cannot be opened", "check that it exists and who owns it"),
    ("readonly", Unreachable, "the journal's file is read-only for this user", "run as the user who owns it"),
    ("disk i/o", Look, "the journal's disk reports errors", "see the kernel's log, then run recoverd journal verify"),
    ("malformed", Look, "the journal's file is damaged", "keep a copy; restore it, then run recoverd journal verify"),
    ("not a database", Look, "the journal's file is not a journal", "check the journal's address; keep the file"),
)


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn failures of the database at `where` (an address without password) into errors of recoverd."""
    try:
        yield
    except PoolTimeout as error:
        raise Busy(f"too many threads use the journal {where} at once", "repeat") from error
    except DBAPIError as error:
        fault = fault_of(error, where)
        if fault is None:
            raise
        raise fault from error


def fault_of(error: DBAPIError, where: str) -> RecoverdError | None:
    """The error of recoverd that `error` stands for; None for a defect in a statement of ours."""
    code = getattr(error.orig, "pgcode", None)
    text = str(error.orig).lower()
    for prefix, kind, message, hint in _PG_FAULTS:
        if code and code.startswith(prefix):
            return _fault(kind, message, hint, where)
    if is_lost(error):
        said = redact(str(error.orig).strip().partition("\n")[0])
        return Unreachable(
            f"the journal's database does not answer: {_NOTHING} ({where})", f"repeat once it answers; now: {said}"
        )
    for sign, kind, message, hint in _SQLITE_FAULTS:
        if not code and sign in text:
            return _fault(kind, message, hint, where)
    return None


def is_lost(error: DBAPIError) -> bool:
    """Whether the connection itself is gone, so that a commit may or may not have happened."""
    if error.connection_invalidated:
        return True
    module = type(error.orig).__module__
    return module.startswith("psycopg2") and getattr(error.orig, "pgcode", None) is None and _operational(error)


def _fault(kind: type[RecoverdError], message: str, hint: str, where: str) -> RecoverdError:
    promise = "" if issubclass(kind, Look) else f": {_NOTHING}"  # where the disk is broken, nothing can be promised
    return kind(f"{message}{promise} ({where})", hint)


def _operational(error: DBAPIError) -> bool:
    return type(error.orig).__name__ in ("OperationalError", "InterfaceError")
