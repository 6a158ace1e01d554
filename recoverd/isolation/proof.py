"""Whether hosts are cut off by what their peers say, and whether they are back: pure rules over what was reached when.

Silence proves nothing by itself: only a peer that reached a host before is a witness that it is cut off, and only of those kinds of
way by which it did (`tcp6`, `icmp4`); a peer that reaches nobody at all any more is none. A port that refuses is reached. One way
that is open afterwards speaks against the host, however many are shut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal

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

Verdict = Literal["proven", "reached", "missed", "unknown"]
"""Cut off or back, as was to be shown; still reached though cut off; not reached though let back; nobody can tell."""


class Seen(BaseModel):
    """What was reached of one host, and from where.

    Attributes:
        addresses: Its own addresses, as far as they are known.
        ways: By peer: `tcp 10.0.0.1 22`, `icmp fd00::1`, `flow 10.0.0.1 22`; by ITSELF and its guests what they reached
            outside.
        silent: Peers that could not be asked, and why; ITSELF, where the host could not.
        tried: Kinds of ways that were tried, by anybody.
        cannot: By the same names as `ways`: kinds that cannot be tried from there.
        others: By peer: by which ways it reached others than this host; a peer that had nobody else to reach is not in it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    addresses: tuple[str, ...] = ()
    ways: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    silent: Mapping[str, str] = Field(default_factory=dict)
    tried: tuple[str, ...] = ()
    cannot: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def witnesses(self) -> tuple[str, ...]:
        """Peers that reached it."""
        return tuple(peer for peer, ways in self.ways.items() if ways and is_peer(peer))


class Proof(BaseModel):
    """What peers prove of one host.

    Attributes:
        verdict: What came of it.
        witnesses: Peers that reached it before, and were asked again.
        kinds: The kinds of ways that are shut (or open again) by their word: `tcp4`, `icmp6`, `flow4`; `out` for what begins there.
        untried: Kinds that were tried, but that nobody can say anything of: nobody reached it by them before.
        leaks: By peer, the ways that are open though they should not be, or the other way round.
        why: A sentence where it is not proven.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    verdict: Verdict
    witnesses: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    leaks: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    why: str = ""

    @property
    def proven(self) -> bool:
        """Whether it is cut off (or back, after a release)."""
        return self.verdict == "proven"

    @property
    def summary(self) -> str:
        """One line."""
        if self.why:
            return self.why
        words = f"{self.host}: {counted(len(self.witnesses), 'peer')} say so ({', '.join(self.witnesses)})"
        words += f", by {', '.join(self.kinds)}" if self.kinds else ""
        return words + (f"; nothing is known of {', '.join(self.untried)}" if self.untried else "")


def is_peer(name: str) -> bool:
    """Whether this is a peer of the host, and not what lives on it."""
    return name != ITSELF and not name.startswith("guest ")


def kind_of(way: str) -> str:
    """The kind of a way: `tcp4`, `tcp6`, `icmp4`, `icmp6`, `flow4`, `flow6`."""
    word, address, *_ = way.split()
    return f"{word}{6 if ':' in address else 4}"


def kinds_of(ways: Iterable[str]) -> set[str]:
    """The kinds that these ways are of."""
    return {kind_of(way) for way in ways}


def peers_for(inventory: Inventory, host: str, away: Collection[str]) -> tuple[str, ...]:
    """Who is asked about a host: those its zone names, else others of its groups, the innermost first, then any others.

    Args:
        inventory: What exists.
        host: The host.
        away: Hosts that are isolated, or about to be: they reach nobody.
    """
    zone, out = inventory.zone_of(host), {host, *away}
    if zone.peers:
        return tuple(peer for peer in dict.fromkeys(zone.peers) if peer in inventory.hosts and peer not in out)
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


def why_not_asked(peer: str, before: Seen, after: Seen) -> str:
    """Why the silence of a peer that reached the host before says nothing now; empty where it does."""
    if peer in after.silent:
        return after.silent[peer]
    if before.others.get(peer) and peer in after.others and not after.others[peer]:
        return "it reaches nobody else any more either"
    if not _again(peer, before, after):
        return "it has lost what it tried it with"
    return ""


def prove_cut(host: str, before: Seen, after: Seen, wanted: int, *, may_be_silent: bool = False) -> Proof:
    """Whether a host is cut off.

    Args:
        host: Its name.
        before: What was reached of it before anything was done.
        after: What is reached now, by the same peers.
        wanted: So many witnesses must agree, or as many as there were before where they were fewer.
        may_be_silent: The host itself cannot be asked any more, and that is meant.
    """
    witnesses = tuple(peer for peer in before.witnesses if not why_not_asked(peer, before, after))
    control = kinds_of(way for peer in before.witnesses for way in before.ways[peer])
    kinds = {kind for peer in witnesses for kind in _again(peer, before, after)}
    out = any(ways for name, ways in before.ways.items() if not is_peer(name))
    leaks = {name: ways for name, ways in after.ways.items() if ways}
    lost = {kind for kind in control - kinds if not kind.startswith("flow")}
    deaf = ITSELF in after.silent
    verdict: Verdict = "unknown"
    if leaks:
        verdict, why = "reached", f"{host} is still reached: {_leaking(leaks)}"
    elif not before.witnesses:
        why = f"no peer reached {host} before, so that silence proves nothing{_silent(before)}"
    elif len(witnesses) < (needed := min(wanted, len(before.witnesses))):
        said = {peer: why_not_asked(peer, before, after) for peer in before.witnesses if peer not in witnesses}
        why = f"{len(witnesses)} of {needed} witnesses of {host} could be asked again{_said(said)}"
    elif lost:
        why = f"whether {host} is reached by {', '.join(sorted(lost))} could not be tried again"
    elif out and deaf and not may_be_silent:
        why = f"{host} cannot be asked what it reaches itself: {after.silent[ITSELF]}"
    else:
        verdict, why = "proven", ""
    shut = sorted(kinds) + (["out"] if out and not deaf else [])
    untried = {*before.tried, *control, "out"} - {*shut}
    untried |= {"guests"} & {*after.cannot.get(ITSELF, ())}
    return Proof(
        host=host, verdict=verdict, witnesses=witnesses, kinds=tuple(shut), untried=tuple(sorted(untried)),
        leaks=leaks, why=why,
    )  # fmt: skip


def prove_back(host: str, before: Seen, after: Seen) -> Proof:
    """Whether the peers that reached a host before reach it again, by the same ways."""
    witnesses = tuple(peer for peer in before.witnesses if not why_not_asked(peer, before, after))
    lost, found = {}, set()
    for peer in witnesses:
        able = _again(peer, before, after)
        ways = [way for way in before.ways[peer] if way.startswith(BACK) and kind_of(way) in able]
        wanted = [way for way in ways if way.split()[1] in (after.addresses or before.addresses)]
        missing = [way for way in wanted if way not in after.ways.get(peer, ())]
        found |= kinds_of(wanted) - kinds_of(missing)
        if missing:
            lost[peer] = tuple(missing)
    verdict: Verdict = "proven"
    why = ""
    if lost:
        verdict = "missed"
        said = "; ".join(f"{peer} misses {', '.join(ways)}" for peer, ways in lost.items())
        why = f"{host} is not reached again: {said}"
    elif before.witnesses and not witnesses:
        verdict, why = "unknown", f"nobody could be asked whether {host} is reached again"
    return Proof(host=host, verdict=verdict, witnesses=witnesses, kinds=tuple(sorted(found)), leaks=lost, why=why)


def _again(peer: str, before: Seen, after: Seen) -> set[str]:
    """Kinds of ways by which a peer reached the host before, and that it could try again."""
    return kinds_of(before.ways[peer]) - {*after.cannot.get(peer, ())}


def _silent(seen: Seen) -> str:
    return _said({peer: words for peer, words in seen.silent.items() if is_peer(peer)})


def _said(words: Mapping[str, str]) -> str:
    return f" ({'; '.join(f'{peer}: {why}' for peer, why in words.items())})" if words else ""


def _leaking(leaks: Mapping[str, tuple[str, ...]]) -> str:
    said = [_leak(name, ways) for name, ways in leaks.items()]
    more = f"; and by {counted(len(said) - MOST_SAID, 'other')}" if len(said) > MOST_SAID else ""
    return "; ".join(said[:MOST_SAID]) + more


def _leak(name: str, ways: tuple[str, ...]) -> str:
    ordered = sorted(ways, key=lambda way: (not way.startswith("tcp"), way))
    shown = ", ".join(ordered[:4]) + (f" and {len(ways) - 4} more" if len(ways) > 4 else "")
    if name == ITSELF:
        return f"it reaches {shown} itself"
    return f"{name} reaches it by {shown}" if is_peer(name) else f"a {name} behind it reaches {shown}"
