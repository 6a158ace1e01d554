"""A stopped server as a standby: what it needs on the primary, its settings, its start, and its stop."""

from __future__ import annotations

import base64
import re
from typing import Any

from recoverd.errors import Look, Unreachable
from recoverd.inventory import Service
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import is_address_of, run_script, view_host
from tasks.postgres import LOGIN_TIMEOUT_S, QUERY_TIMEOUT_S, view_server
from tasks.replication import ensure_slot, login_to, slot_of
from tasks.views import Answer, HostView

START_TIME_LIMIT_S = 60.0
CHECKPOINT_TIME_LIMIT_S = 600.0
NEAR_BYTES = 4 << 20
_CHECKPOINTS = 3

_HAS_SLOT = "select 1 from pg_replication_slots where slot_name = %s and slot_type = 'physical'"
_HAS_IDLE_SLOT = f"{_HAS_SLOT} and not active"
_DROP_SLOT = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active"
_SINCE_CHECKPOINT = """
select pg_wal_lsn_diff(pg_current_wal_lsn(), redo_lsn)::bigint as bytes, timeline_id as noted,
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int as timeline
from pg_control_checkpoint()
"""


def _has_slot(service: str, host: str, primary: str) -> Effect | None:
    if not _ask(service, primary, _HAS_SLOT, slot_of(host)):
        return None
    return Effect(f"{primary} keeps WAL for {host} in slot {slot_of(host)}", {"slot": slot_of(host)})


@act("make a slot for {host} on {primary}", ask=_has_slot, undo="tasks.standby:drop_slot", time_limit_s=15.0)
def make_slot(service: str, host: str, primary: str) -> None:
    """Let a server, primary or standby, keep the WAL that `host` will need."""
    wanted = _service(service)
    run_script("guard", wanted, primary, {}, timeout_s=15.0)
    ensure_slot(wanted, primary, host)


def _has_no_slot(service: str, host: str, primary: str) -> Effect | None:
    if _ask(service, primary, _HAS_IDLE_SLOT, slot_of(host)):
        return None
    return Effect(f"{primary} keeps no WAL for {host} in vain", {"slot": slot_of(host)})


@act("drop the slot for {host} on {primary}", ask=_has_no_slot, time_limit_s=15.0)
def drop_slot(service: str, host: str, primary: str) -> None:
    """Undo `make_slot`, unless the slot is in use: an unused one would keep WAL for ever."""
    run_script("guard", _service(service), primary, {}, timeout_s=15.0)
    _ask(service, primary, _DROP_SLOT, slot_of(host))


def _is_noted(service: str, primary: str) -> Effect | None:
    row = dict(_session(service, primary).rows(_SINCE_CHECKPOINT, timeout_s=QUERY_TIMEOUT_S)[0])
    if row["bytes"] > NEAR_BYTES or row["noted"] != row["timeline"]:
        return None
    return Effect(f"{primary} has written {row['bytes']} bytes of WAL since its checkpoint on timeline {row['noted']}")


@act("checkpoint {primary}", ask=_is_noted, time_limit_s=CHECKPOINT_TIME_LIMIT_S)
def checkpoint(service: str, primary: str) -> None:
    """Let a primary write out what is in memory: its control file then shows its timeline, and a stop is quick."""
    run_script("guard", _service(service), primary, {}, timeout_s=15.0)
    for _ in range(_CHECKPOINTS):  # under load, the second one has less to write, and is nearer
        _session(service, primary).rows("checkpoint", timeout_s=CHECKPOINT_TIME_LIMIT_S / _CHECKPOINTS)
        if _is_noted(service, primary):
            return


def _is_configured(service: str, host: str, primary: str) -> Effect | None:
    wanted = _service(service)
    said = run_script("standby", wanted, host, {"VERB": "ask", **_lines(wanted, host, primary)}, timeout_s=15.0).facts()
    return Effect(f"{host} is told to follow {primary}", {"host": host, "primary": primary}) if "set" in said else None


@act("tell the stopped server on {host} to follow {primary}", ask=_is_configured, time_limit_s=15.0)
def configure_standby(service: str, host: str, primary: str) -> None:
    """Write password file, and connection string and slot into postgresql.auto.conf, over whatever a rewind has left there."""
    wanted = _service(service)
    run_script("standby", wanted, host, {"VERB": "write", **_lines(wanted, host, primary)}, timeout_s=15.0)


def _is_released(service: str, host: str) -> Effect | None:
    view = _seen(service, host)
    if view.fenced or not view.startable or not view.standby_signal:
        return None
    return Effect(f"{host} may start, as a standby", {"host": host})


@act("take the fence from {host}, which will start as a standby", ask=_is_released, time_limit_s=15.0)
def release_fence(service: str, host: str) -> None:
    """Let the server be started again; standby.signal stays, so it starts read-only."""
    run_script("unfence", _service(service), host, {"WAS_STANDBY": "1"}, timeout_s=15.0)


def _streams(service: str, host: str, primary: str) -> Effect | None:
    """Both sides say so, on the same timeline: a standby that starts and never streams is of no use."""
    here, wanted = world(), _service(service)
    limit_s = here.policy.probe_timeout_s
    view = view_server(wanted, host, connect_timeout_s=limit_s)
    lead = view_server(wanted, primary, connect_timeout_s=limit_s)
    if view.answer is not Answer.YES or not view.in_recovery or view.receiver is None or not lead.is_primary:
        return None
    # A host may stream from another address than recoverd knows it by; it has named the primary as it was told to.
    told = view.receiver.sender_host == here.inventory.host(primary).address
    seen = [one for one in lead.replicas if one.state == "streaming" and (told or is_address_of(one.address, host))]
    if view.receiver.status != "streaming" or view.timeline != lead.timeline or not seen:
        return None
    return Effect(
        f"{host} streams from {primary} on timeline {view.timeline}", {"host": host, "timeline": view.timeline}
    )


@act(
    "start {host} as a standby of {primary}",
    ask=_streams,
    undo="tasks.standby:stop_standby",
    time_limit_s=START_TIME_LIMIT_S,
    retries=0,
)
def start_standby(service: str, host: str, primary: str) -> None:
    """Start a server that has standby.signal, and wait until it streams.

    Raises:
        Look: It has no standby.signal, so it would start as a primary.
    """
    view = _seen(service, host)
    if not view.standby_signal:
        raise Look(f"{host} has no standby.signal and is not started", "run `recoverd run rejoin` again")
    if not view.running:
        world().connections.forget(host)
        run_script(
            "server", _service(service), host, {"VERB": "start", "MODE": "fast", "TIMEOUT_S": "30"}, timeout_s=40.0
        )


def _is_stopped(service: str, host: str, primary: str) -> Effect | None:
    view = _seen(service, host)
    return None if view.running or view.processes else Effect(f"the server on {host} is stopped", {"host": host})


@act("stop the standby on {host}", ask=_is_stopped, time_limit_s=60.0)
def stop_standby(service: str, host: str, primary: str) -> None:
    """Stop a standby, for which `primary` is left as it is."""
    world().connections.forget(host)
    run_script("server", _service(service), host, {"VERB": "stop", "MODE": "fast", "TIMEOUT_S": "50"}, timeout_s=60.0)


def _lines(service: Service, host: str, primary: str) -> dict[str, str]:
    """The two lines for postgresql.auto.conf, and the password file; the host's own user, password file and TLS settings are kept."""
    said = run_script("standby", service, host, {"VERB": "read"}, timeout_s=15.0).facts()
    line = base64.b64decode(said.get("conninfo", "")).decode()
    found = re.match(r"\s*primary_conninfo\s*=\s*'(.*)'\s*$", line)
    login = login_to(service, host, primary, _unquoted(found[1]) if found else "")
    slot = slot_of(host) if service.postgresql.slots else ""
    conninfo = f"primary_conninfo = '{_quoted(login.conninfo)}'"
    return {"CONNINFO": conninfo, "SLOT": f"primary_slot_name = '{slot}'", **login.variables}


def _quoted(text: str) -> str:
    """As ALTER SYSTEM writes it into postgresql.auto.conf."""
    return text.replace("\\", "\\\\").replace("'", "''")


def _unquoted(text: str) -> str:
    return text.replace("''", "'").replace("\\\\", "\\")


def _session(service: str, host: str) -> Any:
    return world().connections.sql(_service(service), host, timeout_s=LOGIN_TIMEOUT_S)


def _ask(service: str, host: str, sql: str, *values: Any) -> Any:
    return _session(service, host).value(sql, values, timeout_s=QUERY_TIMEOUT_S)


def _service(name: str) -> Service:
    return world().inventory.service(name)


def _seen(service: str, host: str) -> HostView:
    view = view_host(_service(service), host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if view.answer is not Answer.YES:
        raise Unreachable(f"{host} cannot be asked over SSH: {view.problem}", "see `recoverd check`")
    return view
