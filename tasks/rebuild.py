"""Making the data directory of a stopped server one that can follow the primary: by pg_rewind, else by a new copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from psycopg2.extensions import make_dsn

from recoverd.errors import Busy, Look, TimedOut
from recoverd.inventory import Service
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_script
from tasks.postgres import LOGIN_TIMEOUT_S
from tasks.replication import slot_of

_KEEPALIVE: dict[str, Any] = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 6}
"""A copy must not wait for ever for a primary that has lost its power: it ends after a minute and a half."""

REWIND_TIME_LIMIT_S = 3600.0
COPY_TIME_LIMIT_S = 24 * 3600.0
_LOOK_EVERY_S = 0.2
_SPARE_BYTES = 256 << 20

_SIZE = "select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database"
_TABLESPACES = "select pg_tablespace_location(oid) as place from pg_tablespace where pg_tablespace_location(oid) <> ''"


def _is_rewound(service: str, host: str, primary: str) -> Effect | None:
    return _done(service, host, "rewind", f"the data directory of {host} was rewound to {primary}")


@act(
    "rewind the data directory of {host} to {primary}",
    ask=_is_rewound,
    irreversible="what only the old primary had is overwritten; it was saved and decoded before, see its salvage directory",
    time_limit_s=REWIND_TIME_LIMIT_S,
    retries=0,
)
def rewind(service: str, host: str, primary: str) -> None:
    """Run pg_rewind on the host, as the server's own user. The settings of that host are kept.

    Raises:
        Look: It failed, or an earlier one did not come to its end: the data directory needs a new copy.
    """
    server = world().inventory.service(service).postgres_of(primary)
    secret = server.password.resolve() if server.password else ""
    source = _source(primary, server.port, user=server.user, dbname=server.database, sslmode=server.sslmode)
    _begin(service, host, "rewind", {"SOURCE": source, "SECRET": secret})
    _wait_for_end(service, host, "rewind", REWIND_TIME_LIMIT_S)
    _see_it_done(service, host, "rewind")


def _is_copied(service: str, host: str, primary: str) -> Effect | None:
    return _done(service, host, "copy", f"a new copy of {primary} stands on {host}, beside what is there")


@act("copy {primary} to {host}, beside what is there", ask=_is_copied, time_limit_s=COPY_TIME_LIMIT_S, retries=0)
def copy_beside(service: str, host: str, primary: str) -> None:
    """Take a base backup into a directory beside the data directory, which stays as it is.

    It may take hours, goes on by itself on the host, and changes nothing that anybody uses: while it does, a failover may
    take the target. The run then waits, and finds the copy again when it goes on.

    Raises:
        GaveWay: A run for which users wait has taken the target.
        Look: There is no room for it, or it failed.
    """
    wanted, here = world().inventory.service(service), world()
    server = wanted.postgres_of(primary)
    secret = server.replication_password.resolve() if server.replication_password else ""
    session = here.connections.sql(wanted, primary, timeout_s=LOGIN_TIMEOUT_S)
    size = int(session.value(_SIZE, timeout_s=60.0))
    places = [str(row["place"]) for row in session.rows(_TABLESPACES, timeout_s=LOGIN_TIMEOUT_S)]
    variables = {
        "SOURCE": _source(primary, server.port, user=server.replication_user, sslmode=server.sslmode),
        "SECRET": secret,
        "SLOT": slot_of(host) if wanted.postgresql.slots else "",
        "NEED_KB": str((size + size // 10 + _SPARE_BYTES) // 1024),
        "TABLESPACES": " ".join(f"{place}={place}.{here.run.id}" for place in places),
    }
    _begin(service, host, "copy", variables)
    lease = here.lease
    with lease.giving_way(f"the copy to {host} goes on by itself") if lease else nullcontext():
        _wait_for_end(service, host, "copy", COPY_TIME_LIMIT_S, lease.check if lease else lambda: None)
    _see_it_done(service, host, "copy")


def _no_earlier_copy(service: str, host: str) -> Effect | None:
    state = _state(service, host)
    doing = state.get("doing", "")
    if "running" in state and doing.startswith("copy ") and doing != f"copy {world().run.id}":
        return None
    return Effect(f"no copy of an earlier run goes on at {host}", {"host": host})


@act("end the copy to {host} that an earlier run has left", ask=_no_earlier_copy, time_limit_s=30.0)
def end_earlier_copy(service: str, host: str) -> None:
    """It may come from a server that is the primary no more, and it uses the slot and the place of the new one."""
    run_script("rebuild", _service(service), host, {**_NOTHING, "VERB": "end"}, timeout_s=20.0)


def _is_swapped(service: str, host: str) -> Effect | None:
    if "swapped" not in _state(service, host):
        return None
    return Effect(f"{host} has the new copy; the old data directory is kept beside it", {"kept": _kept(service, host)})


def _this_run(service: str, host: str) -> dict[str, str]:
    return {"run": world().run.id}


@act(
    "put the new copy in the place of the data directory of {host}",
    ask=_is_swapped,
    undo="tasks.rebuild:swap_back",
    remember=_this_run,
    time_limit_s=60.0,
)
def swap_in(service: str, host: str) -> None:
    """Rename: the old data directory gets the run's id as its ending and is kept."""
    run_script("rebuild", _service(service), host, {"VERB": "swap"}, timeout_s=30.0)


def _is_swapped_back(service: str, host: str, remembered: dict[str, str]) -> Effect | None:
    state = _state(service, host, remembered["run"])
    return None if "swapped" in state else Effect(f"{host} has its old data directory", {"host": host})


@act("put the old data directory of {host} back", ask=_is_swapped_back, time_limit_s=60.0)
def swap_back(service: str, host: str, remembered: dict[str, str]) -> None:
    """Undo `swap_in`, for the run that did it. The copy is kept too."""
    variables = {"VERB": "swap_back", "RUN": remembered["run"]}
    run_script("rebuild", _service(service), host, variables, timeout_s=30.0)


_NOTHING = dict.fromkeys(("SOURCE", "SECRET", "SLOT", "NEED_KB", "TABLESPACES"), "")


def _begin(service: str, host: str, verb: str, variables: dict[str, str]) -> None:
    """Start the job on the host, or find it running there since before we were interrupted."""
    run_script("rebuild", _service(service), host, {**_NOTHING, **variables, "VERB": verb}, timeout_s=60.0)


def _wait_for_end(service: str, host: str, verb: str, limit_s: float, check: Callable[[], None] = lambda: None) -> None:
    """Look at the job until it has ended, well or not; `check` is called before each look."""
    deadline = time.monotonic() + limit_s
    while True:
        check()
        if "running" not in _state(service, host):
            return
        if time.monotonic() > deadline:
            raise TimedOut(f"the {verb} on {host} did not end within {limit_s:g} s", f"it goes on: look at {host}")
        time.sleep(_LOOK_EVERY_S)


def _see_it_done(service: str, host: str, verb: str) -> None:
    state = _state(service, host)
    mine = f"{verb} {world().run.id}"
    if state.get("done") == mine:
        return
    if state.get("doing") != mine:
        raise Busy(f"another run rebuilds {host}: {state.get('doing')}", "wait for it to end")
    raise Look(f"the {verb} on {host} failed: {state.get('said') or 'it said nothing'}", "a new copy may be needed")


def _done(service: str, host: str, verb: str, summary: str) -> Effect | None:
    state = _state(service, host)
    if "running" in state or state.get("done") != f"{verb} {world().run.id}":
        return None
    return Effect(summary, {"host": host})


def _state(service: str, host: str, run: str = "") -> dict[str, str]:
    variables = {"VERB": "state", "RUN": run or world().run.id}
    return run_script("rebuild", _service(service), host, variables, timeout_s=15.0).facts()


def _service(name: str) -> Service:
    return world().inventory.service(name)


def _kept(service: str, host: str) -> str:
    return f"{_service(service).postgres_of(host).data_dir}.before-{world().run.id}"


def _source(primary: str, port: int, **more: Any) -> str:
    """A connection string without a password: it stands in the process list of the host."""
    address = world().inventory.host(primary).address
    return str(make_dsn(host=address, port=port, application_name="recoverd", connect_timeout=10, **_KEEPALIVE, **more))
