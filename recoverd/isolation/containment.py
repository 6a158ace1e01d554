"""What a containment is asked to lock and block, and what it must never: pure rules over plain values.

An attacker is to be shut out, not the operators: nobody locks root, the account that recoverd logs in with, or the last one
that may become root; nobody blocks the addresses that the host is reached from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid

Network = IPv4Network | IPv6Network

WIDEST_4, WIDEST_6 = 8, 16
"""Prefix lengths below which a network is too wide to be blocked without force."""

_ALWAYS = ("127.0.0.0/8", "::1/128", "fe80::/10", "ff00::/8", "224.0.0.0/4")
"""Without these a host does not work: itself, its neighbours, multicast."""

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_TIME = re.compile(r"(\d+)\s*(s|m|h|d)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_S = 90 * 86400
MOST_ACCOUNTS, MOST_NETWORKS = 50, 500


class Wish(BaseModel):
    """What a person, or an alert, asks for.

    Attributes:
        accounts: To be locked out.
        networks: To be blocked, written as networks, those that hold others alone.
        for_s: Seconds until it ends by itself; None: until it is released.
        force: Whether rules that a person may overrule are overruled.
    """

    model_config = ConfigDict(frozen=True)

    accounts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    for_s: int | None = None
    force: bool = False

    @property
    def summary(self) -> str:
        """One line."""
        parts = []
        if self.accounts:
            parts.append(f"lock {', '.join(self.accounts)}")
        if self.networks:
            parts.append(f"block {', '.join(self.networks)}")
        until = f" for {timedelta(seconds=self.for_s)}" if self.for_s else " until it is released"
        return " and ".join(parts) + until


def read_wish(options: Mapping[str, Any]) -> Wish:
    """The options of a `contain`, as they were meant.

    Raises:
        Invalid: Nothing is named, or a name, a network or a time is none.
    """
    accounts = tuple(dict.fromkeys(_words(options.get("accounts"))))
    for account in accounts:
        if not _ACCOUNT.fullmatch(account):
            raise Invalid(f"{account!r} is no name of an account", "--accounts mallory,svc-old")
    networks = read_networks(_words(options.get("addresses")))
    if not accounts and not networks:
        raise Invalid(
            "contain needs accounts to lock, or addresses to block", "--accounts mallory --addresses 203.0.113.0/24"
        )
    if len(accounts) > MOST_ACCOUNTS or len(networks) > MOST_NETWORKS:
        raise Invalid(
            f"at most {MOST_ACCOUNTS} accounts and {MOST_NETWORKS} networks at once", "split it into two runs"
        )
    return Wish(
        accounts=accounts, networks=networks, for_s=read_time(options.get("for")), force=bool(options.get("force"))
    )


def check_options(options: Mapping[str, Any]) -> None:
    """What the door asks before a run is written down. Raises Invalid."""
    read_wish(options)


def read_networks(words: Collection[str]) -> tuple[str, ...]:
    """Addresses and networks as networks; what lies inside another is left out, for nft refuses overlaps.

    Raises:
        Invalid: One is neither.
    """
    four: list[IPv4Network] = []
    six: list[IPv6Network] = []
    for word in words:
        try:
            found = ip_network(word.strip("[]"), strict=False)
        except ValueError as error:
            raise Invalid(
                f"{word!r} is no address and no network", "for example 203.0.113.0/24 or 2001:db8::/32"
            ) from error
        if isinstance(found, IPv4Network):
            four.append(found)
        else:
            six.append(found)
    return tuple(str(one) for one in (*collapse_addresses(four), *collapse_addresses(six)))


def read_time(given: Any) -> int | None:
    """Seconds of `4h`, `90m`, `2d`, or of a number of seconds; None where nothing is given.

    Raises:
        Invalid: It is none, or longer than 90 days.
    """
    if given in (None, ""):
        return None
    found = _TIME.fullmatch(str(given).strip().lower())
    seconds = int(found[1]) * _UNITS[found[2]] if found else given if isinstance(given, int) else 0
    if isinstance(given, bool) or not 0 < seconds <= LONGEST_S:
        raise Invalid(f"{given!r} is no time to contain something for", "for example --for 4h, at most 90d")
    return seconds


def why_not_lock(
    account: str, seen: Mapping[str, str], *, login: str, protected: Collection[str], locked_too: Collection[str]
) -> tuple[str, bool]:
    """Why an account must not be locked on a host, and whether a person may overrule that; empty where it may be.

    Args:
        account: Its name.
        seen: What its host says of it: `uid`, `twin:NAME` of the same uid, `sudo`, `sudoer:NAME`.
        login: The account that recoverd logs in with there.
        protected: Accounts that the policy never lets lock.
        locked_too: What else the run locks.
    """
    if account == "root" or seen.get("uid") == "0":
        return f"{account} is root", False
    if account == login:
        return f"recoverd logs in as {account}", False
    if account in protected:
        return f"the policy protects {account}", False
    if "remote" in seen:
        return f"{account} comes from a directory service, not from the host", False
    twins = sorted(name.removeprefix("twin:") for name in seen if name.startswith("twin:"))
    if twins:
        return (
            f"{account} has the uid of {', '.join(twins)}, whose processes would end with its own",
            login not in twins,
        )
    others = {name.removeprefix("sudoer:") for name in seen if name.startswith("sudoer:")} - {account, *locked_too}
    if "sudo" in seen and not others:
        return f"{account} is the last account with sudo", True
    return "", False


def why_not_block(network: str, never: Mapping[str, str]) -> tuple[str, bool]:
    """Why a network must not be blocked, and whether a person may overrule that; empty where it may be.

    Args:
        network: As `read_networks` gives it.
        never: Addresses and networks that must go on reaching the host, and what each is.
    """
    wanted = ip_network(network)
    for text, what in {**dict.fromkeys(_ALWAYS, "the host's own traffic"), **never}.items():
        kept = ip_network(text, strict=False)
        if kept.version == wanted.version and wanted.overlaps(kept):
            return f"{network} holds {text}, {what}", False
    widest = WIDEST_4 if wanted.version == 4 else WIDEST_6
    if wanted.prefixlen < widest:
        return f"{network} is wider than /{widest}", True
    return "", False


def is_network(text: str) -> bool:
    """Whether a text is an address or a network, rather than a name."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def plain_address(text: str) -> str:
    """An address without its zone; one of IPv4 that came in over IPv6 as IPv4. Raises ValueError."""
    found = ip_address(text.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _words(given: Any) -> tuple[str, ...]:
    texts = given if isinstance(given, list | tuple) else str(given or "").split(",")
    return tuple(text for one in texts for text in str(one).replace(",", " ").split())
