"""Entry points: how the ways in to a service are led to another server.

One class a kind, behind one small interface: HAProxy, PgBouncer, DNS and the like join by another entry in `DRIVERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from recoverd.inventory import EntryPoint, Libpq, Service, VirtualAddress
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_script

ADDRESS_TIMEOUT_S = 15.0


class Driver(Protocol):
    """What recoverd needs of a kind of entry point."""

    def lead_to(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Lead users to the server on `host`; no effect when they are led there already."""
        ...

    def lead_away(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Stop leading users to the server on `host`."""
        ...

    def servers(self, service: Service, entry: EntryPoint) -> tuple[tuple[str, int], ...]:
        """Addresses and ports that a client tries, in order."""
        ...


class VirtualAddressDriver:
    """An address that stands on the primary's network interface."""

    def lead_to(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Add the address there and tell the neighbours (gratuitous ARP)."""
        claim_address(service.name, entry.name, host)

    def lead_away(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Take the address from there."""
        release_address(service.name, entry.name, host)

    def servers(self, service: Service, entry: EntryPoint) -> tuple[tuple[str, int], ...]:
        """The address itself."""
        assert isinstance(entry, VirtualAddress)  # noqa: S101  # DRIVERS says so
        return ((entry.ip, entry.port or service.postgresql.port),)


class LibpqDriver:
    """Clients that know all members and look for the one that takes writes: there is nothing to move."""

    def lead_to(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Nothing: the clients find it."""

    def lead_away(self, service: Service, entry: EntryPoint, host: str) -> None:
        """Nothing: the clients leave a server that takes no writes."""

    def servers(self, service: Service, entry: EntryPoint) -> tuple[tuple[str, int], ...]:
        """All members."""
        assert isinstance(entry, Libpq)  # noqa: S101  # DRIVERS says so
        hosts = world().inventory.hosts
        return tuple((hosts[member].address, service.postgres_of(member).port) for member in service.hosts)


DRIVERS: Mapping[str, Driver] = {"virtual-address": VirtualAddressDriver(), "libpq": LibpqDriver()}


def lead_users_to(service: Service, host: str) -> None:
    """Lead every entry point of a service to the server on a host."""
    for entry in service.entry_points:
        DRIVERS[entry.kind].lead_to(service, entry, host)


def lead_users_away(service: Service, host: str) -> None:
    """Stop leading users to the server on a host, at every entry point."""
    for entry in service.entry_points:
        DRIVERS[entry.kind].lead_away(service, entry, host)


def _holds(service: str, entry: str, host: str) -> Effect | None:
    return Effect(f"{host} holds {_address(service, entry)}", {"host": host}) if _held(service, entry, host) else None


def _holds_not(service: str, entry: str, host: str) -> Effect | None:
    held = _held(service, entry, host)
    return Effect(f"{host} does not hold {_address(service, entry)}", {"host": host}) if held is False else None


@act(
    "move the address {entry} of {service} to {host}",
    ask=_holds,
    undo="tasks.traffic:release_address",
    time_limit_s=ADDRESS_TIMEOUT_S,
)
def claim_address(service: str, entry: str, host: str) -> None:
    """Add a virtual address to a host and announce it."""
    wanted, point = _both(service, entry)
    variables = {"VERB": "claim", "ADDRESS": point.address, "DEVICE": point.interface or ""}
    run_script("address", wanted, host, variables, timeout_s=ADDRESS_TIMEOUT_S)


@act(
    "take the address {entry} of {service} from {host}",
    ask=_holds_not,
    undo="tasks.traffic:claim_address",
    time_limit_s=ADDRESS_TIMEOUT_S,
)
def release_address(service: str, entry: str, host: str) -> None:
    """Take a virtual address from a host."""
    wanted, point = _both(service, entry)
    variables = {"VERB": "release", "ADDRESS": point.address, "DEVICE": ""}
    run_script("address", wanted, host, variables, timeout_s=ADDRESS_TIMEOUT_S)


def _held(service: str, entry: str, host: str) -> bool:
    wanted, point = _both(service, entry)
    asked = {"VERB": "ask", "ADDRESS": point.address, "DEVICE": ""}
    return "held" in run_script("address", wanted, host, asked, timeout_s=ADDRESS_TIMEOUT_S).facts()


def _both(service: str, entry: str) -> tuple[Service, VirtualAddress]:
    wanted = world().inventory.service(service)
    found = next(point for point in wanted.entry_points if point.name == entry)
    assert isinstance(found, VirtualAddress)  # noqa: S101  # only that driver calls this
    return wanted, found


def _address(service: str, entry: str) -> str:
    return _both(service, entry)[1].ip
