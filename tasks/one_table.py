"""One table of a restored copy, brought into the live service under a new name. No table that is there is ever touched."""

from __future__ import annotations

from typing import Any

from psycopg2.extensions import make_dsn

from recoverd.connections import Sql, server_parameters
from recoverd.errors import Look
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.asking import ask_scratch
from tasks.hosts import run_on
from tasks.postgres import LOGIN_TIMEOUT_S
from tasks.restoring import server_of, work_dir
from tasks.views import Facts

COPY_TIME_LIMIT_S = 24 * 3600.0
_DATABASES = "select datname from pg_database where datallowconn and not datistemplate order by datname"
_COLUMNS = """
select string_agg(format('%I %s%s', attname, format_type(atttypid, atttypmod), case when attnotnull then ' not null' else '' end),
                  ', ' order by attnum)
from pg_attribute where attrelid = to_regclass('{0}') and attnum > 0 and not attisdropped
"""
_NAME = """
select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
where c.oid = to_regclass('{0}')
"""
_RIGHTS = """
select 'alter table %s owner to ' || quote_ident(pg_get_userbyid(relowner)) from pg_class where oid = to_regclass('{0}')
union all
select format('grant %s on %%s to %s', privilege_type,
              case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end)
from pg_class, aclexplode(relacl) where oid = to_regclass('{0}') and grantee <> relowner
"""
_GUARDED = (
    "do $recoverd$ begin {0}; exception when undefined_object or insufficient_privilege then null; end $recoverd$"
)
_OWNER = "select pg_get_userbyid(relowner) from pg_class where oid = to_regclass(%s)"
_COUNT = "select count(*) from {0}"


class Found(Facts):
    """A table in a restored copy.

    Attributes:
        database: Where it is.
        table: Its name with its schema, quoted as SQL takes it.
        columns: As CREATE TABLE takes them.
        rows: How many.
        rights: Who owns it and who may do what, as statements with %s for its name.
    """

    database: str
    table: str
    columns: str
    rows: int
    rights: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.table} of {self.database} has {self.rows} rows in the copy"


class Free(Facts):
    """Whether a name can be given to a new table.

    Attributes:
        taken_in: Databases that have a table of that name.
    """

    table: str
    taken_in: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.table} is in {', '.join(self.taken_in)}" if self.taken_in else f"no database has {self.table}"


@observe("look for {table} in the copy on {host}", time_limit_s=1300.0)
def find_table(service: str, host: str, table: str) -> Found:
    """Find it, in whichever database it is.

    Raises:
        Look: It is in none, or in several.
    """
    there = {}
    for database in ask_scratch(service, host, "postgres", _DATABASES).splitlines():
        if name := ask_scratch(service, host, database, _NAME.format(table)):
            there[database] = name
    if len(there) != 1:
        where = f"in {' and in '.join(there)}" if there else "in no database"
        raise Look(f"{table} is {where} of what was restored", "name it with its schema, and look at the moment")
    ((database, name),) = there.items()
    return Found(
        database=database, table=name, columns=ask_scratch(service, host, database, _COLUMNS.format(table)),
        rows=int(ask_scratch(service, host, database, _COUNT.format(name))),
        rights=tuple(ask_scratch(service, host, database, _RIGHTS.format(table)).splitlines()),
    )  # fmt: skip


def new_name(found: Found, wanted: str) -> str:
    """What the table is called in the live service: as asked for, in the old one's schema where none is given."""
    schema, _, table = found.table.rpartition(".")
    if not wanted:
        return f'{schema}.{table[:-1]}_restored"' if table.endswith('"') else f"{schema}.{table}_restored"
    return wanted.lower() if "." in wanted else f"{schema}.{wanted.lower()}"


def _owner_of(service: str, primary: str, database: str, table: str) -> str:
    session = _session(service, primary, database)
    try:
        return str(session.value(_OWNER, (table,), timeout_s=30.0))
    finally:
        session.close()


def rows_of(service: str, primary: str, database: str, table: str) -> int | None:
    """How many rows a table of the live service has; None where there is no such table."""
    session = _session(service, primary, database)
    try:
        if not session.value("select to_regclass(%s) is not null", (table,), timeout_s=30.0):
            return None
        return int(session.value(_COUNT.format(table), timeout_s=600.0))
    finally:
        session.close()


def _is_brought(
    service: str, host: str, primary: str, database: str, table: str, new: str, columns: str, rights: tuple[str, ...]
) -> Effect | None:
    rows = rows_of(service, primary, database, new)
    if rows is None:
        return None
    owner = _owner_of(service, primary, database, new)
    return Effect(f"{new} of {database} has {rows} rows, and belongs to {owner}", {"rows": rows, "table": new})


@act(
    "bring {table} from the copy on {host} into {database} as {new}",
    ask=_is_brought,
    undo="tasks.one_table:drop_table",
    time_limit_s=COPY_TIME_LIMIT_S,
    retries=0,
)
def bring_table(
    service: str, host: str, primary: str, database: str, table: str, new: str, columns: str, rights: tuple[str, ...]
) -> None:
    """Make the new table and copy the rows, in one transaction. Columns and rows come, no index, default or constraint.

    It belongs to whom the old one belonged to, who had rights has them again, as far as these roles are still there.

    Raises:
        Look: It did not come through; nothing is there then.
    """
    wanted, server = world().inventory.service(service), server_of(service, host)
    target = wanted.postgres_of(primary)
    rules = world().inventory.backup_of(service).restore
    to = make_dsn(
        host=world().inventory.host(primary).address, port=target.port, user=target.user, dbname=database,
        sslmode=target.sslmode, application_name="recoverd", connect_timeout=10,
    )  # fmt: skip
    make = [f"create table {new} ({columns})", *(_GUARDED.format(one % new) for one in rights)]
    variables = {
        "SERVICE": f"{service}.backup", "WORK": work_dir(service), "OS_USER": server.os_user, "BIN": server.bin_dir,
        "PORT": str(rules.scratch_port), "DB_USER": server.user, "FROM_DATABASE": database, "TO": str(to),
        "COPY": f"copy (select * from {table}) to stdout",  # noqa: S608  # a name that the server itself has quoted
        "SECRET": target.password.resolve() if target.password else "",
        "MAKE": ";\n".join(make), "LOAD": f"copy {new} from stdin",
    }  # fmt: skip
    run_on("table", host, variables, timeout_s=COPY_TIME_LIMIT_S)


def _is_dropped(
    service: str, host: str, primary: str, database: str, table: str, new: str, columns: str, rights: tuple[str, ...]
) -> Effect | None:
    gone = rows_of(service, primary, database, new) is None
    return Effect(f"{new} is not in {database} any more") if gone else None


@act("drop {new} of {database}, which was brought from a backup", ask=_is_dropped, time_limit_s=60.0)
def drop_table(
    service: str, host: str, primary: str, database: str, table: str, new: str, columns: str, rights: tuple[str, ...]
) -> None:
    """Undo `bring_table`."""
    session = _session(service, primary, database)
    try:
        session.rows(f"drop table {new}", timeout_s=30.0)
    finally:
        session.close()


def _session(service: str, primary: str, database: str) -> Sql:
    wanted = world().inventory.service(service)
    server = wanted.postgres_of(primary)
    parameters: dict[str, Any] = server_parameters(
        world().inventory.host(primary).address, server.port, database, server.user,
        server.password.resolve() if server.password else None, server.sslmode, "recoverd restore",
    )  # fmt: skip
    return Sql(parameters, timeout_s=LOGIN_TIMEOUT_S, name=f"{primary}/{database}")


@observe("see that {new} is not there yet")
def look_for_name(service: str, primary: str, new: str) -> Free:
    """Look in every database of the live service, before anything is fetched for a name that is taken."""
    wanted = world().inventory.service(service)
    session = _session(service, primary, wanted.postgresql.database)
    try:
        databases = [str(row["datname"]) for row in session.rows(_DATABASES, timeout_s=30.0)]
    finally:
        session.close()
    return Free(table=new, taken_in=tuple(one for one in databases if rows_of(service, primary, one, new) is not None))


def check_rows(new: str, wanted: int, rows: int) -> None:
    """Raise Look where not every row came."""
    if rows != wanted:
        raise Look(f"{new} has {rows} rows, and the copy has {wanted}", "drop it, and start again")
