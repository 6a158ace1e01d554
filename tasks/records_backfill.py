"""Loading records that were kept by hand: rehearsed line by line and rolled back, then loaded in one transaction, once."""

from __future__ import annotations

import hashlib
from itertools import islice
from typing import Any

from recoverd.connections import Sql
from recoverd.errors import Look, Refused, Stale
from recoverd.inventory import DataRules
from recoverd.records.backfill import Paper, read_paper
from recoverd.records.names import quoted
from recoverd.step import Effect, act, observe
from recoverd.words import counted
from recoverd.world import world
from tasks.records_drafts import listed
from tasks.records_session import primary_session, server_words, transaction
from tasks.records_tables import Table, look_at_table
from tasks.sql import statement
from tasks.views import Facts

LIMIT_S = 24 * 3600.0
MOST_LINES = 200_000
_AT_ONCE = 5000
_LOADS = """
create table if not exists recoverd.loads
    (run text primary key, sha256 text not null, rows bigint not null, at timestamptz default now())
"""
_LOADED = "select rows, sha256 from recoverd.loads where run = %s"


class Line(Facts):
    """A line that is not loaded, and why."""

    line: int
    why: str


class Ahead(Facts):
    """What loading a file comes to.

    Attributes:
        accepted: Lines that go into the table.
        there: Lines whose record is there already, the same.
        rejected: Lines that cannot be loaded as they are.
        sha256: Of the file.
    """

    table: str
    columns: tuple[str, ...]
    accepted: int
    there: int
    rejected: tuple[Line, ...]
    sha256: str

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = f"{counted(self.accepted, 'record')} to load into {self.table}, {self.there} there already"
        shown = "; ".join(f"line {one.line}: {one.why}" for one in self.rejected[:3])
        return f"{words}, {len(self.rejected)} rejected" + (f" ({shown})" if shown else "")


class _Undone(Exception):
    """Ends the transaction of a rehearsal without a commit."""


@observe("rehearse loading what was kept by hand into {service}", time_limit_s=LIMIT_S)
def look_ahead(service: str) -> Ahead:
    """Load every line, with all constraints and triggers in force, and roll back.

    Raises:
        Invalid: The file cannot be read, or names columns that there are not.
        Refused: The role may not insert.
    """
    rules, paper = world().inventory.data_of(service), read_paper(world().run.options)
    session = primary_session(service)
    table, columns = _place(session, paper)
    found: list[Ahead] = []
    try:
        with transaction(session, "begin", timeout_s=float(rules.plan_timeout_s), path=f"{table.path}, public"):
            found.append(_load(session, rules, paper, table, columns))
            raise _Undone
    except _Undone:
        return found[0]
    except Look as error:
        raise Refused(
            f"nothing can be loaded: {server_words(error)}", "see the rights of the role, and the table"
        ) from error


def _is_loaded(service: str, sha256: str, rows: int) -> Effect | None:
    session = primary_session(service)
    if not session.value("select to_regclass('recoverd.loads') is not null", timeout_s=10.0):
        return None
    done = session.rows(_LOADED, (world().run.id,), timeout_s=10.0)
    return Effect(f"{counted(int(done[0]['rows']), 'record')} loaded", {"rows": done[0]["rows"]}) if done else None


@act("load {rows} records that were kept by hand into {service}", ask=_is_loaded, time_limit_s=LIMIT_S, retries=1)
def load(service: str, sha256: str, rows: int) -> None:
    """Load the same file once more, for good: all of it in one transaction, in which it is also written down.

    Raises:
        Stale: The file, or what would come of it, is another one than was approved; nothing was loaded.
    """
    rules, paper = world().inventory.data_of(service), read_paper(world().run.options)
    session = primary_session(service)
    session.rows(_LOADS, timeout_s=10.0)
    table, columns = _place(session, paper)
    with transaction(session, "begin", timeout_s=float(rules.plan_timeout_s), path=f"{table.path}, public"):
        found = _load(session, rules, paper, table, columns)
        if (found.sha256, found.accepted) != (sha256, rows):
            raise Stale(f"what would be loaded is not what was approved: {found.summary}", "start a new run")
        facts = (world().run.id, sha256, rows)
        session.rows("insert into recoverd.loads (run, sha256, rows) values (%s, %s, %s)", facts, timeout_s=30.0)


def _place(session: Sql, paper: Paper) -> tuple[Table, tuple[str, ...]]:
    table, columns = look_at_table(session, paper.table), paper.header()
    for name in (*columns, *(keys := paper.keys or table.key)):
        if table.column(name).generated:
            raise Refused(f"{name} is made by the server itself", "leave the column out of the file")
    if missing := [name for name in keys if name not in columns]:
        raise Refused(
            f"the file does not say {', '.join(missing)}, by which a record is known", "name other columns with --key"
        )
    return table, columns


def _load(session: Sql, rules: DataRules, paper: Paper, table: Table, columns: tuple[str, ...]) -> Ahead:
    """Within a transaction of the caller's."""
    limit, digest = float(rules.plan_timeout_s), hashlib.sha256()
    cells = ", ".join(f"c{place} text" for place, _ in enumerate(columns))
    session.rows(
        f"create temporary table recoverd_paper (line bigint primary key, {cells}) on commit drop", timeout_s=limit
    )
    lines, total = paper.lines(columns, digest), 0
    while stretch := list(islice(lines, _AT_ONCE)):
        total += len(stretch)
        if total > MOST_LINES:
            raise Refused(f"{paper.path.name} has more than {MOST_LINES} lines", "load it in parts")
        values: list[list[Any]] = [[line for line, _ in stretch]]
        values += [[row[place] for _, row in stretch] for place, _ in enumerate(columns)]
        kinds = ", ".join(["%s::bigint[]", *("%s::text[]" for _ in columns)])
        session.rows(f"insert into pg_temp.recoverd_paper select * from unnest({kinds})", values, timeout_s=limit)
    session.rows("set constraints all immediate", timeout_s=limit)
    session.rows(_function(paper, table, columns), timeout_s=limit)
    rows = session.rows(
        "select line, pg_temp.recoverd_load(line) as why from (select line from pg_temp.recoverd_paper order by line) p",
        timeout_s=limit,
    )
    session.rows("drop function pg_temp.recoverd_load(bigint)", timeout_s=limit)
    rejected = tuple(Line(line=row["line"], why=row["why"]) for row in rows if row["why"] not in {"", "there"})
    there = sum(row["why"] == "there" for row in rows)
    return Ahead(
        table=f"{table.schema_name}.{table.name}", columns=columns, accepted=len(rows) - there - len(rejected), there=there,
        rejected=rejected, sha256=digest.hexdigest(),
    )  # fmt: skip


def _function(paper: Paper, table: Table, columns: tuple[str, ...]) -> str:
    cells = {name: f"p.c{place}::{table.column(name).base}" for place, name in enumerate(columns)}
    keys = paper.keys or table.key
    return statement(
        "records_loading",
        table=table.sql,
        columns=listed(columns),
        values=", ".join(cells[name] for name in columns),
        same_key=" and ".join(f"t.{quoted(name)} = {cells[name]}" for name in keys),
        same_all=" and ".join(
            f"(t.{quoted(name)} = {cells[name]})"
            if name in keys
            else f"t.{quoted(name)}::text is not distinct from ({cells[name]})::text"
            for name in columns
        ),
    )
