"""Asking everything in a database that knows who changed a row: the row itself, recoverd's own fixes, an audit table."""

from __future__ import annotations

from typing import Any

from recoverd.connections import Sql
from recoverd.errors import Invalid, Look, RecoverdError
from recoverd.inventory import AuditTable, DataRules
from recoverd.records.expressions import parse_table
from recoverd.records.names import literal, qualified, quoted
from recoverd.records.origin import Change, Origin, key_values
from recoverd.step import observe
from recoverd.world import world
from tasks.records_kept import plans_of
from tasks.records_session import primary_session, server_words, transaction
from tasks.records_tables import Table, look_at_table

LIMIT_S = 60.0
MOST = 50
_SETTINGS = "select current_setting('track_commit_timestamp') = 'on' as commits, current_setting('log_line_prefix') like '%x%' as ids"


@observe("find who changed {key} of {table} in {service}", time_limit_s=10 * LIMIT_S)
def find_origin(service: str, table: str, key: str) -> Origin:
    """What every source says, the newest first, and which sources say nothing.

    Raises:
        Invalid: There is no such table, or the key is none.
    """
    rules, session = world().inventory.data_of(service), primary_session(service)
    found = look_at_table(session, table)
    values = key_values(key, len(found.key))
    try:
        with transaction(
            session, "begin isolation level repeatable read read only", timeout_s=LIMIT_S, path=found.path
        ):
            row, missing = _row(session, found, values)
            changes = [*row, *_fixes(session, service, found, values)]
    except Look as error:
        raise Invalid(f"the server says no: {server_words(error)}", "correct table and key") from error
    noted, silent = _audit(session, rules, found, values)
    ordered = sorted([*changes, *noted], key=lambda one: one.at, reverse=True)
    name = f"{found.schema_name}.{found.name} {key}"
    return Origin(row=name, changes=tuple(ordered), missing=(*missing, *silent))


def _row(session: Sql, table: Table, values: tuple[str, ...]) -> tuple[list[Change], list[str]]:
    """The transaction that wrote the row as it is; when, where the server keeps that."""
    keeps = session.rows(_SETTINGS, timeout_s=LIMIT_S)[0]
    at = "pg_xact_commit_timestamp(t.xmin)::text" if keeps["commits"] else "null"
    rows = session.rows(
        f"select t.xmin::text as xid, {at} as at from {table.sql} t where {_is_row(table, values)}", timeout_s=LIMIT_S
    )
    if not rows:
        return [], ["the row itself: it is not there (deleted, or never was); older values are in backups alone"]
    xid = str(rows[0]["xid"])
    change = Change(
        source="the row itself", at=str(rows[0]["at"] or ""), what="its last write", trust="certain", transaction=xid
    )
    missing = (
        []
        if keeps["commits"]
        else ["time of the last write: track_commit_timestamp is off (needs a restart to be turned on)"]
    )
    where = (
        f"grep for {xid} in the server's log"
        if keeps["ids"]
        else "log_line_prefix has no %x, so no line can be told from others"
    )
    missing.append(f"the server's log and pgaudit: not read; {where}")
    missing.append(f"WAL: not read; on the server: pg_waldump --xid={xid} says what it touched, and when it committed")
    return [change], missing


def _fixes(session: Sql, service: str, table: Table, values: tuple[str, ...]) -> list[Change]:
    """Fixes of recoverd that have changed the row."""
    changes = []
    for fix, run in plans_of(session, service, table.schema_name, table.name):
        if fix.key != table.key:
            continue
        kept = " and ".join(
            f"p.{quoted(name)} = {literal(value)}::{table.column(of).base}"
            for name, of, value in zip(fix.kept_key, fix.key, values, strict=True)
        )
        sql = (
            f"select b.at::text as at from {fix.sql} p join recoverd.fix_batches b on b.fix = {literal(fix.name)} and p._n > b.lo "
            f"and p._n <= b.hi where {kept} and not exists (select from recoverd.fix_conflicts c where c.fix = b.fix and c.n = p._n)"
        )
        for row in session.rows(sql, timeout_s=LIMIT_S):
            what = f"changed {', '.join(fix.columns)}; before and after: {fix.sql}"
            changes.append(
                Change(
                    source="fix", at=str(row["at"]), who=f"run {run}, planned by {fix.by}", what=what, trust="certain"
                )
            )
    return changes


def _audit(session: Sql, rules: DataRules, table: Table, values: tuple[str, ...]) -> tuple[list[Change], list[str]]:
    if rules.audit is None:
        return [], [
            "an audit table: data.yaml names none; a trigger that notes user, application and address would tell"
        ]
    audit = rules.audit
    try:
        found = look_at_audit(session, audit)
        rows = session.rows(_audit_query(audit, found, table, values), timeout_s=LIMIT_S)
    except RecoverdError as error:
        return [], [f"the audit table {audit.table}: {server_words(error)}"]
    changes = []
    for row in rows:
        said = [
            row["user"] and f"user {row['user']}",
            row["app"] and f"application {row['app']}",
            row["ip"] and f"from {row['ip']}",
        ]
        who, xid = ", ".join(one for one in said if one), str(row["xid"] or "")
        changes.append(Change(source="audit table", at=str(row["at"]), who=who, trust="as noted", transaction=xid))
    return changes, [] if changes else [f"the audit table {audit.table}: it has nothing of this row"]


def look_at_audit(session: Sql, audit: AuditTable) -> str:
    """The audit table's name for statements. Raises Invalid where there is none."""
    schema, name = parse_table(audit.table)
    wanted = qualified(schema, name) if schema else quoted(name)
    if not session.value("select to_regclass(%s) is not null", (wanted,), timeout_s=LIMIT_S):
        raise Invalid(f"there is no table {audit.table}", "correct data.yaml")
    return wanted


def _audit_query(audit: AuditTable, name: str, table: Table, values: tuple[str, ...]) -> str:
    keys = [quoted(one.strip()) for one in audit.key.split(",")]
    if len(keys) != len(values):
        raise Invalid(
            f"it names {len(keys)} columns for a key of {len(values)}", "correct `key` of the audit table in data.yaml"
        )
    where = [f"a.{key}::text = {literal(value)}" for key, value in zip(keys, values, strict=True)]
    if audit.of:
        names = ", ".join(literal(one) for one in (table.name, f"{table.schema_name}.{table.name}"))
        where.append(f"a.{quoted(audit.of)}::text in ({names})")
    columns: dict[str, Any] = {
        "user": audit.user,
        "app": audit.application,
        "ip": audit.address,
        "xid": audit.transaction,
    }
    parts = [f"{f'a.{quoted(one)}::text' if one else 'null'} as {quoted(alias)}" for alias, one in columns.items()]
    at = f"a.{quoted(audit.at)}"
    return f"select {at}::text as at, {', '.join(parts)} from {name} a where {' and '.join(where)} order by {at} desc limit {MOST}"


def _is_row(table: Table, values: tuple[str, ...]) -> str:
    pairs = zip(table.key, values, strict=True)
    return " and ".join(f"t.{quoted(name)} = {literal(value)}::{table.column(name).base}" for name, value in pairs)
