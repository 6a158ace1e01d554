"""A host is cut off the network by its own packet filter, and let back: all in tasks/scripts/cut.sh, which says how."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from recoverd.errors import Look, RecoverdError, TimedOut, Unreachable
from recoverd.isolation.containment import read_networks
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_host, script

TIME_LIMIT_S = 120.0
EXEC_LIMIT_S = 15.0
CONFIRM_LIMIT_S = 20.0
"""So long a new connection is tried for, and never longer than half of the timer."""
RELEASE_LIMIT_S = 60.0
_CONNECT_S = 3.0
_SCRIPT = "came_from+cut"


def look_at_cut(host: str) -> dict[str, str]:
    """What a host's packet filter says: `inet` and `l2` (held, timer, over, none), the devices that are hooked (`ingress`,
    `egress`) and those that are not (`bare`), `boot`, `changed_inet`, `changed_l2`, `no_nft`, `no_root`.

    Raises:
        RecoverdError: The host cannot be asked.
    """
    return _run(host, "state")


def why_not_cut(seen: Mapping[str, str]) -> str:
    """Why a host does not count as cut off for good by what it says; empty where it does. Pure."""
    if "no_nft" in seen or "no_root" in seen:
        return "nft is not there" if "no_nft" in seen else "recoverd is not root there"
    words = []
    if seen["inet"] != "held":
        words.append(
            {"timer": "its timer still runs", "over": "its timer is over"}.get(seen["inet"], "its rules are gone")
        )
    elif "changed_inet" in seen:
        words.append("somebody has changed its rules")
    if seen["l2"] == "none":
        words.append("raw frames pass: its kernel has no hook for them, or the rules are gone")
    elif seen["inet"] == "held" and ("changed_l2" in seen or seen["l2"] != "held"):
        words.append("somebody has changed its rules for raw frames")
    if seen["l2"] != "none" and (bare := seen.get("bare", "").split()):
        words.append(f"raw frames pass through {', '.join(bare)}")
    if "boot" not in seen:
        words.append("a reboot would bring it back")
    return "; ".join(words)


def _is_cut(host: str, management: Sequence[str], dhcp: Sequence[str], timer_s: int) -> Effect | None:
    seen = _run(host, "state")
    if why_not_cut(seen) and not (_is_held(seen) and seen["l2"] == "none"):
        return None
    hooks = [hook for hook in ("ingress", "egress") if seen.get(hook, "").strip()]
    words = (
        f"raw frames too ({' and '.join(hooks)})" if hooks else "but for raw frames, for which its kernel has no hook"
    )
    return Effect(
        f"{host} is cut off, {words}", {"hooks": hooks, "devices": seen.get("ingress", "").split(), "inet": True}
    )


def _is_held(seen: Mapping[str, str]) -> bool:
    return seen.get("inet") == "held" and "boot" in seen and "changed_inet" not in seen


@act("cut {host} off by its packet filter", ask=_is_cut, undo="tasks.firewall:put_back", time_limit_s=TIME_LIMIT_S)
def cut(host: str, management: Sequence[str], dhcp: Sequence[str], timer_s: int) -> None:
    """Cut everything but management over SSH, behind a timer in the kernel; over a new connection make it stay, also across boots.

    Args:
        host: Where.
        management: Addresses and networks that SSH must stay reachable from; none: where this session comes from.
        dhcp: Servers that it may go on asking for its address.
        timer_s: Seconds after which the host comes back by itself, unless it was confirmed.

    Raises:
        Look: It cannot be cut; or it was, and nobody can reach it any more: it comes back by itself.
    """
    given = {
        "MANAGEMENT": " ".join(read_networks(management)), "DHCP": " ".join(dhcp), "TIMER_S": str(timer_s),
        "PORT": str(world().inventory.host(host).port),
    }  # fmt: skip
    began = time.monotonic()
    try:
        said = _run(host, "cut", given, timeout_s=min(EXEC_LIMIT_S, timer_s))
    except (Unreachable, TimedOut) as error:
        raise _lost(host, timer_s, error) from error
    known = {**given, "MANAGEMENT": said["management"], "PORT": said["port"]}
    _confirm(host, timer_s, began, {**known, "BOOT": boot_script(known), "DEVICES": said.get("devices", "")})


def _confirm(host: str, timer_s: int, began: float, given: dict[str, str]) -> None:
    """Make the cut stay, over a new connection: the old one might live on where no other would come about."""
    here, until = world(), began + min(CONFIRM_LIMIT_S, timer_s / 2)
    while True:
        here.connections.forget(host)
        try:
            here.connections.ssh(host, timeout_s=_CONNECT_S)
            break
        except (Unreachable, TimedOut) as error:
            if time.monotonic() >= until:
                raise _lost(host, timer_s, error) from error
    try:
        seen = _run(host, "hold", given)
    except (Unreachable, TimedOut) as error:
        raise _lost(host, timer_s, error) from error
    if "changed_inet" in seen or "changed_l2" in seen:
        raise Look(
            f"{host} was cut off, and somebody changes its rules as they are made: {why_not_cut(seen)}",
            "cut it off at its switch, or in AWS; then run isolate again",
        )


def _lost(host: str, timer_s: int, error: RecoverdError) -> Look:
    return Look(
        f"{host} was cut off, and management does not get through to it ({error.message}): "
        f"it comes back by itself within {timer_s} s",
        "see `management` of its zone in isolation.yaml; empty, it is where recoverd comes from; then resume the run",
    )


def _is_back(host: str, management: Sequence[str], dhcp: Sequence[str], timer_s: int) -> Effect | None:
    seen = _run(host, "state")
    if "boot" in seen or seen.get("inet", "none") != "none" or seen.get("l2", "none") != "none":
        return None
    return Effect(f"{host} is on the network again, and nothing of its isolation is left on it")


@act("let {host} back on the network", ask=_is_back, time_limit_s=RELEASE_LIMIT_S)
def put_back(host: str, management: Sequence[str], dhcp: Sequence[str], timer_s: int) -> None:
    """End the connections that stood before, then take the rules off, and what would bring them back at a boot.

    Raises:
        Unreachable: The host is silent.
    """
    _run(host, "release", timeout_s=RELEASE_LIMIT_S)


def boot_script(known: Mapping[str, str]) -> str:
    """What a host runs when it boots, to be cut off again."""
    given = {"SERVICE": "host", "OS_USER": "root", "PGDATA": "/nonexistent", "VERB": "boot", "TIMER_S": "", **known}
    lines = "".join(f"{name}='{value}'\n" for name, value in given.items() if name != "BOOT")
    return f"# By recoverd: this host is isolated, and is cut off again at boot.\n{lines}main() {{\n{script(_SCRIPT)}\n}}\nmain\n"


def _run(
    host: str, verb: str, variables: Mapping[str, str] | None = None, *, timeout_s: float = EXEC_LIMIT_S
) -> dict[str, str]:
    given = {
        "VERB": verb,
        "MANAGEMENT": "",
        "DHCP": "",
        "TIMER_S": "",
        "PORT": "22",
        "BOOT": "",
        "DEVICES": "",
        **(variables or {}),
    }
    return run_host(_SCRIPT, host, given, timeout_s=timeout_s).facts()
