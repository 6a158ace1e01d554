"""Accounts of hosts: locked out with everything that they run, and let in again as they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recoverd.errors import Refused
from recoverd.isolation.containment import why_not_lock
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_host

TIME_LIMIT_S = 90.0
ENDING_LIMIT_S = 20
"""So long the processes of an account may take to end."""


def look_at_account(host: str, account: str) -> dict[str, str]:
    """What a host says of an account: `uid`, `absent`, `remote`, `twin:NAME`, `sudo`, `sudoer:NAME`, `processes`."""
    return _run(host, account, "look", world().run.id)


def check_lock(
    host: str, account: str, seen: Mapping[str, str], protected: Sequence[str], locked_too: Sequence[str]
) -> None:
    """See that an account may be locked on a host.

    Raises:
        Refused: The operators need it, or others would be hit with it.
    """
    login = world().inventory.host(host).user
    why, by_force = why_not_lock(account, seen, login=login, protected=protected, locked_too=locked_too)
    if why and not (by_force and world().run.options.get("force")):
        more = "a person who may force it adds --force" if by_force else "leave this account out, or isolate the host"
        raise Refused(f"{host} must not lock {account}: {why}", more)


def _is_locked(host: str, account: str, protected: Sequence[str], locked_too: Sequence[str]) -> Effect | None:
    seen = _run(host, account, "state", world().run.id)
    if "absent" in seen:
        return Effect(f"there is no account {account} on {host}", {"there": False})
    if not {"mine", "shut"} <= set(seen) or {"keys", "starters", "releasing"} & set(seen) or seen["processes"] != "0":
        return None
    summary = f"{account} is locked out of {host}: {seen.get('ended', '0')} of its processes ended"
    aside, shared = int(seen.get("aside") or 0), seen.get("shared")
    summary += f", {aside} files of keys and jobs are put aside" if aside else ""
    summary += f"; {shared} is also another account's and stays" if shared else ""
    return Effect(summary, {"there": True, "ended": int(seen.get("ended") or 0), "aside": aside})


def _this_run(host: str, account: str, protected: Sequence[str], locked_too: Sequence[str]) -> dict[str, str]:
    return {"run": world().run.id}


@act(
    "lock {account} out of {host}", ask=_is_locked, undo="tasks.accounts:let_in", remember=_this_run,
    time_limit_s=TIME_LIMIT_S,
)  # fmt: skip
def lock(host: str, account: str, protected: Sequence[str], locked_too: Sequence[str]) -> None:
    """Let an account expire, take its shell, keys and jobs, and end all that it runs.

    What the way back needs stays on the host. The hash of its password stays where it is, and is never read by recoverd.

    Args:
        host: Where.
        account: Its name; a host that does not have it is left alone.
        protected: Accounts that the policy never lets lock.
        locked_too: What else the run locks.

    Raises:
        Refused: The operators need it.
        Look: It could not be locked, or some of its processes do not end.
    """
    check_lock(host, account, look_at_account(host, account), protected, locked_too)
    _run(host, account, "lock", world().run.id)


def _is_let_in(
    host: str, account: str, protected: Sequence[str], locked_too: Sequence[str], remembered: dict[str, str]
) -> Effect | None:
    seen = _run(host, account, "state", remembered["run"])
    others = sorted(name.removeprefix("run:") for name in seen if name.startswith("run:"))
    if "mine" in seen or "releasing" in seen:
        return None
    if others:
        return Effect(f"{account} stays locked out of {host}, for {', '.join(others)}")
    return Effect(f"{account} is on {host} as it was")


@act("let {account} into {host} again", ask=_is_let_in, time_limit_s=TIME_LIMIT_S)
def let_in(
    host: str, account: str, protected: Sequence[str], locked_too: Sequence[str], remembered: dict[str, str]
) -> None:
    """Undo `lock`, for the run that did it; where another run wants the account locked it stays so.

    Raises:
        Look: Somebody has changed the account since; nothing was put back.
    """
    _run(host, account, "release", remembered["run"])


def _run(host: str, account: str, verb: str, run: str) -> dict[str, str]:
    given = {
        "VERB": verb, "ACCOUNT": account, "RUN": run, "LOGIN": world().inventory.host(host).user,
        "LIMIT_S": str(ENDING_LIMIT_S),
    }  # fmt: skip
    return run_host("account_processes+account", host, given, timeout_s=TIME_LIMIT_S).facts()
