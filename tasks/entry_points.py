"""A host leaves the entry points that lead users to it, and comes back to those: virtual addresses that it holds, and
the load balancers of its zone that recoverd reaches over SSH. What AWS balances is in tasks/aws_balancers.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recoverd.connections import Completed
from recoverd.errors import Invalid, Stale
from recoverd.inventory import VirtualAddress
from recoverd.inventory.isolation_drains import HaproxyDrain
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_on

ADDRESS_TIMEOUT_S = 15.0
_TALK_S = 30.0
DRAIN_LIMIT_S = 180.0
"""Of one act; twice that is more than the longest `drain_s` that an inventory may give, and the talking."""

Before = Mapping[str, Any]


def addresses_of(host: str) -> tuple[tuple[str, str], ...]:
    """Virtual addresses that may stand on a host: service and entry point."""
    return tuple(
        (service.name, entry.name)
        for service in world().inventory.services.values()
        if host in service.hosts
        for entry in service.entry_points
        if isinstance(entry, VirtualAddress)
    )


def _holds_not(host: str, service: str, entry: str) -> Effect | None:
    return None if holds(host, service, entry) else Effect(f"{host} does not hold {_point(service, entry).ip}")


def _holds(host: str, service: str, entry: str) -> Effect | None:
    return Effect(f"{host} holds {_point(service, entry).ip}") if holds(host, service, entry) else None


@act(
    "take the address {entry} of {service} from {host}, which is isolated",
    ask=_holds_not,
    undo="tasks.entry_points:hold_address",
    time_limit_s=ADDRESS_TIMEOUT_S,
)
def leave_address(host: str, service: str, entry: str) -> None:
    """Take a virtual address off a host: whoever comes to it meets nobody until another server holds it."""
    _address(host, service, entry, "release")


@act("give the address {entry} of {service} back to {host}", ask=_holds, time_limit_s=ADDRESS_TIMEOUT_S)
def hold_address(host: str, service: str, entry: str) -> None:
    """Put a virtual address back.

    Raises:
        Stale: Another member holds it by now: users are served there.
    """
    for other in world().inventory.service(service).hosts:
        if other != host and holds(other, service, entry):
            raise Stale(
                f"{other} holds {_point(service, entry).ip} of {service} by now",
                f"leave it there, or `recoverd run switchover {service}`",
            )
    _address(host, service, entry, "claim")


def _left(host: str, balancer: str, drain: str) -> Effect | None:
    found = states_of(host, balancer, drain)
    if any(state != "maint" for state, _sessions in found.values()):
        return None
    return Effect(
        f"{balancer} sends nobody to {host}" + (f" ({', '.join(found)})" if found else ": it does not know it")
    )


def _states_now(host: str, balancer: str, drain: str) -> Before:
    return {"states": {backend: state for backend, (state, _) in states_of(host, balancer, drain).items()}}


@act(
    "drain {host} on the load balancer {balancer}",
    ask=_left,
    undo="tasks.entry_points:enter_balancer",
    remember=_states_now,
    time_limit_s=DRAIN_LIMIT_S,
)
def leave_balancer(host: str, balancer: str, drain: str) -> None:
    """No new session at once; open ones get `drain_s`; then maintenance, and what is left is cut."""
    wanted = drain_of(host, drain)
    variables = {"VERB": "leave", "DRAIN_S": str(math.ceil(wanted.drain_s))}
    _haproxy(host, balancer, wanted, variables, timeout_s=wanted.drain_s + _TALK_S)


def _entered(host: str, balancer: str, drain: str, remembered: Before) -> Effect | None:
    found = {backend: state for backend, (state, _) in states_of(host, balancer, drain).items()}
    if any(found.get(backend) != state for backend, state in remembered["states"].items()):
        return None
    told = ", ".join(f"{backend}: {state}" for backend, state in found.items())
    return Effect(f"{balancer} treats {host} as before ({told or 'it does not know it'})")


@act("put {host} back on the load balancer {balancer}", ask=_entered, time_limit_s=_TALK_S)
def enter_balancer(host: str, balancer: str, drain: str, remembered: Before) -> None:
    """Set the server to what it was set to in each backend.

    Raises:
        Stale: Somebody has set it to something else since, or a backend has lost it; nothing is changed.
    """
    found = {backend: state for backend, (state, _) in states_of(host, balancer, drain).items()}
    before = remembered["states"]
    moved = [
        f"{name} ({found.get(name, 'gone')})"
        for name in before
        if found.get(name) not in ("maint", "drain", before[name])
    ]
    if moved:
        raise Stale(
            f"somebody has changed {host} on {balancer} since it was isolated: {', '.join(moved)}",
            "see who, then set the server by hand",
        )
    states = " ".join(f"{backend}={state}" for backend, state in before.items())
    _haproxy(host, balancer, drain_of(host, drain), {"VERB": "set", "STATES": states}, timeout_s=_TALK_S)


def drains_of(host: str) -> tuple[HaproxyDrain, ...]:
    """The load balancers of a host's zone."""
    return world().inventory.zone_of(host).drains


def drain_of(host: str, name: str) -> HaproxyDrain:
    """The one of that name. Raises Invalid when the zone has none."""
    for one in drains_of(host):
        if one.name == name:
            return one
    raise Invalid(f"the zone of {host} has no drain {name}", "see `drains` in isolation.yaml")


def states_of(host: str, balancer: str, drain: str) -> dict[str, tuple[str, int]]:
    """What a load balancer has a host's server set to (ready, drain, maint), and its sessions, by backend."""
    facts = _haproxy(host, balancer, drain_of(host, drain), {"VERB": "ask"}, timeout_s=_TALK_S).facts()
    found = {}
    for key, value in facts.items():
        if key.startswith("server:"):
            state, _, sessions = value.partition(" ")
            found[key.removeprefix("server:")] = (state, int(sessions or 0))
    return found


def last_in(host: str, balancer: str, drain: str) -> tuple[str, ...]:
    """The backends of a load balancer that a host serves, and in which no other server takes users."""
    facts = _haproxy(host, balancer, drain_of(host, drain), {"VERB": "ask"}, timeout_s=_TALK_S).facts()
    serves = [
        key.removeprefix("server:")
        for key, value in facts.items()
        if key.startswith("server:") and value.startswith("ready ")
    ]
    return tuple(sorted(name for name in serves if facts.get(f"others:{name}") == "0"))


def _haproxy(
    host: str, balancer: str, drain: HaproxyDrain, variables: Mapping[str, str], *, timeout_s: float
) -> Completed:
    """Run the script on the balancer, which keeps the isolated host's epoch for itself: balancers serve many hosts."""
    known = {"SOCKET": drain.socket, "SERVER": drain.server_of(host), "BACKENDS": " ".join(drain.backends)}
    return run_on("haproxy", balancer, {**_guarded(host, f"host.{host}"), **known, **variables}, timeout_s=timeout_s)


def holds(host: str, service: str, entry: str) -> bool:
    """Whether a host holds a virtual address."""
    return "held" in _address(host, service, entry, "ask").facts()


def _address(host: str, service: str, entry: str, verb: str) -> Completed:
    point = _point(service, entry)
    device = point.interface or "" if verb == "claim" else ""
    variables = {**_guarded(host, "host"), "VERB": verb, "ADDRESS": point.address, "DEVICE": device}
    return run_on("address", host, variables, timeout_s=ADDRESS_TIMEOUT_S)


def _guarded(host: str, scope: str) -> dict[str, str]:
    """What the guard compares: this run's epoch of the isolated host."""
    here: Any = world()
    return {"SERVICE": scope, "EPOCH": str(here.epoch_of(host))}


def _point(service: str, entry: str) -> VirtualAddress:
    found = next(point for point in world().inventory.service(service).entry_points if point.name == entry)
    assert isinstance(found, VirtualAddress)  # noqa: S101  # addresses_of says so
    return found
