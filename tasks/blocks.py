"""Networks that a host no longer talks with, by a table of its firewall that is recoverd's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from recoverd.errors import Look, Refused
from recoverd.isolation.containment import is_network, plain_address, read_networks, why_not_block
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_host, script

TIME_LIMIT_S = 30.0
SCRIPT = "came_from+block"


def look_at_firewall(host: str) -> dict[str, str]:
    """Whether the host can block at all (`no_nft`, `no_root`), its addresses (`own:`), where recoverd comes from (`from`)."""
    return _run(host, "look", world().run.id)


def never_blocked(host: str, seen: Mapping[str, str], management: Sequence[str]) -> dict[str, str]:
    """What must go on reaching a host, and what it is. Names that stand for addresses are left to the host's own word."""
    found = {text: "a management address of its zone" for text in management if is_network(text)}
    for name in seen:
        kind, _, address = name.partition(":")
        if kind == "own":
            found[address] = "its own address"
    with suppress(ValueError):
        found[plain_address(seen.get("from", ""))] = "which recoverd comes from"
    address = world().inventory.host(host).address
    return {**found, address: "its own address"} if is_network(address) else found


def check_block(host: str, networks: tuple[str, ...], seen: Mapping[str, str], management: Sequence[str]) -> None:
    """See that a host may block these networks.

    Raises:
        Refused: It would shut the operators out, or a network is too wide and nobody has forced it.
        Look: The host cannot block anything.
    """
    if "no_nft" in seen or "no_root" in seen:
        lacks = "nft is not there" if "no_nft" in seen else "recoverd is not root there"
        raise Look(f"{host} cannot block anything: {lacks}", f"install nftables on {host}, or use become in hosts.yaml")
    never = never_blocked(host, seen, management)
    for network in networks:
        why, by_force = why_not_block(network, never)
        if why and not (by_force and world().run.options.get("force")):
            more = (
                "a person who may force it adds --force" if by_force else "name the attacker's addresses more narrowly"
            )
            raise Refused(f"{host} must not block {network}: {why}", more)


def _is_blocked(host: str, addresses: str, for_s: int, management: Sequence[str]) -> Effect | None:
    seen = _run(host, "state", world().run.id)
    if "over" in seen:
        return Effect(f"the time of the block on {host} is over")
    if "stands" not in seen:
        return None
    return Effect(f"{host} blocks {addresses}", {"until": seen.get("until", "")})


def _this_run(host: str, addresses: str, for_s: int, management: Sequence[str]) -> dict[str, str]:
    return {"run": world().run.id}


@act(
    "block {addresses} on {host}", ask=_is_blocked, undo="tasks.blocks:unblock", remember=_this_run,
    time_limit_s=TIME_LIMIT_S,
)  # fmt: skip
def block(host: str, addresses: str, for_s: int, management: Sequence[str]) -> None:
    """Drop all traffic with these networks, in, out and through, and end what flows there already.

    Args:
        host: Where.
        addresses: Networks, joined by commas.
        for_s: Seconds after which the kernel lets them through again; 0: until released.
        management: What of the zone must go on reaching the host.

    Raises:
        Refused: It would shut the operators out.
    """
    networks = read_networks(addresses.split(","))
    check_block(host, networks, look_at_firewall(host), management)
    given = {
        "NETWORKS4": " ".join(one for one in networks if ":" not in one),
        "NETWORKS6": " ".join(one for one in networks if ":" in one),
        "FOR_S": str(for_s) if for_s else "",
        "BOOT": boot_script(),
    }
    _run(host, "block", world().run.id, **given)


def _is_let_through(
    host: str, addresses: str, for_s: int, management: Sequence[str], remembered: dict[str, str]
) -> Effect | None:
    if "kept" in _run(host, "state", remembered["run"]):
        return None
    return Effect(f"{host} no longer blocks {addresses} for run {remembered['run']}")


@act("let {addresses} through on {host} again", ask=_is_let_through, time_limit_s=TIME_LIMIT_S)
def unblock(host: str, addresses: str, for_s: int, management: Sequence[str], remembered: dict[str, str]) -> None:
    """Undo `block`, for the run that did it; what other runs block stays blocked."""
    _run(host, "release", remembered["run"], BOOT=boot_script())


def boot_script() -> str:
    """What a host runs when it boots, to block again what is blocked."""
    given = "SERVICE=host\nOS_USER=root\nPGDATA=/nonexistent\nVERB=boot\nRUN=\n"
    return f"# By recoverd: what its runs block on this host is blocked again at boot.\n{given}main() {{\n{script(SCRIPT)}\n}}\nmain\n"


def _run(host: str, verb: str, run: str, **variables: str) -> dict[str, str]:
    given = {"VERB": verb, "RUN": run, "NETWORKS4": "", "NETWORKS6": "", "FOR_S": "", "BOOT": "", **variables}
    return run_host(SCRIPT, host, given, timeout_s=TIME_LIMIT_S).facts()
