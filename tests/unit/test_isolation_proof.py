"""When peers prove that a host is cut off, and when their silence proves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.inventory import Inventory, load
from recoverd.isolation.proof import Seen, is_management, peers_for, prove_back, prove_cut

HOSTS = """
all:
  children:
    shop:
      children:
        web:
          hosts: {web-1: {ansible_host: 10.0.0.1}, web-2: {ansible_host: 10.0.0.2}, web-3: {ansible_host: 10.0.0.3}}
      hosts: {cache-1: {ansible_host: 10.0.0.8}}
    db:
      hosts: {db-1: {ansible_host: 10.0.0.9}, db-2: {ansible_host: 10.0.0.10}}
"""
TCP, TCP6, ICMP, FLOW = "tcp 10.0.0.1 22", "tcp fd00::1 22", "icmp 10.0.0.1", "flow 10.0.0.1 22"
BEFORE = Seen(ways={"web-2": (TCP, ICMP), "web-3": (TCP,), "db-1": (TCP, TCP6), "itself": ("tcp 10.0.0.2 22",)})


def inventory(place: Path, zones: str = "zones: {}\n") -> Inventory:
    (place / "hosts.yaml").write_text(HOSTS)
    (place / "services.yaml").write_text("services:\n")
    (place / "isolation.yaml").write_text(zones)
    return load(place)


def test_peers_are_those_of_the_zone_else_of_the_innermost_group_then_any_and_never_isolated_ones(
    tmp_path: Path,
) -> None:
    found = inventory(tmp_path)
    assert peers_for(found, "web-1", {"web-1"}) == ("web-2", "web-3", "cache-1", "db-1", "db-2")
    assert peers_for(found, "web-1", {"web-2", "web-3"})[0] == "cache-1"
    named = inventory(tmp_path, 'zones:\n  web: {hosts: "group:web", peers: [db-1, web-2]}\n')
    assert peers_for(named, "web-1", {"web-2"}) == ("db-1",)


def test_a_host_that_nobody_reaches_any_more_is_proven_cut_off() -> None:
    proof = prove_cut("web-1", BEFORE, Seen(ways={"web-2": (), "web-3": (), "db-1": ()}), 3)
    assert proof.proven
    assert proof.witnesses == ("web-2", "web-3", "db-1")
    assert "3 peers say so" in proof.summary


@pytest.mark.parametrize(
    ("peer", "way", "said"),
    [
        ("db-1", TCP6, "db-1 reaches it by tcp fd00::1 22"),
        ("web-2", FLOW, "web-2 reaches it by flow"),
        ("itself", "tcp 10.0.0.2 22", "it reaches tcp 10.0.0.2 22 itself"),
        ("guest 1", "icmp 10.0.0.2", "a guest 1 behind it reaches icmp 10.0.0.2"),
        ("web-3", "icmp fd00::1", "web-3 reaches it by icmp fd00::1"),
    ],
)
def test_one_way_that_is_open_is_enough_also_one_that_nobody_had_tried(peer: str, way: str, said: str) -> None:
    proof = prove_cut("web-1", BEFORE, Seen(ways={peer: (way,)}), 3)
    assert not proof.proven
    assert said in proof.summary


def test_silence_proves_nothing_where_nobody_reached_the_host_before() -> None:
    before = Seen(ways={"web-2": (), "itself": ("tcp 10.0.0.2 22",)}, silent={"web-3": "no answer"})
    proof = prove_cut("web-1", before, Seen(ways={"web-2": ()}), 3)
    assert not proof.proven
    assert "silence proves nothing (web-3 was silent: no answer)" in proof.summary


def test_so_many_witnesses_as_there_were_must_be_asked_again_up_to_those_that_are_wanted() -> None:
    gone = Seen(silent={"web-2": "off", "web-3": "off"})
    assert not prove_cut("web-1", BEFORE, gone, 3).proven
    assert "1 of 3 witnesses" in prove_cut("web-1", BEFORE, gone, 3).summary
    assert prove_cut("web-1", BEFORE, gone, 1).proven
    alone = Seen(ways={"web-2": (TCP,)})
    assert prove_cut("web-1", alone, Seen(ways={"web-2": ()}), 3).proven, "there are no more of them"


def test_a_host_is_back_when_those_that_reached_it_reach_it_again() -> None:
    again = Seen(ways={"web-2": (TCP, ICMP), "web-3": (TCP,), "db-1": (TCP, TCP6)})
    assert prove_back("web-1", BEFORE, again).proven
    short = prove_back("web-1", BEFORE, Seen(ways={**again.ways, "db-1": (TCP,)}))
    assert not short.proven
    assert "db-1 misses tcp fd00::1 22" in short.summary
    assert not prove_back("web-1", BEFORE, Seen(silent=dict.fromkeys(BEFORE.ways, "off"))).proven
    assert prove_back("web-1", Seen(), Seen()).proven, "nobody had been asked before"


def test_flows_and_what_a_host_reached_itself_need_not_come_back() -> None:
    before = Seen(ways={"web-2": (TCP, FLOW), "itself": ("tcp 10.0.0.2 22",)})
    assert prove_back("web-1", before, Seen(ways={"web-2": (TCP,)})).proven


def test_a_peer_that_is_management_is_known_by_its_address() -> None:
    assert is_management("10.0.0.2", ["10.0.0.0/24"])
    assert not is_management("fd00::2", ["10.0.0.0/24"])
    assert not is_management("web-2", ["10.0.0.0/24"])
