"""What a containment may lock and block: an attacker is shut out, never the operators."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.errors import Invalid
from recoverd.isolation.containment import read_networks, read_time, read_wish, why_not_block, why_not_lock

CONTROLLER = {"10.0.0.5": "which recoverd comes from", "192.0.2.0/28": "a management address of the zone"}


def test_a_wish_names_each_account_and_network_once() -> None:
    wish = read_wish(
        {"accounts": "mallory, svc-old,mallory", "addresses": ["203.0.113.7/24", "2001:db8::/32"], "for": "4h"}
    )
    assert wish.accounts == ("mallory", "svc-old")
    assert wish.networks == ("203.0.113.0/24", "2001:db8::/32")
    assert wish.for_s == 14400
    assert wish.summary == "lock mallory, svc-old and block 203.0.113.0/24, 2001:db8::/32 for 4:00:00"


@pytest.mark.parametrize(
    "options",
    [
        {}, {"for": "4h"}, {"accounts": ""}, {"accounts": "a;b"}, {"accounts": "-x"}, {"accounts": "$(id)"},
        {"addresses": "example.org"}, {"addresses": "10.0.0.0/33"}, {"accounts": "a", "for": "tomorrow"},
        {"accounts": "a", "for": "0h"}, {"accounts": "a", "for": "91d"}, {"accounts": "a", "for": True},
        {"addresses": "10.0.0.1; drop"}, {"accounts": [f"a{i}" for i in range(51)]},
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_meant_so_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        read_wish(options)


def test_networks_that_lie_in_another_are_left_out() -> None:
    given = ["10.0.0.0/8", "10.1.2.3", "192.0.2.0/25", "192.0.2.128/25", "2001:db8::1", "2001:db8::/32"]
    assert read_networks(given) == ("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32")


@pytest.mark.parametrize(("given", "seconds"), [("90m", 5400), ("2d", 172800), ("30s", 30), (60, 60), (None, None)])
def test_times_are_read(given: object, seconds: int | None) -> None:
    assert read_time(given) == seconds


@pytest.mark.parametrize(
    ("account", "seen", "why", "by_force"),
    [
        ("mallory", {"uid": "1001"}, "", False),
        ("mallory", {"absent": "1"}, "", False),
        ("root", {"uid": "0"}, "root is root", False),
        ("toor", {"uid": "0"}, "toor is root", False),
        ("ops", {"uid": "1000"}, "recoverd logs in as ops", False),
        ("breakglass", {"uid": "1002"}, "the policy protects breakglass", False),
        ("mallory", {"remote": "1"}, "comes from a directory service", False),
        ("mallory", {"uid": "5", "twin:eve": "1"}, "has the uid of eve", True),
        ("mallory", {"uid": "5", "twin:ops": "1"}, "has the uid of ops", False),
        ("mallory", {"uid": "5", "sudo": "1"}, "the last account with sudo", True),
        ("mallory", {"uid": "5", "sudo": "1", "sudoer:svc-old": "1"}, "the last account with sudo", True),
        ("mallory", {"uid": "5", "sudo": "1", "sudoer:ann": "1"}, "", False),
    ],
)
def test_an_account_is_locked_unless_the_operators_need_it(
    account: str, seen: dict[str, str], why: str, by_force: bool
) -> None:
    said, may = why_not_lock(account, seen, login="ops", protected=["breakglass"], locked_too=["svc-old"])
    assert (why in said, bool(why), may) == (True, bool(said), by_force)


@pytest.mark.parametrize(
    ("network", "why", "by_force"),
    [
        ("203.0.113.0/24", "", False),
        ("2001:db8::/32", "", False),
        ("0.0.0.0/0", "the host's own traffic", False),
        ("::/0", "the host's own traffic", False),
        ("10.0.0.0/24", "10.0.0.5, which recoverd comes from", False),
        ("10.0.0.5/32", "10.0.0.5, which recoverd comes from", False),
        ("192.0.2.8/32", "a management address of the zone", False),
        ("127.0.0.1/32", "the host's own traffic", False),
        ("fe80::1/128", "the host's own traffic", False),
        ("32.0.0.0/7", "wider than /8", True),
        ("2000::/3", "wider than /16", True),
    ],
)
def test_a_network_is_blocked_unless_the_host_is_reached_from_it(network: str, why: str, by_force: bool) -> None:
    said, may = why_not_block(network, CONTROLLER)
    assert (why in said, bool(why), may) == (True, bool(said), by_force)
