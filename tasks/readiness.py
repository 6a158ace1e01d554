"""What a check of readiness looks at, beyond what every failover looks at. Reads only; all of it at once.

Pure rules over it are in flows/readiness.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from recoverd.connections import Reach, reach_from_here, reach_through
from recoverd.errors import RecoverdError
from recoverd.inventory import Service, VirtualAddress
from recoverd.world import world
from tasks.fence_devices import is_off
from tasks.hosts import paths, script
from tasks.needs import ClientNeeds, DeviceNeeds, EntryNeeds, HostNeeds, Needs, ServerNeeds, Slot
from tasks.observation import look
from tasks.postgres import LOGIN_TIMEOUT_S, QUERY_TIMEOUT_S
from tasks.together import together
from tasks.views import CONTROLLER

SCRIPT_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 3.0

SETTINGS = (
    "wal_log_hints",
    "data_checksums",
    "full_page_writes",
    "fsync",
    "hot_standby",
    "wal_level",
    "max_wal_senders",
    "max_replication_slots",
    "wal_retrieve_retry_interval",
    "wal_keep_size",
    "max_slot_wal_keep_size",
    "restore_command",
    "synchronous_standby_names",
    "synchronous_commit",
    "max_connections",
    "primary_slot_name",
)

_SETTINGS_QUERY = "select name, setting from pg_settings where name = any(%s)"

_RIGHTS_QUERY = """
select r.rolsuper as superuser,
       r.rolreplication as replication,
       has_function_privilege('pg_promote(boolean, integer)', 'execute') as may_promote,
       (select rolreplication and rolcanlogin from pg_roles where rolname = %(replicator)s) as replicator,
       (select coalesce(json_agg(json_build_object(
            'name', slot_name, 'active', active, 'status', wal_status) order by slot_name), '[]')
        from pg_replication_slots where slot_type = 'physical') as slots
from pg_roles r where r.rolname = current_user
"""


def survey(service: str) -> Needs:
    """Look at everything that a recovery of the service will need. Never raises for what does not answer."""
    wanted = world().inventory.service(service)
    view = look(service)
    calls: dict[tuple[str, str, str], Callable[[], Any]] = {}
    for host in wanted.hosts:
        calls["host", host, ""] = partial(_host, wanted, host)
        calls["server", host, ""] = partial(_server, wanted, host)
        for device in wanted.member(host).fencing:
            calls["device", host, device] = partial(_device, host, device)
    for client in wanted.clients:
        calls["client", client, ""] = partial(_client, client)
    for entry in wanted.entry_points:
        for vantage in (CONTROLLER, *wanted.clients):
            if isinstance(entry, VirtualAddress):
                calls["entry", entry.name, vantage] = partial(_entry, wanted, entry, vantage)
    found = together(calls)
    parts: dict[str, tuple[Any, ...]] = {
        kind: tuple(value for (sort, _, _), value in found.items() if sort == kind)
        for kind in ("host", "server", "device", "entry", "client")
    }
    return Needs(
        view=view,
        hosts=parts["host"],
        servers=parts["server"],
        devices=parts["device"],
        entries=parts["entry"],
        clients=parts["client"],
    )


def _host(service: Service, host: str) -> HostNeeds:
    here = world()
    try:
        ssh = here.connections.ssh(host, timeout_s=CONNECT_TIMEOUT_S)
        # The connection is made before the clock is read: its time must not count as the clock's.
        ssh.run(":", timeout_s=SCRIPT_TIMEOUT_S)
        before = time.time()
        done = ssh.run(script("readiness"), paths(service, host), timeout_s=SCRIPT_TIMEOUT_S)
        after = time.time()
    except RecoverdError as error:
        return HostNeeds(host=host, problem=error.message, hint=error.hint)
    if done.code != 0:
        return HostNeeds(host=host, problem=f"the script failed: {done.err.strip()[-200:]}", hint=f"log in to {host}")
    facts = done.facts()
    now = float(facts.get("now") or before)
    return HostNeeds(
        host=host,
        is_root=facts.get("uid") == "0",
        has_os_user=bool(facts.get("os_user")),
        clock_offset_s=offset(now, before, after),
        clock_error_s=after - before,
        missing_tools=tuple(facts.get("missing_tools", "").split()),
        missing_programs=tuple(facts.get("missing_programs", "").split()),
        missing_config=facts.get("missing_config", ""),
        data_version=facts.get("data_version", ""),
        state_writable="state_writable" in facts,
        unit=facts.get("unit"),
    )


def offset(there: float, before: float, after: float) -> float:
    """How far a clock that was read between two instants is ahead; 0 when it lies between them."""
    return there - after if there > after else min(0.0, there - before)


def _server(service: Service, host: str) -> ServerNeeds:
    here = world()
    replicator = service.postgres_of(host).replication_user
    try:
        session = here.connections.sql(service, host, timeout_s=LOGIN_TIMEOUT_S)
        settings = session.rows(_SETTINGS_QUERY, (list(SETTINGS),), timeout_s=QUERY_TIMEOUT_S)
        rights = session.rows(_RIGHTS_QUERY, {"replicator": replicator}, timeout_s=QUERY_TIMEOUT_S)[0]
    except RecoverdError as error:
        return ServerNeeds(host=host, problem=error.message)
    return ServerNeeds(
        host=host,
        settings={row["name"]: row["setting"] or "" for row in settings},
        superuser=bool(rights["superuser"]),
        may_promote=bool(rights["may_promote"]),
        replicator=rights["replicator"],
        slots=tuple(Slot(**slot) for slot in rights["slots"]),
    )


def _device(host: str, device: str) -> DeviceNeeds:
    try:
        off = is_off(world().inventory.fence_devices[device], host)
    except RecoverdError as error:
        return DeviceNeeds(device=device, host=host, problem=error.message, hint=error.hint)
    return DeviceNeeds(device=device, host=host, answer="off" if off else "on")


def _client(client: str) -> ClientNeeds:
    try:
        world().connections.ssh(client, timeout_s=CONNECT_TIMEOUT_S)
    except RecoverdError as error:
        return ClientNeeds(host=client, problem=error.message, hint=error.hint)
    return ClientNeeds(host=client)


def _entry(service: Service, entry: VirtualAddress, vantage: str) -> EntryNeeds:
    here = world()
    port, limit_s = entry.port or service.postgresql.port, here.policy.probe_timeout_s
    if vantage == CONTROLLER:
        return EntryNeeds(entry=entry.name, vantage=vantage, reach=reach_from_here(entry.ip, port, timeout_s=limit_s))
    try:
        ssh = here.connections.ssh(vantage, timeout_s=CONNECT_TIMEOUT_S)
    except RecoverdError:
        return EntryNeeds(entry=entry.name, vantage=vantage, reach=Reach.UNKNOWN)
    return EntryNeeds(entry=entry.name, vantage=vantage, reach=reach_through(ssh, entry.ip, port, timeout_s=limit_s))
