"""Whether hosts are cut off by what their peers say, and whether they are back: pure rules over what was reached when.

Silence proves nothing by itself: only a peer that reached a host before, by some way, is a witness that it is cut off. A port
that refuses is reached. One way that is open afterwards speaks against the host, however many are shut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from recoverd.words import counted

if TYPE_CHECKING:
    from recoverd.inventory import Inventory

SPARE = 2
"""So many peers more than witnesses are wanted are asked, where the zone names none: one may be silent."""

MOST_SAID = 3
"""So many of those that still reach a host are told in a sentence; all of them are in the record."""

ITSELF = "itself"
"""Who reached out from the host, as against the peers that reach in; `guest N` are the networks behind it."""

BACK = ("tcp", "icmp")
"""The ways that must be open again after a release. A flow was ended, and a guest may be gone."""


class Seen(BaseModel):
    """What was reached of one host, and from where.

    Attributes:
        addresses: Its own addresses, as far as they are known.
        ways: By peer: `tcp 10.0.0.1 22`, `icmp fd00::1`, `flow 10.0.0.1 22`; by ITSELF and its guests what they reached
            outside.
        silent: Peers that could not be asked, and why.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    addresses: tuple[str, ...] = ()
    ways: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    silent: Mapping[str, str] = Field(default_factory=dict)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Peers that reached it."""
        return tuple(peer for peer, ways in self.ways.items() if ways and is_peer(peer))


class Proof(BaseModel):
    """What peers prove of one host.

    Attributes:
        proven: It is cut off (or back, after a release).
        witnesses: Peers that reached it before, and were asked again.
        leaks: By peer, the ways that are open though they should not be, or the other way round.
        why: A sentence where it is not proven.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    proven: bool
    witnesses: tuple[str, ...] = ()
    leaks: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    why: str = ""

    @property
    def summary(self) -> str:
        """One line."""
        return self.why or f"{self.host}: {counted(len(self.witnesses), 'peer')} say so ({', '.join(self.witnesses)})"


def is_peer(name: str) -> bool:
    """Whether this is a peer of the host, and not what lives on it."""
    return name != ITSELF and not name.startswith("guest ")


def peers_for(inventory: Inventory, host: str, away: Collection[str]) -> tuple[str, ...]:
    """Who is asked about a host: those its zone names, else others of its groups, the innermost first, else any others.

    Args:
        inventory: What exists.
        host: The host.
        away: Hosts that are isolated, or about to be: they reach nobody.
    """
    zone, out = inventory.zone_of(host), {host, *away}
    if zone.peers:
        return tuple(peer for peer in zone.peers if peer not in out)
    near = [peer for group in reversed(inventory.hosts[host].groups) for peer in inventory.groups.get(group, ())]
    usable = (peer for peer in dict.fromkeys([*near, *inventory.hosts]) if peer in inventory.hosts and peer not in out)
    return tuple(usable)[: zone.witnesses + SPARE]


def is_management(address: str, networks: Collection[str]) -> bool:
    """Whether a peer's SSH is let through, so that it proves nothing by it. A name that is no address is not."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in ip_network(one, strict=False) for one in networks)


def prove_cut(host: str, before: Seen, after: Seen, wanted: int) -> Proof:
    """Whether a host is cut off.

    Args:
        host: Its name.
        before: What was reached of it before anything was done.
        after: What is reached now, by the same peers.
        wanted: So many witnesses must agree, or as many as there were before where they were fewer.
    """
    witnesses = tuple(peer for peer in before.witnesses if peer not in after.silent)
    leaks = {peer: ways for peer, ways in after.ways.items() if ways}
    why = ""
    if leaks:
        open_ = [_leak(peer, ways) for peer, ways in leaks.items()]
        more = f"; and by {counted(len(open_) - MOST_SAID, 'other')}" if len(open_) > MOST_SAID else ""
        why = f"{host} is still reached: {'; '.join(open_[:MOST_SAID])}{more}"
    elif not before.witnesses:
        said = "; ".join(f"{peer} was silent: {words}" for peer, words in before.silent.items())
        why = f"no peer reached {host} before, so that silence proves nothing" + (f" ({said})" if said else "")
    elif len(witnesses) < min(wanted, len(before.witnesses)):
        silent = ", ".join(peer for peer in before.witnesses if peer in after.silent)
        needed = counted(min(wanted, len(before.witnesses)), "witness").replace("witnesss", "witnesses")
        why = f"{len(witnesses)} of {needed} for {host} could be asked again; silent: {silent}"
    return Proof(host=host, proven=not why, witnesses=witnesses, leaks=leaks, why=why)


def prove_back(host: str, before: Seen, after: Seen) -> Proof:
    """Whether the peers that reached a host before reach it again, by the same ways."""
    lost = {}
    for peer in before.witnesses:
        missing = [way for way in before.ways[peer] if way.startswith(BACK) and way not in after.ways.get(peer, ())]
        if missing and peer not in after.silent:
            lost[peer] = tuple(missing)
    witnesses = tuple(peer for peer in before.witnesses if peer not in after.silent)
    why = ""
    if lost:
        why = f"{host} is not reached again: " + "; ".join(
            f"{peer} misses {', '.join(ways)}" for peer, ways in lost.items()
        )
    elif before.witnesses and not witnesses:
        why = f"nobody could be asked whether {host} is reached again"
    return Proof(host=host, proven=not why, witnesses=witnesses, leaks=lost, why=why)


def _leak(peer: str, ways: tuple[str, ...]) -> str:
    shown = ", ".join(ways[:4]) + (f" and {len(ways) - 4} more" if len(ways) > 4 else "")
    if peer == ITSELF:
        return f"it reaches {shown} itself"
    return f"a {peer} behind it reaches {shown}" if not is_peer(peer) else f"{peer} reaches it by {shown}"
