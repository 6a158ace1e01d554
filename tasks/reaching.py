"""What peers reach of hosts, and what hosts reach themselves: one bounded script for each, all probes of it at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from pydantic import Field

from recoverd.connections import Completed
from recoverd.errors import RecoverdError
from recoverd.isolation.proof import ITSELF, Seen, is_peer, kinds_of
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.hosts import run_on
from tasks.probes import flows_of, known_of, others_of, outwards_of, targets_of, ways_of
from tasks.together import together
from tasks.views import Facts

AT_MOST = 64
LIMIT_S = 2
"""So long one probe waits: one packet that is lost is sent again within that."""
KEEP_S = 300
"""So long a peer keeps its flows at most, until it is asked for them: the hosts are cut off by then, their users drained before."""
_AT_ONCE = 800
_JOBS_AT_ONCE = 32
_TALK_S = 15.0
_MOST_S = 90.0

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
        silent = sorted({peer for seen in self.hosts.values() for peer in seen.silent if is_peer(peer)})
        return words + (f"; silent: {', '.join(silent)}" if silent else "")


class Said(Facts):
    """What one script said.

    Attributes:
        ways: By who tried (`-` a peer, ITSELF, `guest N`): what was reached, and whether it was open or refused.
        cannot: Likewise: kinds that cannot be tried.
        mine: Which of the addresses that were tried are its own.
        problem: Why it could not be asked, or did not come to its end: then what it does not name says nothing.
    """

    ways: dict[str, dict[str, str]] = Field(default_factory=dict)
    cannot: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    mine: tuple[str, ...] = ()
    problem: str = ""

    def of(self, name: str, only: Collection[str] = ("open", "refused")) -> tuple[str, ...]:
        """The ways that one of them reached."""
        return tuple(way for way, how in self.ways.get(name, {}).items() if how in only)


@observe("look what peers reach of the hosts before", time_limit_s=120.0)
def look_before(asked: Asked) -> Reach:
    """All ways of all peers at once, and a connection from some of them that is kept; a plan keeps none."""
    own = together({host: partial(_own, host) for host in asked}, at_most=AT_MOST)
    targets = {host: targets_of(host, some) for host, some in own.items()}
    return _look(asked, targets, "try" if world().dry_run else "keep")


@observe("look what peers reach of the hosts now", time_limit_s=120.0)
def look_after(asked: Asked, before: Reach) -> Reach:
    """The same ways, and whether the connections that were kept still pass."""
    return _look(asked, {host: before.of(host).addresses or known_of(host) for host in asked}, "pass")


def _own(host: str) -> tuple[str, ...]:
    """The addresses that a host says it has. One that cannot be asked is known by the inventory alone, and its cut will fail."""
    try:
        said = run_on("own", host, {}, timeout_s=_TALK_S).facts()
    except RecoverdError:
        return ()
    return tuple(key.removeprefix("own:") for key in said if key.startswith("own:"))


def _look(asked: Asked, targets: Mapping[str, tuple[str, ...]], verb: str) -> Reach:
    """Every peer once, for all hosts that it is asked about; every host once, for what it reaches itself."""
    peers = sorted({peer for some in asked.values() for peer in some})
    others = {peer: others_of(peer, peers) for peer in peers}
    inwards = {peer: partial(_ask_peer, peer, asked, targets, others[peer], verb) for peer in peers}
    outwards = {f"{ITSELF} {host}": partial(_ask_host, host, asked[host]) for host in asked}
    said = together({**inwards, **outwards}, at_most=AT_MOST)
    held = {address for peer in peers for address in said[peer].mine}
    return Reach(
        hosts={
            host: _seen(host, asked[host], targets[host], held, said[f"{ITSELF} {host}"], said, others)
            for host in asked
        }
    )


def _seen(
    host: str, peers: Sequence[str], targets: Sequence[str], held: Collection[str], itself: Said,
    said: Mapping[str, Said], others: Mapping[str, Collection[str]],
) -> Seen:  # fmt: skip
    """What of all that was said is about one host.

    An address that a peer holds (one that moves, or that of a bridge for containers, which every host has) is not the host's any
    more, whoever answers there; but for those by which the inventory knows it. A peer that is refused everywhere is refused by a
    packet filter of its own.
    """
    known = known_of(host)
    addresses = tuple(one for one in targets if one in known or one not in held)
    heard = {peer: said[peer] for peer in peers if not said[peer].problem}
    silent = {peer: said[peer].problem for peer in peers if said[peer].problem}
    out = {name: itself.of(name, only=("open",)) for name in itself.ways}
    near = {peer: [way for way in one.of("-", only=("open",)) if way in others[peer]] for peer, one in heard.items()}
    honest = {
        peer: ("open", "refused") if near[peer] or not {*one.of("-")} & {*others[peer]} else ("open",)
        for peer, one in heard.items()
    }
    mine = {
        peer: [way for way in one.of("-", only=honest[peer]) if way not in others[peer]] for peer, one in heard.items()
    }
    return Seen(
        addresses=addresses,
        ways={
            **{name: ways for name, ways in out.items() if ways and not itself.problem},
            **{peer: tuple(way for way in ways if way.split()[1] in addresses) for peer, ways in mine.items()},
        },
        silent={**silent, **({ITSELF: itself.problem} if itself.problem else {})},
        tried=tuple(sorted(kinds_of(way for peer in peers for way in ways_of(host, peer, addresses)))),
        cannot={**itself.cannot, **{peer: one.cannot["-"] for peer, one in heard.items() if "-" in one.cannot}},
        others={peer: tuple(ways) for peer, ways in near.items() if others[peer]},
    )


def _ask_peer(
    peer: str, asked: Asked, targets: Mapping[str, tuple[str, ...]], others: Sequence[str], verb: str
) -> Said:
    """What a peer reaches of hosts, and of others that show whether it reaches anybody."""
    ways, flows = [*others], list[str]()
    for host in (host for host in asked if peer in asked[host]):
        ways += ways_of(host, peer, targets[host])
        flows += flows_of(host, peer, asked[host], targets[host]) if verb == "keep" else ()
    return _ask(peer, verb, [*dict.fromkeys([*ways, *flows])], "-")


def _ask_host(host: str, peers: Sequence[str]) -> Said:
    """What a host, and what lives on it, reaches of its peers. What refuses there may be its own packet filter."""
    return _ask(host, "out", outwards_of(host, peers), ITSELF)


def _ask(host: str, verb: str, ways: Sequence[str], name: str) -> Said:
    """Have a host try ways. One that cannot be asked, or whose probes do not end, is a value."""
    given = {
        "VERB": verb, "WAYS": "\n".join(ways), "LIMIT_S": str(LIMIT_S), "KEEP_S": str(KEEP_S),
        "TOTAL_S": str(LIMIT_S * (1 + len(ways) // _AT_ONCE) + 5),
    }  # fmt: skip
    limit_s = min(_MOST_S, _TALK_S + (LIMIT_S + 1) * (1 + len(ways) // _JOBS_AT_ONCE))
    try:
        return read_said(run_on("reacher+reach", host, given, timeout_s=limit_s), name)
    except RecoverdError as error:
        return Said(problem=error.message)


def read_said(done: Completed, name: str) -> Said:
    """The facts of the script, whose own probes go by `name`. A guest whose probes did not end counts as one that cannot be tried."""
    ways: dict[str, dict[str, str]] = {}
    cannot: dict[str, set[str]] = {}
    mine, ended = [], set()
    for key, word in done.facts().items():
        kind, _, rest = key.partition(":")
        who, _, what = rest.partition(":")
        if kind == "way":
            ways.setdefault(who, {})[what] = word
        elif kind == "no":
            cannot.setdefault(who, set()).add(what)
        elif kind == "mine":
            mine.append(rest)
        elif kind == "begun":
            ways.setdefault(rest, {})
        elif kind == "done":
            ended.add(rest)
    if {*ways} - ended - {name}:
        cannot.setdefault(name, set()).add("guests")
    said = done.err.strip().splitlines()
    problem = "" if name in ended else f"its probes did not come to their end{f': {said[-1]}' if said else ''}"
    return Said(
        ways=ways, cannot={who: tuple(sorted(some)) for who, some in cannot.items()}, mine=tuple(mine), problem=problem
    )
