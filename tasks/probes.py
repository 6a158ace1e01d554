"""Which ways peers try to a host, and the host to them: addresses, ports, kinds, as the inventory and the host have them."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from recoverd.isolation.proof import is_management
from recoverd.world import world
from tasks.hosts import virtual_addresses
from tasks.needed import addresses_at

MOST_ADDRESSES = 16
"""So many addresses of one host are tried; those by which the inventory knows it are among them."""
FLOW_PEERS = 3
"""So many peers keep a connection to a host, one a family: sshd refuses new ones, ours among them, where too many have not logged in."""
MOST_OTHERS = 2


def known_of(host: str) -> tuple[str, ...]:
    """The addresses by which the inventory knows a host."""
    return tuple(sorted(addresses_at(world().inventory.host(host).address)))


def targets_of(host: str, own: Sequence[str]) -> tuple[str, ...]:
    """The addresses of a host that are tried: those it says are its own, without those of services, which move to others."""
    services = world().inventory.services.values()
    moving = {address.partition("/")[0] for service in services for address in virtual_addresses(service)}
    wanted = dict.fromkeys([*known_of(host), *(one for one in own if one not in moving)])
    return tuple(wanted)[:MOST_ADDRESSES]


def ways_of(host: str, peer: str, addresses: Sequence[str]) -> list[str]:
    """The ways by which a peer tries to reach a host."""
    zone, ports = world().inventory.zone_of(host), ports_of(host, peer)
    ways = [f"tcp {address} {port}" for address in addresses for port in ports]
    return ways + ([f"icmp {address}" for address in addresses] if zone.probes.icmp else [])


def ports_of(host: str, peer: str) -> tuple[int, ...]:
    """The TCP ports that a peer tries: not SSH where that is what management comes by."""
    inventory = world().inventory
    zone, wanted = inventory.zone_of(host), inventory.host(host)
    managing = any(is_management(one, zone.management) for one in addresses_at(inventory.host(peer).address))
    return tuple(port for port in zone.probes.tcp if not (managing and port == wanted.port))


def flows_of(host: str, peer: str, peers: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """The connections that a peer may keep: of each family the first that opens, SSH last, which ends those that do not log in."""
    if peer not in [*peers][:FLOW_PEERS]:
        return []
    ports = sorted(ports_of(host, peer), key=lambda port: port == world().inventory.host(host).port)
    first = {":" in address: address for address in reversed(addresses)}
    return [f"flow {address} {port}" for address in first.values() for port in ports]


def others_of(peer: str, peers: Sequence[str]) -> list[str]:
    """What shows whether a peer reaches anybody: other peers, and the machine that recoverd runs on."""
    inventory = world().inventory
    at = peers.index(peer)
    near = (*peers[at + 1 :], *peers[:at])[:MOST_OTHERS]
    ways = [f"tcp {address} {inventory.host(one).port}" for one in near for address in known_of(one)]
    return ways + [f"icmp {address}" for address in _mine_towards(peer)]


def outwards_of(host: str, peers: Sequence[str]) -> list[str]:
    """What a host tries to reach: SSH of its peers, and echoes from them and from the machine that recoverd runs on."""
    inventory = world().inventory
    ports = {address: inventory.host(peer).port for peer in peers for address in known_of(peer)}
    ways = [f"tcp {address} {port}" for address, port in ports.items()]
    return ways + [f"icmp {address}" for address in dict.fromkeys([*ports, *_mine_towards(host)])]


def _mine_towards(host: str) -> list[str]:
    """The address of this machine from which it speaks with a host."""
    found = []
    for address in known_of(host):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as one:
            try:
                one.connect((address, 9))  # nothing is sent: the kernel only chooses the way
            except OSError:
                continue
            found.append(str(one.getsockname()[0]))
    return found
