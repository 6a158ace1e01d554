"""A plan table while it is being filled: its columns, its rows, and what of them is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from recoverd.connections import Sql
from recoverd.errors import Look, Refused
from recoverd.inventory import DataRules
from recoverd.records.names import kept_names, qualified, quoted
from recoverd.records.plan import DIGEST_ROWS, Manifest, digest_of
from recoverd.words import counted
from tasks.records_session import server_words, sqlstate
from tasks.records_tables import Table

SAME, OTHER = "operator(pg_catalog.*=)", "operator(pg_catalog.*<>)"
"""To the bit: `=` would hold 1.0 for 1.00, and there is none for json, xml and point."""

_DIGEST = """
set local search_path = pg_catalog; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'postgres'; set local timezone = 'UTC';
set local bytea_output = 'hex'; set local extra_float_digits = 1; set local lc_monetary = 'C';
select encode(sha256(convert_to(string_agg(p::text, e'\\n' order by p._n), 'UTF8')), 'hex') as chunk from {plan} p
group by (p._n - 1) / {rows} order by (p._n - 1) / {rows}
"""


@dataclass(frozen=True)
class Draft:
    """A plan table that is being made.

    Attributes:
        name: Its name in schema `recoverd`.
        table: Whose rows it is about.
        columns: That are to change.
        strict: It keeps which transaction wrote each row.
    """

    name: str
    table: Table
    columns: tuple[str, ...]
    strict: bool

    @property
    def plan(self) -> str:
        """The plan table, for statements."""
        return qualified("recoverd", self.name)

    @property
    def key(self) -> tuple[str, ...]:
        """Its columns that hold the key."""
        return kept_names("key", self.table.key)

    @property
    def old(self) -> tuple[str, ...]:
        """Its columns that hold the values as they are."""
        return kept_names("old", self.columns)

    @property
    def new(self) -> tuple[str, ...]:
        """Its columns that hold the values as they shall be."""
        return kept_names("new", self.columns)


class Filling(Protocol):
    """A way to fill a plan: from an assignment and a condition, a file, or another fix."""

    @property
    def table(self) -> Table:
        """Whose rows it is about."""

    @property
    def columns(self) -> tuple[str, ...]:
        """That are to change."""

    def preview(self, session: Sql, limit_s: float) -> None:
        """Work out, within a read-only transaction, what comes from outside. Raises Refused, Invalid."""

    def fill(self, session: Sql, draft: Draft, limit_s: float) -> Filled:
        """Put the rows into the plan table. Raises Refused, Invalid."""


@dataclass(frozen=True)
class Filled:
    """What a plan was filled with: how many rows it is about, what was asked for, what is left out, and what to know of it."""

    matched: int
    source: dict[str, Any]
    left: int = 0
    notes: tuple[str, ...] = ()


def listed(names: tuple[str, ...], of: str = "") -> str:
    """Names with commas, of an alias where one is given."""
    return ", ".join(f"{of}.{quoted(name)}" if of else quoted(name) for name in names)


def image(names: tuple[str, ...], of: str) -> str:
    """Columns as one record, to be compared to the bit."""
    return f"row({listed(names, of)})::record"


def matched(left: tuple[str, ...], right: tuple[str, ...], left_of: str = "t", right_of: str = "p") -> str:
    """The condition that two keys are the same."""
    pairs = zip(left, right, strict=True)
    return " and ".join(f"{left_of}.{quoted(one)} = {right_of}.{quoted(other)}" for one, other in pairs)


def create(session: Sql, draft: Draft, rules: DataRules) -> None:
    """Make the empty table: its columns have the types, lengths and collations of the table itself."""
    of = [(kept, name) for names, kepts in (
        (draft.table.key, draft.key), (draft.columns, draft.old), (draft.columns, draft.new),
    ) for name, kept in zip(names, kepts, strict=True)]  # fmt: skip
    columns = ", ".join(f"{quoted(name)} as {quoted(kept)}" for kept, name in of)
    columns += ", xmin as _xmin" if draft.strict else ""
    sql = f"create table {draft.plan} as select null::bigint as _n, {columns} from {draft.table.sql} with no data"
    try:
        session.rows(sql, timeout_s=rules.plan_timeout_s)
    except Look as error:
        if sqlstate(error) in {"3F000", "42501"}:
            raise Refused(
                f"no plan can be kept: {server_words(error)}", "run deployments/sql/data-role.sql in the database"
            ) from error
        raise


def settle(session: Sql, draft: Draft, rules: DataRules) -> int:
    """Leave out rows that have the right value already, see that no new value is impossible; how many rows there are."""
    limit = float(rules.plan_timeout_s)
    same = f"{image(draft.old, 'p')} {SAME} {image(draft.new, 'p')}"
    session.rows(f"delete from {draft.plan} p where {same}", timeout_s=limit)
    session.rows(f"alter table {draft.plan} add primary key (_n); analyze {draft.plan}", timeout_s=limit)
    for name, kept in zip(draft.columns, draft.new, strict=True):
        empty = f"select count(*) from {draft.plan} p where p.{quoted(kept)} is null"
        if draft.table.column(name).not_null and (found := int(session.value(empty, timeout_s=limit))):
            raise Refused(f"{name} would be NULL in {counted(found, 'row')}, and may not be", "give them another value")
    return int(session.value(f"select count(*) from {draft.plan}", timeout_s=limit))


def digest(session: Sql, plan: str, timeout_s: float) -> str:
    """Of all rows of a plan table: keys, old and new values, as texts that no setting changes. Within a transaction of the caller's."""
    rows = session.rows(_DIGEST.format(plan=plan, rows=DIGEST_ROWS), timeout_s=timeout_s)
    return digest_of([str(row["chunk"]) for row in rows])


def sample(session: Sql, manifest: Manifest, most: int) -> tuple[dict[str, str | None], ...]:
    """The first rows of a plan as texts: what of the key, and each column as `old → new`."""
    parts = [
        f"p.{quoted(kept)}::text as {quoted(name)}" for kept, name in zip(manifest.kept_key, manifest.key, strict=True)
    ]
    for name, old, new in zip(manifest.columns, manifest.kept_old, manifest.kept_new, strict=True):
        shown = [f"coalesce(p.{quoted(kept)}::text, 'NULL')" for kept in (old, new)]
        parts.append(f"left({shown[0]}, 60) || ' → ' || left({shown[1]}, 60) as {quoted(name)}")
    sql = f"select {', '.join(parts)} from {manifest.sql} p order by p._n limit {most}"
    return tuple(dict(row) for row in session.rows(sql, timeout_s=30.0))
