"""What a drill does beside the restore that it rehearses: see that it was alone, read what came back, leave nothing behind."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import replace

from recoverd.connections import Completed
from recoverd.errors import Look, TryAgain
from recoverd.inventory import HostSite
from recoverd.step import Effect, act, observe
from recoverd.world import World, entered, world
from tasks.asking import ask_scratch
from tasks.hosts import run_on
from tasks.passages import backup_scope, close_passage, needs_passage
from tasks.restoring import data_dir, server_of, work_dir
from tasks.views import Facts

_CLEAR_TIMEOUT_S = 600.0  # terabytes of files
_DATABASES = "select datname from pg_database where datallowconn order by datname"
_SETTINGS = """
select name || '=' || setting from pg_settings where name in
('listen_addresses', 'archive_mode', 'archive_library', 'primary_conninfo', 'port', 'shared_preload_libraries')
union all select 'archived=' || archived_count + failed_count from pg_stat_archiver
union all select 'senders=' || count(*) from pg_stat_replication
"""
# Through the tables themselves: an index that is whole says nothing about them.
_ROWS = """
set enable_indexonlyscan = off; set enable_indexscan = off; set enable_bitmapscan = off;
select count(*) || ' ' || coalesce(sum(substring(query_to_xml(
    format('select count(*) as n from only %I.%I', n.nspname, c.relname), false, true, '')::text from '<n>(.*?)</n>')::bigint), 0)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema')
"""


class Isolation(Facts):
    """Whether the scratch server could touch anything.

    Attributes:
        processes: How many it has.
        own_network: It runs in a network namespace of its own, with nothing in it.
        problems: What it can reach, or could.
    """

    host: str
    processes: int
    own_network: bool
    problems: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.problems:
            return f"NOT ISOLATED: {'; '.join(self.problems)}"
        where = "in a network of its own" if self.own_network else "without a network"
        return f"{self.processes} processes, {where}: no connection, no archive, a socket of its own"


@observe("see that the drill on {host} touches nothing", time_limit_s=60.0)
def prove_isolated(service: str, host: str) -> Isolation:
    """What the kernel and the server itself say of its ways out, while it runs."""
    out = _run("alone", service, host).out.splitlines()
    facts = dict(line.split("=", 1) for line in out if "=" in line)
    settings = dict(line.split("=", 1) for line in ask_scratch(service, host, "postgres", _SETTINGS).splitlines())
    problems = [f"it has the socket {line.removeprefix('socket=')}" for line in out if line.startswith("socket=")]
    wanted = {"listen_addresses": "", "archive_mode": "off", "primary_conninfo": "", "archived": "0", "senders": "0"}
    wanted |= {"archive_library": "", "shared_preload_libraries": ""}
    problems += [
        f"its {name} is {settings[name]!r}" for name, value in wanted.items() if settings.get(name, value) != value
    ]
    port = server_of(service, host).port
    if settings.get("port") == str(port):
        problems.append(f"it has the port {port}, which is that of the service")
    processes = int(facts.get("processes") or 0)
    if not processes:
        problems.append("none of its processes was found")
    return Isolation(host=host, processes=processes, own_network="own_network" in facts, problems=tuple(problems))


class Counted(Facts):
    """Tables and rows of restored data; rows are None where they could not be counted in time."""

    tables: int
    rows: int | None

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.tables} tables, {'too many rows to count in time' if self.rows is None else f'{self.rows} rows'}"


@observe("read every table of the restored data on {host}", time_limit_s=6 * 3600.0)
def read_every_table(service: str, host: str) -> Counted:
    """Count all rows, which reads every page of every table.

    Raises:
        Look: A table cannot be read.
    """
    tables, rows, late = 0, 0, False
    for database in ask_scratch(service, host, "postgres", _DATABASES).splitlines():
        try:
            found = ask_scratch(service, host, database, _ROWS).split()
        except (Look, TryAgain) as error:
            if isinstance(error, Look) and "statement timeout" not in error.message:
                raise
            late = True
            continue
        tables, rows = tables + int(found[0]), rows + int(found[1])
    return Counted(tables=tables, rows=None if late else rows)


def _is_cleared(service: str, host: str, run: str) -> Effect | None:
    with _as(run):
        return None if _run("state", service, host).out.strip() else Effect(f"nothing is left of {run} on {host}")


@act("leave nothing of {run} on {host}", ask=_is_cleared, time_limit_s=_CLEAR_TIMEOUT_S)
def clear_away(service: str, host: str, run: str) -> None:
    """End whatever works for a drill, and remove its directory, its key and its ways to the sites. Nothing else is touched."""
    with _as(run):
        for site in _sites_with_ways(service):
            if needs_passage(service, host, site):
                with suppress(
                    TryAgain
                ):  # a site that is down; the key goes below, and without it the way leads nowhere
                    close_passage.function(service, host, site)
        _run("clear", service, host)


def _sites_with_ways(service: str) -> list[str]:
    """Sites to which a restore opens ways; pgBackRest has ways of its own."""
    inventory = world().inventory
    if service in inventory.pgbackrest:
        return []
    return [site.name for site in inventory.backup_of(service).sites if isinstance(site, HostSite)]


def _as(run: str) -> AbstractContextManager[World]:
    """The world as an earlier run had it: its directory and its key are named after it."""
    here = world()
    return entered(replace(here, run=replace(here.run, id=run)))


def _run(verb: str, service: str, host: str) -> Completed:
    server = server_of(service, host)
    given = {
        "VERB": verb, "SERVICE": backup_scope(service), "WORK": work_dir(service), "PGDATA": data_dir(service),
        "BIN": server.bin_dir, "OS_USER": server.os_user, "PASSAGE": world().run.id,
    }  # fmt: skip
    return run_on("drill", host, given, timeout_s=_CLEAR_TIMEOUT_S)
