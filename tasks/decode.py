"""Decoding: the rows that lost transactions wrote, read from the old primary before anything overwrites it.

Neither a replication slot nor wal_level=logical is needed: the WAL names transactions, tables and places (ctid); the
rows themselves are read from the stopped server, started in isolation, and what they replaced from the new primary.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recoverd.connections import Sql, server_parameters
from recoverd.errors import RecoverdError, Stale, TryAgain
from recoverd.inventory import Service
from recoverd.step import Effect, act
from recoverd.words import counted
from recoverd.world import world
from tasks.changes import SYSTEM_SCHEMAS, Found, Table, Tid, Told, Version, suggestions, tell
from tasks.evidence import check_sums, directory_of, fetch, note_evidence, read_sums, write_file, write_sums
from tasks.hosts import run_script
from tasks.isolated import Isolated, isolated
from tasks.postgres import LOGIN_TIMEOUT_S
from tasks.readme import readme
from tasks.salvage import Loss, Piece
from tasks.views import lsn_to_text
from tasks.wal import Change, Dump, read_dump

MOST_WAL_BYTES = 256 << 20
MOST_CHANGES = 200_000
MOST_LINES = 1_000_000
TIDS_A_QUERY = 2000
DUMP_LIMIT_S = 300
OLD_ROWS_TIMEOUT_S = 30.0
DECODE_TIME_LIMIT_S = 1800.0
ANY_DATABASE = 0
LINES, SQL, README = "salvage.jsonl", "salvage.sql", "README.txt"

_TABLES = """
select json_build_object('filenode', pg_relation_filenode(c.oid)::bigint, 'oid', c.oid::bigint, 'schema', n.nspname,
    'name', c.relname, 'kind', c.relkind, 'key', (select json_agg(a.attname order by k.n)
        from pg_index i, unnest(i.indkey::int[]) with ordinality k (attnum, n), pg_attribute a
        where i.indexrelid = (select indexrelid from pg_index where indrelid = c.oid and indisvalid
                              and (indisprimary or indisreplident) order by indisprimary desc limit 1)
          and a.attrelid = c.oid and a.attnum = k.attnum))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where pg_relation_filenode(c.oid) in ({0}) or c.oid in ({0})
"""
_ROWS = "select json_build_object('tid', t.ctid::text, 'xmin', t.xmin::text::bigint, 'row', row_to_json(t)) from only {0} t where {1}"
_SAME_FILE = "select pg_relation_filenode(to_regclass(%s)) = %s"
_SEQUENCE = "select json_build_object('last_value', last_value, 'is_called', is_called) from {0}"


def _is_decoded(service: str, host: str, primary: str, loss: Loss) -> Effect | None:
    place = directory_of(service, host)
    if README not in read_sums(place):
        return None
    check_sums(place)
    text = (place / LINES).read_text() if (place / LINES).exists() else ""
    number = len(text.splitlines())
    words = (
        f"{counted(number, 'row change')} in {place / LINES}"
        if text
        else f"nothing was decoded, {place / README} says why"
    )
    return Effect(words, {"directory": str(place), "changes": number, "sha256": read_sums(place)})


@act(
    "decode the row changes of {host} that {primary} does not have",
    ask=_is_decoded,
    time_limit_s=DECODE_TIME_LIMIT_S,
)
def decode(service: str, host: str, primary: str, loss: Loss) -> None:
    """Write `salvage.jsonl`, suggestions in `salvage.sql`, and a `README.txt` on how to read them.

    Too much WAL is not decoded: its files are saved, and the README says why and how to go on by hand.

    Raises:
        Look: The old server cannot be started in isolation, or refuses a question.
    """
    wanted, place = world().inventory.service(service), directory_of(service, host)
    reason, told = _too_much(loss), Told()
    if not reason:
        told, tables, cut = _tell(wanted, host, primary, loss, place)
        write_file(place / LINES, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in told.lines))
        write_file(place / SQL, suggestions(told, tables))
        reason = f"only the first {MOST_CHANGES} changes were decoded" if cut else ""
    write_file(place / README, readme(service, host, primary, loss, told, reason))
    write_sums(place)
    note_evidence(service, host, f"row changes of {host} that {primary} does not have", place)


def _too_much(loss: Loss) -> str:
    if loss.bytes <= MOST_WAL_BYTES:
        return ""
    return f"{loss.bytes} bytes of WAL are more than the {MOST_WAL_BYTES} that are decoded; the WAL itself is saved"


def _tell(service: Service, host: str, primary: str, loss: Loss, place: Path) -> tuple[Told, list[Table], bool]:
    dump = Dump()
    for piece in loss.pieces:
        part = _dump(service, host, piece, place)
        dump = Dump(dump.commits + part.commits, dump.changes + part.changes, part.end, dump.cut or part.cut)
    last = loss.pieces[-1]
    found = Found()
    with isolated(service, host, last.timeline, last.end) as server:
        for oid, database in _databases(server).items():
            touched = [change for change in dump.committed() if change.database in {oid, ANY_DATABASE}]
            if touched:
                _read_tables(server, database, oid, touched, found)
        _read_rows(server, dump.committed(), found)
    _read_old_rows(service, primary, dump.committed(), found)
    return tell(dump, found), list(found.tables.values()), dump.cut


def _dump(service: Service, host: str, piece: Piece, place: Path) -> Dump:
    """The records of one piece of WAL, by pg_waldump on the host over the saved copy."""
    variables = {
        "TIMELINE": str(piece.timeline),
        "START": lsn_to_text(piece.start),
        "MOST_LINES": str(MOST_LINES),
        "LIMIT_S": str(DUMP_LIMIT_S),
    }
    said = run_script("wal_dump", service, host, variables, timeout_s=DUMP_LIMIT_S + 10.0).facts()
    into = place / f"records-{piece.timeline}.txt"
    fetch(service, host, said["file"], into)
    with into.open() as lines:
        dump = read_dump(lines, most_changes=MOST_CHANGES)
    dump.cut = dump.cut or int(said["lines"]) >= MOST_LINES
    return dump


def _databases(server: Isolated) -> dict[int, str]:
    sql = "select json_build_object('oid', oid::bigint, 'name', datname) from pg_database where datallowconn"
    return {line["oid"]: line["name"] for line in server.lines("postgres", sql)}


def _read_tables(server: Isolated, database: str, oid: int, changes: Sequence[Change], found: Found) -> None:
    numbers = ",".join(str(number) for number in sorted({change.filenode for change in changes}))
    for line in server.lines(database, _TABLES.format(numbers)):
        filenode = line["filenode"] or 0
        found.tables[oid, filenode] = Table(
            database=database,
            database_oid=oid,
            filenode=filenode,
            oid=line["oid"],
            schema=line["schema"],
            name=line["name"],
            kind=line["kind"],
            key=tuple(line["key"] or ()),
        )


def _read_rows(server: Isolated, changes: Sequence[Change], found: Found) -> None:
    """The row versions that the lost transactions made, as far as they are still valid on the old primary."""
    for table, places in _places(changes, found, of="new").items():
        for where in _conditions(places):
            for line in server.lines(table.database, _ROWS.format(table.full_name, where)):
                found.rows[table, _tid(line["tid"])] = Version(line["xmin"], line["row"])
    for sequence in {found.table_of(change) for change in changes if change.action == "sequence"}:
        if sequence is not None:
            found.sequences[sequence] = server.lines(sequence.database, _SEQUENCE.format(sequence.full_name))[0]


def _read_old_rows(service: Service, primary: str, changes: Sequence[Change], found: Found) -> None:
    """What stands on the new primary at the places of what was deleted or updated. What cannot be read stays unknown."""
    sessions: dict[str, Sql] = {}
    try:
        for table, places in _places(changes, found, of="old").items():
            session = sessions.get(table.database) or _session(service, primary, table.database)
            sessions[table.database] = session
            same = session.value(_SAME_FILE, (table.full_name, table.filenode), timeout_s=LOGIN_TIMEOUT_S)
            for condition in _conditions(places) if same else ():
                sql = _ROWS.format(table.full_name, condition)
                for row in session.rows(sql, timeout_s=OLD_ROWS_TIMEOUT_S):
                    line = row["json_build_object"]
                    found.old_rows[table, _tid(line["tid"])] = Version(line["xmin"], line["row"])
    except (TryAgain, Stale):
        raise
    except RecoverdError as error:
        world().say(f"old row values are not all known: {error.message}")
    finally:
        for session in sessions.values():
            session.close()


def _places(changes: Sequence[Change], found: Found, *, of: str) -> dict[Table, list[Tid]]:
    """Where row versions stand, by table; system catalogs and sequences left out."""
    places: dict[Table, dict[Tid, None]] = defaultdict(dict)
    for change in changes:
        table, tid = found.table_of(change), change.new if of == "new" else change.old
        if table is not None and tid is not None and table.kind == "r" and table.schema not in SYSTEM_SCHEMAS:
            places[table][tid] = None
    return {table: list(tids) for table, tids in places.items()}


def _conditions(places: Sequence[Tid]) -> list[str]:
    """SQL conditions that fetch these places directly: no table is read whole."""
    exact = [f'"({block},{offset})"' for block, offset in places if offset]
    groups = [exact[start : start + TIDS_A_QUERY] for start in range(0, len(exact), TIDS_A_QUERY)]
    blocks = sorted({block for block, offset in places if not offset})
    ranges = [f"t.ctid >= '({block},0)'::tid and t.ctid < '({block + 1},0)'::tid" for block in blocks]
    return [f"t.ctid = any('{{{','.join(group)}}}'::tid[])" for group in groups] + ranges


def _tid(text: str) -> Tid:
    block, _, offset = text.strip("()").partition(",")
    return int(block), int(offset)


def _session(service: Service, host: str, database: str) -> Sql:
    """A session with another database of a server than the service's own."""
    server = service.postgres_of(host)
    password = server.password.resolve() if server.password else None
    address = world().inventory.host(host).address
    parameters: dict[str, Any] = server_parameters(
        address, server.port, database, server.user, password, server.sslmode, "recoverd",
        options="-c default_transaction_read_only=on",
    )  # fmt: skip
    return Sql(parameters, timeout_s=LOGIN_TIMEOUT_S, name=f"{host}:{server.port}/{database}")
