"""A table whose records are to be mended: what it is, what may be changed in it, and what else happens then."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.connections import Sql
from recoverd.errors import Invalid, Refused
from recoverd.inventory.problems import nearest
from recoverd.records.expressions import parse_table
from recoverd.records.names import qualified, quoted
from tasks.records_session import transaction
from tasks.sql import statement
from tasks.views import Facts

LOOK_TIMEOUT_S = 20.0
_KINDS = {"v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "t": "a TOAST table"}


class Column(Facts):
    """A column.

    Attributes:
        type: With its length or precision.
        base: The type that a text is cast to before it is assigned: without length, no domain.
        key: Its place in the primary key; 0 where it is not in it.
        writable: The role may update it.
    """

    name: str
    type: str
    base: str
    not_null: bool
    generated: bool
    identity: bool
    writable: bool
    key: int


class Table(Facts):
    """A table, by its own word."""

    schema_name: str
    name: str
    oid: int
    partitions: int
    columns: tuple[Column, ...]

    @property
    def sql(self) -> str:
        """Its name for statements."""
        return qualified(self.schema_name, self.name)

    @property
    def path(self) -> str:
        """The search path under which expressions of people are read: nothing that another may have put in the way is in it."""
        return f"pg_catalog, {quoted(self.schema_name)}"

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, in its order."""
        return tuple(one.name for one in sorted(self.columns, key=lambda one: one.key) if one.key)

    def column(self, name: str) -> Column:
        """A column by its name; Invalid where there is none."""
        names = {one.name: one for one in self.columns}
        if name not in names:
            near = nearest(name, names)
            hint = f"did you mean {near}?" if near else f"it has: {', '.join(names)}"
            raise Invalid(f"{self.schema_name}.{self.name} has no column {name}", hint)
        return names[name]

    def types(self, names: Sequence[str]) -> dict[str, str]:
        """The types of columns."""
        return {name: self.column(name).type for name in names}


def look_at_table(session: Sql, text: str) -> Table:
    """The table that a person means.

    Raises:
        Invalid: There is none.
        Refused: Its records cannot be mended so.
    """
    schema, name = parse_table(text)
    wanted = qualified(schema, name) if schema else quoted(name)
    rows = session.rows(statement("records_table"), (wanted,), timeout_s=LOOK_TIMEOUT_S)
    if not rows:
        raise Invalid(
            f"there is no table {text} that this role can see", "name it with its schema: --table schema.table"
        )
    row = rows[0]
    _check_kind(text, str(row["kind"]), bool(row["secured"]), bool(row["inherited"]), str(row["persistence"]))
    if not row["readable"]:
        raise Refused(f"the role may not read {text}", f"grant select, update on {text} to it, and usage on its schema")
    # Types are named in full, so that they mean the same under every search path.
    with transaction(session, "begin read only", timeout_s=LOOK_TIMEOUT_S, path="pg_catalog"):
        columns = session.rows(statement("records_columns"), {"oid": row["oid"]}, timeout_s=LOOK_TIMEOUT_S)
    table = Table(
        schema_name=row["schema"], name=row["name"], oid=row["oid"], partitions=row["partitions"],
        columns=tuple(Column(**one) for one in columns),
    )  # fmt: skip
    if not table.key:
        raise Refused(f"{text} has no primary key, so that no row could be told from another", "give it one first")
    return table


def _check_kind(text: str, kind: str, secured: bool, inherited: bool, persistence: str) -> None:
    if kind not in "rp":
        raise Refused(f"{text} is {_KINDS.get(kind, 'no table')}", "name the table that its rows come from")
    if secured:
        raise Refused(f"row security hides rows of {text} from this role", "a policy must let it see all of them")
    if inherited:
        raise Refused(
            f"other tables inherit from {text}, and a key may stand in several", "mend each of them by itself"
        )
    if persistence == "t":
        raise Refused(f"{text} is a temporary table", "name one that stays")


def check_columns(table: Table, names: Sequence[str]) -> None:
    """Raise Refused where a column may not be changed, Invalid where it is not there."""
    for column in (table.column(name) for name in names):
        where = f"{column.name} of {table.schema_name}.{table.name}"
        if column.key:
            raise Refused(
                f"{where} belongs to the primary key, by which rows are found again", "insert and delete by hand"
            )
        if column.generated or column.identity:
            raise Refused(f"{where} is made by the server itself", "change what it is made from")
        if not column.writable:
            raise Refused(
                f"the role may not update {where}", f"grant update ({quoted(column.name)}) on {table.sql} to it"
            )


def look_for_warnings(session: Sql, table: Table, columns: Sequence[str]) -> tuple[str, ...]:
    """What else happens when these columns change, a line each.

    Raises:
        Refused: A rule does something else instead of the update.
    """
    arguments = {"oid": table.oid, "columns": list(columns)}
    rows = session.rows(statement("records_warnings"), arguments, timeout_s=LOOK_TIMEOUT_S)
    instead = [str(row["name"]) for row in rows if row["kind"] == "instead"]
    if instead:
        raise Refused(
            f"the rule {', '.join(instead)} does something else instead of an update", "drop it, or mend by hand"
        )
    found = [f"{row['kind']} {row['name']}: {row['detail']}" for row in rows]
    return (*found, f"{table.partitions} partitions") if table.partitions else tuple(found)
