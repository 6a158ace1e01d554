"""Fencing: making sure that an old primary takes no more writes, and proving it.

First over SSH (stop the server, keep it from starting as a primary, take its addresses away); where the host cannot be
reached, by the fence devices that the inventory gives, in the style of ClusterLabs fence-agents.
Source: ClusterLabs, "Fence Agent API": options on standard input, status answers 0 for on and 2 for off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.errors import Unreachable
from recoverd.inventory import FenceDevice, Service
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.fence_devices import call_device, is_off
from tasks.hosts import run_script, view_host
from tasks.postgres import view_server
from tasks.views import Answer, HostView

STOP_S = 2
UNIT_S = 5
FENCE_TIME_LIMIT_S = 45.0
UNFENCE_TIME_LIMIT_S = 300.0  # one that was killed recovers first


# What an act's `ask` has just seen, for its `remember`, which follows it: looking twice would only cost users time.
_just_seen: dict[tuple[str, str], HostView] = {}


def _is_fenced(service: str, host: str) -> Effect | None:
    view = _just_seen[world().run.id, host] = _seen(service, host)
    if view.running or view.processes or view.addresses or not view.fenced:
        return None
    held = what_holds(view)
    if not held:
        return None
    return Effect(
        f"PostgreSQL on {host} is stopped and {held}",
        {"host": host, "by": "ssh", "control_state": view.control_state, "timeline": view.timeline},
    )


def what_holds(view: HostView) -> str:
    """What keeps a stopped server from coming back as a primary, for a sentence; empty when nothing does.

    Data that is not to be seen is no such thing: its volume may be mounted later.
    """
    if view.startable:
        return "would start read-only" if view.standby_signal else ""
    if view.held:
        return "cannot start"
    return "cannot be started by systemd; its data is not there" if view.masked else ""


def _before_fencing(service: str, host: str) -> Mapping[str, Any]:
    view = _just_seen.pop((world().run.id, host), None) or _seen(service, host)
    return {"was_standby": view.standby_signal, "was_running": view.running, "addresses": list(view.addresses)}


@act(
    "stop PostgreSQL on {host} and keep it from starting as a primary",
    ask=_is_fenced,
    undo="tasks.fencing:unfence",
    remember=_before_fencing,
    time_limit_s=FENCE_TIME_LIMIT_S,
)
def fence_by_ssh(service: str, host: str) -> None:
    """Fence over SSH. Frozen processes are killed; a full disk does not hinder it.

    Raises:
        Look: Nothing holds the server: its data is not to be seen (on a volume that is not mounted) and no unit is masked.
    """
    wanted = world().inventory.service(service)
    run_script("fence", wanted, host, {"STOP_S": str(STOP_S), "UNIT_S": str(UNIT_S)}, timeout_s=FENCE_TIME_LIMIT_S)


def _is_unfenced(service: str, host: str, remembered: dict[str, Any]) -> Effect | None:
    view = _seen(service, host)
    if view.fenced or not view.startable or view.standby_signal != bool(remembered["was_standby"]):
        return None
    if remembered["was_running"] and not _answers(service, host):
        return None
    return Effect(f"PostgreSQL on {host} is as it was before it was fenced", {"host": host})


@act("take the fence from PostgreSQL on {host}", ask=_is_unfenced, time_limit_s=UNFENCE_TIME_LIMIT_S)
def unfence(service: str, host: str, remembered: dict[str, Any]) -> None:
    """Undo `fence_by_ssh`: give the server back its role, its addresses, and start it where it was running.

    A primary in whose place other data has taken writes meanwhile goes on on a newer timeline than that did.
    """
    wanted = world().inventory.service(service)
    was_standby = "1" if remembered["was_standby"] else ""
    takes_writes = remembered["was_running"] and not was_standby
    if takes_writes:
        run_script("onward", wanted, host, {"VERB": "mark"}, timeout_s=15.0)
    run_script("unfence", wanted, host, {"WAS_STANDBY": was_standby}, timeout_s=15.0)
    if takes_writes:
        most_s = UNFENCE_TIME_LIMIT_S - 2 * FENCE_TIME_LIMIT_S
        onward = {"VERB": "go", "TIMEOUT_S": f"{most_s:.0f}"}
        run_script("onward", wanted, host, onward, timeout_s=most_s + FENCE_TIME_LIMIT_S)
    for entry in wanted.entry_points:
        if entry.kind == "virtual-address" and entry.address in remembered["addresses"]:
            claim = {"VERB": "claim", "ADDRESS": entry.address, "DEVICE": entry.interface or ""}
            run_script("address", wanted, host, claim, timeout_s=15.0)
    if remembered["was_running"]:
        run_script("server", wanted, host, {"VERB": "start", "MODE": "fast", "TIMEOUT_S": "30"}, timeout_s=40.0)


def _is_off(service: str, host: str, device: str) -> Effect | None:
    if not is_off(_device(device), host):
        return None
    return Effect(f"{host} is powered off, says {device}", {"host": host, "by": device})


@act(
    "power {host} off by {device}",
    ask=_is_off,
    undo="tasks.fencing:power_on",
    time_limit_s=FENCE_TIME_LIMIT_S,
)
def power_off(service: str, host: str, device: str) -> None:
    """Cut a host off by a fence device, which must confirm it."""
    world().connections.forget(host)
    call_device(_device(device), "off", host)


def _is_on(service: str, host: str, device: str) -> Effect | None:
    return None if is_off(_device(device), host) else Effect(f"{host} is powered on, says {device}", {"host": host})


@act("power {host} on by {device}", ask=_is_on, time_limit_s=FENCE_TIME_LIMIT_S)
def power_on(service: str, host: str, device: str) -> None:
    """Undo `power_off`. PostgreSQL must not be enabled at boot there; `recoverd check` looks for that."""
    call_device(_device(device), "on", host)


def devices_of(service: Service, host: str) -> tuple[str, ...]:
    """Names of the fence devices of a member, in the order to try them."""
    return service.member(host).fencing


def _device(name: str) -> FenceDevice:
    return world().inventory.fence_devices[name]


def _answers(service: str, host: str) -> bool:
    """Whether the server serves sessions: one that was killed recovers first."""
    here = world()
    view = view_server(here.inventory.service(service), host, connect_timeout_s=here.policy.probe_timeout_s)
    return view.answer is Answer.YES


def _seen(service: str, host: str) -> HostView:
    here = world()
    view = view_host(here.inventory.service(service), host, connect_timeout_s=here.policy.probe_timeout_s * 2)
    if view.answer is not Answer.YES:
        raise Unreachable(f"{host} cannot be asked over SSH: {view.problem}", "fence it by a device of the inventory")
    return view
