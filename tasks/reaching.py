"""What peers reach of hosts, and what hosts reach themselves: one bounded script for each, all probes of it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from pydantic import Field

from recoverd.connections import Completed
from recoverd.errors import RecoverdError
from recoverd.isolation.proof import ITSELF, Seen, is_management, is_peer
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.hosts import run_on
from tasks.needed import addresses_at
from tasks.together import together
from tasks.views import Facts

AT_MOST = 64
LIMIT_S = 2
"""So long all probes of one script wait: one packet that is lost is sent again within that."""
KEEP_S = 900
"""So long a peer keeps its flows at most: until the hosts are cut off, their users drained before."""
_TALK_S = 20.0

Asked = Mapping[str, Sequence[str]]
"""The peers of each host."""


class Reach(Facts):
    """What was reached of hosts, and from where.

    Attributes:
        hosts: By host.
    """

    hosts: dict[str, Seen] = Field(default_factory=dict)

    def of(self, host: str) -> Seen:
        """Of one of them."""
        return self.hosts.get(host, Seen())

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        ways = sum(len(some) for seen in self.hosts.values() for peer, some in seen.ways.items() if is_peer(peer))
        mute = [host for host, seen in self.hosts.items() if not seen.witnesses]
        words = f"{counted(len(self.hosts), 'host')} reached by {counted(ways, 'way')}"
        words += f"; nobody reaches {', '.join(mute)}" if mute and ways else ""
        silent = sorted({peer for seen in self.hosts.values() for peer in seen.silent})
        return words + (f"; silent: {', '.join(silent)}" if silent else "")


@observe("look what peers reach of the hosts before", time_limit_s=120.0)
def look_before(asked: Asked) -> Reach:
    """All ways of all peers at once, and a connection from each that is kept."""
    return _look(asked, _targets(asked), keep=True)


@observe("look what peers reach of the hosts now", time_limit_s=120.0)
def look_after(asked: Asked, before: Reach) -> Reach:
    """The same ways, and whether the connections that were kept still pass."""
    return _look(asked, {host: before.of(host).addresses or _known(host) for host in asked}, keep=False)


def _targets(asked: Asked) -> dict[str, tuple[str, ...]]:
    """Every address of each host, of both families, as far as it says so."""
    own = together({host: partial(_own, host) for host in asked}, at_most=AT_MOST)
    return {host: tuple(dict.fromkeys([*_known(host), *some])) for host, some in own.items()}


def _known(host: str) -> tuple[str, ...]:
    return tuple(sorted(addresses_at(world().inventory.host(host).address)))


def _own(host: str) -> tuple[str, ...]:
    try:
        said = run_on("own", host, {}, timeout_s=_TALK_S).facts()
    except (
        RecoverdError
    ):  # one that cannot be asked is known by the inventory alone, and fails where it is to be cut off
        return ()
    return tuple(key.removeprefix("own:") for key in said if key.startswith("own:"))


def _look(asked: Asked, targets: Mapping[str, tuple[str, ...]], *, keep: bool) -> Reach:
    """Every peer once, for all hosts that it is asked about; every host once, for what it reaches itself."""
    peers = sorted({peer for some in asked.values() for peer in some})
    behind = {peer: [host for host in asked if peer in asked[host]] for peer in peers}
    inwards = {peer: partial(_ask_peer, peer, behind[peer], targets, keep) for peer in peers}
    outwards = {f"{ITSELF} {host}": partial(_ask_host, host, asked[host]) for host in asked}
    said = together({**inwards, **outwards}, at_most=AT_MOST)
    found = {}
    for host in asked:
        out = said[f"{ITSELF} {host}"]
        ways = dict(out) if isinstance(out, dict) else {}
        silent = {}
        for peer in asked[host]:
            heard = said[peer]
            if isinstance(heard, str):
                silent[peer] = heard
            else:
                ways[peer] = tuple(way for way in heard.get("-", ()) if way.split()[1] in targets[host])
        found[host] = Seen(addresses=targets[host], ways=ways, silent=silent)
    return Reach(hosts=found)


def _ask_peer(
    peer: str, hosts: Sequence[str], targets: Mapping[str, tuple[str, ...]], keep: bool
) -> dict[str, tuple[str, ...]] | str:
    """The ways by which a peer reaches hosts, or why it cannot be asked."""
    ways, flows = [], []
    for host in hosts:
        ports = ports_of(host, peer)
        for address in targets[host]:
            ways += [f"tcp {address} {port}" for port in ports]
            ways += [f"icmp {address}"] if world().inventory.zone_of(host).probes.icmp else []
            flows += [f"{address} {port}" for port in ports[:1]]
    given = {"WAYS": "\n".join(ways), "FLOWS": "\n".join(flows), "VERB": "keep" if keep else "pass"}
    try:
        done = _run(peer, given)
    except RecoverdError as error:
        return error.message
    return _ways(done)


def ports_of(host: str, peer: str) -> tuple[int, ...]:
    """The TCP ports that a peer tries: not SSH where that is what management comes by."""
    inventory = world().inventory
    zone, wanted = inventory.zone_of(host), inventory.host(host)
    managing = any(is_management(one, zone.management) for one in addresses_at(inventory.host(peer).address))
    return tuple(port for port in zone.probes.tcp if not (managing and port == wanted.port))


def _ask_host(host: str, peers: Sequence[str]) -> dict[str, tuple[str, ...]] | str:
    """What a host, and what lives on it, reaches of its peers. What refuses there may be its own packet filter."""
    inventory = world().inventory
    places = {
        address: inventory.host(peer).port for peer in peers for address in addresses_at(inventory.host(peer).address)
    }
    ways = [way for address, port in places.items() for way in (f"tcp {address} {port}", f"icmp {address}")]
    try:
        done = _run(host, {"WAYS": "\n".join(ways), "VERB": "out"})
    except RecoverdError as error:
        return error.message
    return _ways(done, only="open")


def _run(host: str, given: Mapping[str, str]) -> Completed:
    variables = {"LIMIT_S": str(LIMIT_S), "KEEP_S": str(KEEP_S), "WAYS": "", "FLOWS": "", **given}
    return run_on("reach", host, variables, timeout_s=_TALK_S)


def _ways(done: Completed, only: str = "") -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for key, how in done.facts().items():
        kind, _, rest = key.partition(":")
        name, _, way = rest.partition(":")
        if kind == "way" and (not only or how == only):
            found.setdefault(name, []).append(way)
    return {name: tuple(some) for name, some in found.items()}
