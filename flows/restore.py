"""Restore: a service's data as it was at a moment, from whichever sites still hold good bytes.

    observe the sites → choose set, WAL and sites → room → ways to the sites → fetch and unpack at once → recover, isolated → prove

Beside what is there, nothing of it is touched, and it holds the lock of backups. In the place of what is there
(flows/replace.py), it holds the service's lock too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow

from flows.copying import choose, make_copy
from flows.engine import other_engine
from flows.fence import note_summary
from flows.going_on import is_stopping
from flows.one_table import bring_table_back, see_where_to
from recoverd.backup.target import check_options
from recoverd.errors import Busy, GaveWay, Invalid, Refused
from recoverd.execution import execution
from recoverd.journal import Journal
from recoverd.locks import Lease, acquire
from recoverd.settings import settings
from recoverd.world import world
from tasks.restoring import replaces, work_dir

SCOPE = "backup"


@flow(name="restore", persist_result=False)
def restore(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Restore a service's data to a moment, and prove it.

    Args:
        target: Name of the service.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `to` (a time with its zone, `lsn:…`, `xid:…`, `name:…`, `latest`; the newest state), `into` (`beside`,
            `replace`), `set` (its id; the best one), `site` (one name, or several with commas; all), `host` (where; the drill
            host, or the primary's), `timeline` (a number; the newest), `table` and `as` (one table alone, and its new name); of files
            also `path` (what of them; all) and `of` (whose; those of `host`).
    """
    given = options or {}
    replacing = given.get("into") == "replace"
    with execution("restore", target, run, reason, given, scope="" if replacing else SCOPE):
        if not replacing or target in world().inventory.files:
            return carry_out(target)
        with keeping_backups_out(target):
            return carry_out(target)


@contextmanager
def keeping_backups_out(target: str) -> Iterator[None]:
    """Hold the lock of backups beside the service's: a backup of data that is being replaced would be of neither.

    Once the service is stopped, a run that goes on does not wait for it: users do, and a restore beside may take hours.

    Raises:
        Busy: A backup or another restore of the service is under way.
        GaveWay: Likewise, and this run has begun to make its copy.
    """
    here = world()
    if here.journal is None:
        yield
        return
    lease = _lock_of_backups(target, here.journal)
    if lease is None:
        yield
        return
    here.beside.append(lease)
    try:
        with lease.kept():
            yield
    finally:
        here.beside.remove(lease)
        lease.release()


def _lock_of_backups(target: str, journal: Journal) -> Lease | None:
    here = world()
    try:
        return acquire(journal, f"{SCOPE}:{target}", here.run.id, ttl_s=settings().lease_ttl_s)
    except (Busy, GaveWay) as error:
        if not is_stopping():
            raise
        here.say(f"goes on beside it, for {target} is stopped: {error.message}")
        return None


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    if (other := other_engine(service)) is not None:
        return other.restore(service)
    here = world()
    check_options(here.run.options)
    if service in here.inventory.files:
        from flows.restore_files import restore_files

        return restore_files(service)
    if here.run.options.get("path") or here.run.options.get("of"):
        raise Invalid("the data of a service is restored as a whole, or a table of it: --table", "leave --path out")
    if replaces():
        from flows.replace import replace_data

        return replace_data(service)
    host = restore_host(service)
    primary = see_where_to(service) if here.run.options.get("table") else ""
    chosen = choose(service, host)
    copy = make_copy(service, host, chosen)
    if primary:
        return bring_table_back(service, host, primary, copy)
    if here.dry_run:
        return f"would restore {chosen.point.set} on {host}, into {work_dir(service)}"
    summary = f"{copy.summary}; it stands on {host} in {work_dir(service)}"
    note_summary(summary)
    return summary


def restore_host(service: str) -> str:
    """Where the copy stands: as asked for, else the drill host. Raises Refused."""
    here = world()
    host = str(here.run.options.get("host") or here.inventory.restore_rules_of(service).drill_host or "")
    if not host:
        raise Refused(
            "nobody says where to restore to", "name a host: --host …, or `restore.drill_host` in backups.yaml"
        )
    return here.inventory.host(host).name
