"""Plans of fixes: made from one snapshot, kept in the database that is mended, and found again by their hash."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from recoverd.connections import Sql
from recoverd.errors import Invalid, Look, RecoverdError, Refused
from recoverd.inventory import DataRules
from recoverd.records.expressions import Assignment, Expression
from recoverd.records.plan import Manifest
from recoverd.records.rules import mending
from recoverd.records.wish import Wish
from recoverd.words import counted
from recoverd.world import world
from tasks.records_corrections import FromCsv
from tasks.records_drafts import Draft, Filled, Filling, create, digest, listed, settle
from tasks.records_kept import Kept
from tasks.records_reversal import FromFix
from tasks.records_session import place_of, primary_session, server_words, transaction
from tasks.records_tables import Table, check_columns, look_at_table, look_for_warnings
from tasks.sql import statement

SNAPSHOT = "begin isolation level repeatable read"
KEPT_DAYS = 7
_VOLATILE = (
    "select distinct proname::text as name from pg_catalog.pg_proc where provolatile = 'v' and proname = any(%s)"
)
_OLD = "select name from recoverd.fixes where state = 'planned' and made_at < now() - make_interval(days => %s) for update skip locked"


@dataclass(frozen=True)
class FromSet:
    """Rows that a condition is true of get new values."""

    table: Table
    assignments: tuple[Assignment, ...]
    condition: Expression
    source: dict[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """That are assigned."""
        return tuple(one.column for one in self.assignments)

    def preview(self, session: Sql, limit_s: float) -> None:
        """See that nothing volatile is called, and that everything can be worked out without writing."""
        check_functions(session, *(one.value for one in self.assignments), self.condition)
        parts = ", ".join(f"count(({one.value.text}\n))" for one in self.assignments)
        session.rows(f"select {parts} from {self.table.sql} where ({self.condition.text}\n)", timeout_s=limit_s)

    def fill(self, session: Sql, draft: Draft, limit_s: float) -> Filled:
        """Casts are those of an assignment: what does not fit a column is an error, never cut."""
        key = listed(self.table.key)
        values = ", ".join(f"({one.value.text}\n)" for one in self.assignments)
        more = ", xmin" if draft.strict else ""
        sql = (
            f"with made as (insert into {draft.plan} select row_number() over (order by {key}), {key}, {listed(self.columns)}, "
            f"{values}{more} from {self.table.sql} where ({self.condition.text}\n) returning 1) select count(*) from made"
        )
        return Filled(int(session.value(sql, timeout_s=limit_s)), self.source)


def make_plan(service: str, wish: Wish, owner: str, by: str) -> Kept:
    """Make a plan. It changes nothing but schema `recoverd`.

    Args:
        service: Whose data.
        wish: What is asked for.
        owner: What the plan is for: a run, which has one plan whatever happens to it.
        by: Who asks.

    Raises:
        Invalid: It cannot be meant so.
        Refused: A rule says no, or the number of rows is another one than was expected.
    """
    rules = world().inventory.data_of(service)
    session, limit = primary_session(service), float(rules.plan_timeout_s)
    _prepare(session)
    with _refusing():
        filling = _filling(service, session, wish, rules)
        check_columns(filling.table, filling.columns)
        with transaction(session, f"{SNAPSHOT} read only", timeout_s=limit, path=filling.table.path):
            filling.preview(session, limit)
        with transaction(session, SNAPSHOT, timeout_s=limit, path=filling.table.path):
            manifest = _made(session, filling, wish, rules, service, by)
            session.rows(
                "insert into recoverd.fixes (name, hash, manifest, owner) values (%s, %s, %s, %s)",
                (manifest.name, manifest.hash, manifest.text, owner), timeout_s=limit,
            )  # fmt: skip
    return Kept(manifest=manifest, hash=manifest.hash, state="planned")


def _made(session: Sql, filling: Filling, wish: Wish, rules: DataRules, service: str, by: str) -> Manifest:
    """The plan table with its rows, and what is said of it. Within a transaction of the caller's."""
    limit, table, columns = float(rules.plan_timeout_s), filling.table, filling.columns
    (system, database), warnings = place_of(session), look_for_warnings(session, table, columns)
    draft = Draft(f"fix_{secrets.token_hex(8)}", table, columns, wish.strict)
    create(session, draft, rules)
    filled = filling.fill(session, draft, limit)
    rows = settle(session, draft, rules)
    _check_rows(wish, filled, rows)
    return Manifest(
        name=draft.name, service=service, system=system, database=database, schema_name=table.schema_name, table=table.name,
        key=table.key, columns=columns, types=table.types((*table.key, *columns)), rows=rows, matched=filled.matched,
        digest=digest(session, draft.plan, limit), batch_rows=wish.batch_rows or rules.batch_rows, strict=wish.strict,
        source=filled.source, left=filled.left, warnings=(*warnings, *filled.notes), by=by,
    )  # fmt: skip


def check_functions(session: Sql, *expressions: Expression) -> None:
    """Raise Refused where a function is called whose answer changes by itself, or that does something."""
    names = sorted({name for one in expressions for name in one.functions})
    rows = session.rows(_VOLATILE, (names,), timeout_s=20.0) if names else []
    if rows:
        called = ", ".join(str(row["name"]) for row in rows)
        raise Refused(
            f"{called} is volatile: it may do something, or say something else the next time", "write the value itself"
        )


def _filling(service: str, session: Sql, wish: Wish, rules: DataRules) -> Filling:
    if wish.way == "from_csv":
        return FromCsv.read(session, wish)
    if wish.way == "undo":
        return FromFix.of_run(service, session, wish.undo)
    if wish.way == "rule":
        rule = rules.rule(wish.rule)
        assignments, condition = mending(rule)
        return FromSet(look_at_table(session, str(rule.table)), assignments, condition, {"rule": rule.name})
    source = {"set": wish.set, "where": wish.where, **({"takedown": wish.takedown} if wish.takedown else {})}
    return FromSet(look_at_table(session, wish.table), wish.assignments, wish.condition, source)


def _check_rows(wish: Wish, filled: Filled, rows: int) -> None:
    if wish.expect_rows is not None and filled.matched != wish.expect_rows:
        raise Refused(
            f"it is about {counted(filled.matched, 'row')}, and {wish.expect_rows} were expected",
            "look at the condition, and at who writes; then plan with the right number",
        )
    if wish.most_rows is not None and filled.matched > wish.most_rows:
        raise Refused(
            f"it is about {counted(filled.matched, 'row')}, and {wish.takedown} may hide {wish.most_rows} at once",
            "narrow the condition, or raise most_rows in data.yaml",
        )
    if rows == 0:
        changed = f"; {counted(filled.left, 'row')} changed since" if filled.left else ""
        said = f"{counted(filled.matched, 'row')} have the right value already" if filled.matched else "no row is meant"
        raise Refused(f"there is nothing to mend: {said}{changed}", "look at the condition")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """While a plan is made nothing is changed: what the server says no to is a refusal."""
    try:
        yield
    except Look as error:
        raise Invalid(f"the server says no: {server_words(error)}", "correct what was asked for") from error


def _prepare(session: Sql) -> None:
    """Make what plans are kept in where it is not there yet, and drop plans that nobody wanted in time."""
    try:
        if not session.value("select to_regclass('recoverd.fix_conflicts') is not null", timeout_s=5.0):
            session.rows(statement("records_schema"), timeout_s=10.0)
    except RecoverdError as error:
        raise Refused(
            f"no plan can be kept: {server_words(error)}",
            "run deployments/sql/data-role.sql in the database of the records",
        ) from error
    with transaction(session, "begin", timeout_s=30.0):
        for row in session.rows(_OLD, (KEPT_DAYS,), timeout_s=30.0):
            session.rows(f'drop table if exists recoverd."{row["name"]}"', timeout_s=30.0)
            session.rows("delete from recoverd.fixes where name = %s", (row["name"],), timeout_s=30.0)
