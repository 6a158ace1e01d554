"""The row changes of lost transactions, put together from WAL records and the row versions that two servers hold. Pure."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.wal import Change, Commit, Dump

Tid = tuple[int, int]
SYSTEM_SCHEMAS = ("pg_catalog", "pg_toast", "information_schema")
_HALF_OF_XIDS = 1 << 31
_SUGGESTION = "insert into {0} overriding system value select * from json_populate_record(null::{0}, '{1}') on conflict do nothing;"


@dataclass(frozen=True)
class Table:
    """A table or sequence that lost transactions touched.

    Attributes:
        database: Its database's name; `database_oid` and `filenode` are what WAL knows it by.
        kind: pg_class.relkind.
        key: Columns of its primary key, or of the index that identifies its rows.
    """

    database: str
    database_oid: int
    filenode: int
    oid: int
    schema: str
    name: str
    kind: str
    key: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Quoted, as SQL takes it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"


@dataclass(frozen=True)
class Version:
    """A row version as a server shows it: the transaction that made it, and the row as JSON."""

    xmin: int
    row: Mapping[str, Any]


@dataclass
class Found:
    """All that is known about the changes.

    Attributes:
        tables: By database oid and filenode.
        rows: Versions on the old primary that are still valid there, by table and ctid.
        old_rows: Versions on the new primary at the place of what was deleted or updated.
        sequences: Last values on the old primary.
        given: Places that are told already.
    """

    tables: dict[tuple[int, int], Table] = field(default_factory=dict)
    rows: dict[tuple[Table, Tid], Version] = field(default_factory=dict)
    old_rows: dict[tuple[Table, Tid], Version] = field(default_factory=dict)
    sequences: dict[Table, Mapping[str, Any]] = field(default_factory=dict)
    given: dict[Table, set[Tid]] = field(default_factory=lambda: defaultdict(set))

    def table_of(self, change: Change) -> Table | None:
        """The table that a change is about. A truncation names it by its oid, whatever its database."""
        if change.action == "truncate":
            return next((table for table in self.tables.values() if table.oid == change.filenode), None)
        return self.tables.get((change.database, change.filenode))


@dataclass
class Told:
    """The lines of `salvage.jsonl`, and what could not be put into lines.

    Attributes:
        catalog: Changes of system catalogs (definitions: CREATE, ALTER, DROP …), by catalog.
        unknown: Changes of files that belong to no table any more, by file.
    """

    lines: list[dict[str, Any]] = field(default_factory=list)
    catalog: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)


def tell(dump: Dump, found: Found) -> Told:
    """One line for each committed change, in the order in which they were made."""
    told, changes, commits = Told(), dump.committed(), dump.commit_of
    first_xid = _oldest([xid for commit in dump.commits for xid in (commit.xid, *commit.subxids)])
    last_maker = {(found.table_of(change), change.new): number for number, change in enumerate(changes) if change.new}
    made = {(found.table_of(change), change.new) for change in changes if change.new}
    sequences: dict[Table, int] = {found.tables[key]: n for n, key in _sequence_keys(changes, found)}
    blocks: dict[tuple[Table, int], list[Tid]] = defaultdict(list)
    for owner, tid in sorted(found.rows, key=lambda place: place[1]):
        if (owner, tid) not in made:
            blocks[owner, tid[0]].append(tid)
    for number, change in enumerate(changes):
        table = found.table_of(change)
        if table is None:
            told.unknown[f"{change.database}/{change.filenode}"] += 1
        elif table.schema in SYSTEM_SCHEMAS:
            told.catalog[table.name] += table.schema != "pg_toast"
        elif change.action == "sequence":
            if sequences.get(table) == number:
                told.lines.append(_line(change, commits[change.xid], table, row=found.sequences.get(table)))
        elif change.new and not change.new[1]:
            told.lines += _many(change, commits[change.xid], table, found, blocks[table, change.new[0]])
        else:
            is_last = change.new is None or last_maker[table, change.new] == number
            told.lines.append(_one(change, commits[change.xid], table, found, is_last, made, first_xid))
    return told


def _sequence_keys(changes: Sequence[Change], found: Found) -> Iterator[tuple[int, tuple[int, int]]]:
    for number, change in enumerate(changes):
        key = (change.database, change.filenode)
        if change.action == "sequence" and key in found.tables:
            yield number, key


def _one(
    change: Change, commit: Commit, table: Table, found: Found, is_last: bool, made: set[Any], first_xid: int
) -> dict[str, Any]:
    row, old, notes = None, None, []
    if change.new is not None:
        version = found.rows.get((table, change.new))
        row = version.row if version and is_last and version.xmin == change.xid else None
        if row is None:
            notes.append("this row version was changed again by a later lost transaction")
    if change.old is not None:
        before = found.old_rows.get((table, change.old))
        if (table, change.old) in made:
            notes.append("the row before was itself written by a lost transaction")
        elif before is None:
            notes.append("the row before is no longer to be found on the new primary")
        elif not _older(before.xmin, first_xid):
            notes.append("its place on the new primary is taken by another row since")
        else:
            old = before.row
            notes.append("old: read from the new primary, at the same place")
    return _line(change, commit, table, row=row, old=old, note="; ".join(notes))


def _many(change: Change, commit: Commit, table: Table, found: Found, places: Sequence[Tid]) -> list[dict[str, Any]]:
    """A record that wrote several rows into one block names no places: those of its transaction there are given, once."""
    rows = [found.rows[table, tid] for tid in places if tid not in found.given[table]]
    found.given[table].update(tid for tid in places if found.rows[table, tid].xmin == change.xid)
    return [_line(change, commit, table, row=version.row) for version in rows if version.xmin == change.xid]


def _line(
    change: Change, commit: Commit, table: Table, *, row: Mapping[str, Any] | None = None,
    old: Mapping[str, Any] | None = None, note: str = "",
) -> dict[str, Any]:  # fmt: skip
    known = row or old or {}
    line: dict[str, Any] = {
        "xid": commit.xid,
        "committed_at": commit.at,
        "database": table.database,
        "table": f"{table.schema}.{table.name}",
        "action": change.action,
        "key": {name: known[name] for name in table.key if name in known},
        "row": row,
    }
    if change.old is not None:
        line |= {"old": old, "old_ctid": f"({change.old[0]},{change.old[1]})"}
    return line | ({"note": note} if note else {})


def suggestions(told: Told, tables: Sequence[Table]) -> str:
    """SQL that would put the inserted rows back where their key is still free; to be read before it is run."""
    by_name = {(table.database, f"{table.schema}.{table.name}"): table for table in tables}
    out, database = ["-- Suggestions only: read them, then run them with psql against the new primary."], ""
    out.append("set standard_conforming_strings = on;")
    seen: set[str] = set()
    for line in told.lines:
        if line["action"] != "insert" or line["row"] is None:
            continue
        if line["database"] != database:
            database = line["database"]
            out.append(f"\\connect {quoted(database)}")
        table = by_name[line["database"], line["table"]].full_name
        literal = json.dumps(line["row"], ensure_ascii=False).replace("'", "''")
        sql = _SUGGESTION.format(table, literal)
        if sql not in seen:
            out.append(f"{sql} -- transaction {line['xid']}, {line['committed_at']}")
            seen.add(sql)
    return "\n".join(out) + "\n"


def quoted(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _oldest(xids: Sequence[int]) -> int:
    oldest = xids[0] if xids else 0
    for xid in xids:
        oldest = xid if _older(xid, oldest) else oldest
    return oldest


def _older(xid: int, than: int) -> bool:
    """Transaction ids go round: half of them are older than any given one. Those below 3 are older than all."""
    return xid < 3 or ((than - xid) % (1 << 32)) in range(1, _HALF_OF_XIDS)
