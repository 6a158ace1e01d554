"""What the silence of peers proves, and what it does not: pure rules, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from inventory_kit import write

from recoverd.connections import Completed
from recoverd.inventory import Inventory, load
from recoverd.isolation.proof import ITSELF, Seen, is_management, kind_of, peers_for, prove_back, prove_cut
from tasks.reaching import read_said

FOUR, SIX = "10.0.0.1", "fd00::1"
TCP4, TCP6, ICMP4, ICMP6 = f"tcp {FOUR} 22", f"tcp {SIX} 22", f"icmp {FOUR}", f"icmp {SIX}"
FLOW4 = f"flow {FOUR} 22"
ALL = (TCP4, TCP6, ICMP4, ICMP6)
KINDS = ("icmp4", "icmp6", "tcp4", "tcp6")
OUT = ("tcp 10.0.0.2 22",)
Ways = Mapping[str, tuple[str, ...]]


def seen(ways: Ways, **more: object) -> Seen:
    return Seen.model_validate({"addresses": (FOUR, SIX), "ways": ways, "tried": KINDS, **more})


BEFORE = seen({"a": (*ALL, FLOW4), "b": ALL, "c": ALL, ITSELF: OUT}, others={"a": OUT, "b": OUT, "c": OUT})
STILL = {"a": OUT, "b": OUT, "c": OUT}  # peers go on reaching one another
SHUT: Ways = {"a": (), "b": (), "c": ()}


def test_what_three_peers_reached_before_and_none_reaches_now_is_cut_off() -> None:
    proof = prove_cut("web-1", BEFORE, seen(SHUT, others=STILL), 3)
    assert proof.proven
    assert proof.witnesses == ("a", "b", "c")
    assert proof.kinds == ("flow4", *KINDS, "out")
    assert proof.untried == ()
    assert proof.summary == "web-1: 3 peers say so (a, b, c), by flow4, icmp4, icmp6, tcp4, tcp6, out"


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        pytest.param({"b": (TCP4,)}, f"b reaches it by {TCP4}", id="one of three peers"),
        pytest.param({"a": (TCP6,)}, f"a reaches it by {TCP6}", id="IPv6 alone"),
        pytest.param({"c": (ICMP4,)}, f"c reaches it by {ICMP4}", id="echoes alone"),
        pytest.param({"a": (FLOW4,)}, f"a reaches it by {FLOW4}", id="what was established"),
        pytest.param({ITSELF: OUT}, "it reaches tcp 10.0.0.2 22 itself", id="from inside out"),
        pytest.param({"guest 2": OUT}, "a guest 2 behind it reaches tcp 10.0.0.2 22", id="a container of it"),
        pytest.param({"a": (f"tcp {FOUR} 8080",)}, "tcp 10.0.0.1 8080", id="a way that was shut before"),
        pytest.param({"a": tuple(f"tcp {FOUR} {n}" for n in range(7))}, "and 3 more", id="many ways"),
    ],
)
def test_one_way_that_is_open_speaks_against_it_however_many_are_shut(ways: Ways, said: str) -> None:
    proof = prove_cut("web-1", BEFORE, seen({**SHUT, **ways}, others=STILL), 3)
    assert (proof.verdict, proof.proven) == ("reached", False)
    assert said in proof.summary
    assert [*proof.leaks] == [*ways]


def test_a_leak_counts_though_all_witnesses_are_silent() -> None:
    after = seen({ITSELF: OUT}, silent=dict.fromkeys("abc", "no answer"))
    assert prove_cut("web-1", BEFORE, after, 3).verdict == "reached"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param(
            seen(SHUT, silent={"d": "no route"}), seen(SHUT), "silence proves nothing (d: no route)", id="no control"
        ),
        pytest.param(
            BEFORE, seen({"a": (), "b": ()}, silent={"c": "timed out"}), "2 of 3 witnesses of web-1", id="one is silent"
        ),
        pytest.param(
            BEFORE, seen(SHUT, others={**STILL, "b": ()}), "b: it reaches nobody else any more either", id="a numb peer"
        ),
        pytest.param(
            BEFORE, seen(SHUT, cannot={"a": (*KINDS, "flow4")}), "a: it has lost what it tried it with", id="a peer without tools"
        ),
        pytest.param(
            BEFORE, seen(SHUT, cannot=dict.fromkeys("abc", ("icmp6",))), "by icmp6 could not be tried again", id="a kind"
        ),
        pytest.param(
            BEFORE, seen(SHUT, silent={ITSELF: "broken"}), "cannot be asked what it reaches itself: broken", id="itself"
        ),
    ],
)  # fmt: skip
def test_where_nobody_can_tell_it_is_not_called_cut_off(before: Seen, after: Seen, said: str) -> None:
    proof = prove_cut("web-1", before, after, 3)
    assert proof.verdict == "unknown", proof
    assert said in proof.summary
    assert proof.leaks == {}


def test_fewer_witnesses_than_wanted_do_where_no_more_reached_it_before() -> None:
    before = seen({"a": ALL, "b": ()})
    proof = prove_cut("web-1", before, seen({"a": (), "b": ()}), 3)
    assert (proof.verdict, proof.witnesses) == ("proven", ("a",))


def test_kinds_that_nobody_reached_it_by_before_are_named_and_not_claimed() -> None:
    before = seen({"a": (TCP4,), "b": (ICMP4,), ITSELF: OUT})
    proof = prove_cut("web-1", before, seen({"a": (), "b": ()}), 2)
    assert proof.kinds == ("icmp4", "tcp4", "out")
    assert "nothing is known of icmp6, tcp6" in proof.summary


def test_flows_and_guests_that_could_not_be_tried_are_named_though_the_rest_is_proven() -> None:
    after = seen(SHUT, others=STILL, cannot={"a": ("flow4",), ITSELF: ("guests",)})
    proof = prove_cut("web-1", BEFORE, after, 3)
    assert proof.proven
    assert proof.untried == ("flow4", "guests")


def test_a_host_whose_management_was_cut_too_may_be_silent_and_says_nothing_of_its_way_out() -> None:
    proof = prove_cut("web-1", BEFORE, seen(SHUT, silent={ITSELF: "no answer"}), 3, may_be_silent=True)
    assert proof.proven
    assert "out" not in proof.kinds
    assert "out" in proof.untried


@pytest.mark.parametrize(
    ("after", "verdict", "said"),
    [
        (seen({"a": ALL, "b": ALL, "c": ALL}), "proven", "web-1: 3 peers say so"),
        (seen({"a": ALL, "b": ALL, "c": (TCP4, ICMP4)}), "missed", f"c misses {TCP6}, {ICMP6}"),
        (seen({"a": ALL, "b": ALL}, silent={"c": "no answer"}), "proven", "2 peers"),
        (seen({}, silent=dict.fromkeys("abc", "no answer")), "unknown", "nobody could be asked"),
        (seen({"a": ALL, "b": ALL, "c": (TCP4, TCP6)}, cannot={"c": ("icmp4", "icmp6")}), "proven", "3 peers"),
        (
            seen({"a": (TCP4, ICMP4), "b": (TCP4, ICMP4), "c": (TCP4, ICMP4)}, addresses=(FOUR,)),
            "proven",
            "3 peers",
        ),
    ],
)
def test_a_host_is_back_when_its_peers_reach_it_by_the_same_ways(after: Seen, verdict: str, said: str) -> None:
    proof = prove_back("web-1", BEFORE, after)
    assert proof.verdict == verdict, proof
    assert said in proof.summary


def test_where_nobody_had_been_asked_before_nothing_is_missed() -> None:
    assert prove_back("web-1", Seen(), Seen()).proven


def test_a_peer_that_is_management_is_known_by_its_address() -> None:
    assert is_management("10.0.0.2", ["10.0.0.0/24"])
    assert not is_management("fd00::2", ["10.0.0.0/24"])
    assert not is_management("web-2", ["10.0.0.0/24"])


def test_a_way_has_a_kind() -> None:
    assert [kind_of(way) for way in (*ALL, FLOW4)] == ["tcp4", "tcp6", "icmp4", "icmp6", "flow4"]


HOSTS = """\
all:
  hosts:
    far-1: {ansible_host: 10.0.9.1}
  children:
    site:
      hosts: {near-1: {ansible_host: 10.0.0.9}}
      children:
        web:
          hosts: {"web-[1:6]": {ansible_host: 10.0.0.1}}
"""


@pytest.mark.parametrize(
    ("zone", "away", "peers"),
    [
        ("", (), ("web-2", "web-3", "web-4", "web-5", "web-6")),
        ("", ("web-2", "web-3", "web-4", "web-5"), ("web-6", "near-1", "far-1")),
        ("witnesses: 1", (), ("web-2", "web-3", "web-4")),
        ("peers: [far-1, web-1, web-2]", ("web-2",), ("far-1",)),
    ],
)
def test_peers_are_the_nearest_that_are_not_isolated_themselves(
    tmp_path: Path, zone: str, away: tuple[str, ...], peers: tuple[str, ...]
) -> None:
    assert peers_for(inventory(tmp_path, zone), "web-1", away) == peers


def inventory(place: Path, zone: str) -> Inventory:
    text = "zones:\n" + (f"  webs: {{hosts: 'group:web', {zone}}}\n" if zone else "")
    write(place, hosts=HOSTS, services="services: {}\n", isolation=text)
    return load(place)


def said(out: str, err: str = "") -> Completed:
    return Completed(0, out, err, 0.1)


def test_probes_that_did_not_come_to_their_end_are_no_silence() -> None:
    broken = read_said(said(f"way:-:{TCP4}=open\n", "MemoryError\n"), "-")
    assert broken.problem == "its probes did not come to their end: MemoryError"
    whole = read_said(said(f"way:-:{TCP4}=open\nway:-:{TCP6}=refused\nno:-:icmp6=1\nmine:{FOUR}=1\ndone:-=1\n"), "-")
    assert whole.problem == ""
    assert whole.of("-") == (TCP4, TCP6)
    assert whole.of("-", only=("open",)) == (TCP4,)
    assert (whole.cannot, whole.mine) == ({"-": ("icmp6",)}, (FOUR,))


def test_a_network_of_a_guest_that_could_not_be_entered_is_named() -> None:
    text = "begun:guest 1=1\nbegun:guest 2=1\nway:guest 1:tcp 10.0.0.2 22=open\ndone:guest 1=1\ndone:itself=1\n"
    found = read_said(said(text, "nsenter: no such process"), ITSELF)
    assert found.problem == ""
    assert found.cannot == {ITSELF: ("guests",)}
    assert found.of("guest 1") == OUT
