"""What peers reach of a host is found whatever way it goes by, and what they do not reach proves that it is cut off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from failover_kit import Controller, controller
from lab_kit import eventually
from reaching_kit import keepers, looking, opened, shut

from flows.proving_isolation import Proofs, control, prove_back, prove_cut, recheck
from lab import Lab
from lab.guests import Guest
from recoverd.isolation.proof import ITSELF, Proof, kinds_of
from recoverd.world import world
from tasks.reaching import look_before

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
HOST, PEERS = "web-1", ("web-2", "web-3", "web-4", "web-5")
KINDS = {"tcp4", "tcp6", "icmp4", "icmp6", "flow4", "flow6", "out"}


@pytest.fixture
def recoverd(ward_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(ward_lab, tmp_path / "home") as made:
        (made.inventory / "isolation.yaml").write_text("zones:\n  all: {hosts: 'group:web', probes: {tcp: [22, 80]}}\n")
        yield made
    for host in (HOST, *PEERS):
        opened(ward_lab, host)


def one(proofs: Proofs) -> Proof:
    return proofs.by_host[HOST]


def kinds(ways: Mapping[str, tuple[str, ...]]) -> set[str]:
    return kinds_of(way for peer in PEERS for way in ways.get(peer, ()))


def guest_with_process(lab: Lab) -> Guest:
    """A container-like guest behind the host, in which something runs."""
    guest = lab.add_guest(HOST, "routed")
    lab.run_in(guest, "setsid --fork timeout 60 sleep 60 >/dev/null 2>&1")
    probe = ["timeout", "1", "bash", "-c", f": </dev/tcp/{lab.host('web-2').address}/22"]
    assert eventually(lambda: lab.run_in(guest, probe, check=False).ok)
    return guest


def test_a_host_that_is_shut_is_proven_by_every_kind_of_way_and_then_found_back(
    recoverd: Controller, ward_lab: Lab
) -> None:
    guest_with_process(ward_lab)
    with looking(recoverd, HOST):
        before = control([HOST])
        assert {*before.of(HOST).witnesses} == {*PEERS}
        assert {ITSELF, "guest 1"} < {*before.of(HOST).ways}
        assert "refused" not in str(before.of(HOST).ways)
        shut(ward_lab, HOST)
        proof = one(prove_cut([HOST], before))
        assert proof.proven, proof
        assert {*proof.kinds} == KINDS
        assert proof.untried == ()
        assert proof.witnesses == PEERS
        assert control([HOST]) == before, "kept, also when the run goes on later"
        again = one(recheck([HOST], before))
        assert again.proven
        assert {*again.untried} == {"flow4", "flow6"}, "they ended when they were asked for"
        assert one(prove_back([HOST], before)).verdict == "missed"
        opened(ward_lab, HOST)
        assert one(prove_back([HOST], before)).proven
        assert one(recheck([HOST], before)).verdict == "reached"
    assert eventually(lambda: not any(keepers(ward_lab, peer) for peer in PEERS))


TRACKED = "table inet tracked { chain in { type filter hook input priority 0; ct state established accept; }; }\n"
BOTH = {  # rules for what comes and what goes, the kinds that they let through, what is said of them
    "IPv6": ("meta nfproto ipv6 accept", "meta nfproto ipv6 accept", "tcp6 icmp6 flow6", "fd77:"),
    "established": ("ct state established accept", "ct state established accept", "flow4 flow6", "flow 10.77."),
    "echoes": ("icmp type echo-request accept", "icmp type echo-reply accept", "icmp4", "icmp 10.77."),
    "refused": ("tcp dport 80 accept", "tcp sport 80 accept", "tcp4 tcp6", " 80"),
}


@pytest.mark.parametrize("hole", BOTH)
def test_one_hole_is_found_and_named(recoverd: Controller, ward_lab: Lab, hole: str) -> None:
    in_, out, leaks, said = BOTH[hole]
    ward_lab.run(HOST, "nft -f -", stdin=TRACKED)
    with looking(recoverd, HOST):
        before = control([HOST])
        shut(ward_lab, HOST, in_=in_, out=out)
        proof = one(prove_cut([HOST], before))
    assert proof.verdict == "reached", proof
    assert said in proof.summary
    assert {ITSELF, *PEERS} >= {*proof.leaks}
    assert kinds(proof.leaks) == {*leaks.split()}


def test_what_begins_on_the_host_or_in_a_guest_behind_it_is_found(recoverd: Controller, ward_lab: Lab) -> None:
    guest_with_process(ward_lab)
    with looking(recoverd, HOST):
        before = control([HOST])
        shut(ward_lab, HOST, through="accept")
        behind = one(prove_cut([HOST], before))
        opened(ward_lab, HOST)
        back = "ct direction reply accept"
        shut(ward_lab, HOST, in_=back, out="ct direction original accept")
        itself = one(prove_cut([HOST], before))
    assert [*behind.leaks] == ["guest 1"]
    assert "a guest 1 behind it reaches tcp 10.77." in behind.summary
    assert [*itself.leaks] == [ITSELF]
    assert "it reaches tcp 10.77." in itself.summary


def test_a_host_that_nothing_was_done_to_is_reached_and_one_that_was_shut_before_proves_nothing(
    recoverd: Controller, ward_lab: Lab
) -> None:
    with looking(recoverd, HOST):
        before = control([HOST])
        assert one(prove_cut([HOST], before)).verdict == "reached"
        shut(ward_lab, HOST)
        dark = look_before({HOST: PEERS})
        proof = one(prove_cut([HOST], dark))
    assert proof.verdict == "unknown"
    assert "silence proves nothing" in proof.summary


def test_peers_that_reach_nobody_or_cannot_be_asked_are_no_witnesses(recoverd: Controller, ward_lab: Lab) -> None:
    with looking(recoverd, HOST):
        before = control([HOST])
        shut(ward_lab, HOST)
        for peer in PEERS[:2]:
            shut(ward_lab, peer)
        proof = one(prove_cut([HOST], before))
        assert proof.verdict == "unknown", proof
        assert "2 of 3 witnesses" in proof.summary
        assert f"{PEERS[0]}: it reaches nobody else any more either" in proof.summary
        away = one(recheck([HOST], before, away=PEERS))
        assert away.verdict == "unknown"
        assert "it is isolated itself" in away.summary


def test_an_address_that_a_peer_took_over_or_has_of_its_own_is_not_the_hosts(
    recoverd: Controller, ward_lab: Lab
) -> None:
    moving, bridge = f"{ward_lab.layout.prefix}.251", "172.17.0.1"
    ward_lab.run(HOST, f"ip address add {moving}/32 dev eth0")
    for host in (HOST, "web-3"):
        ward_lab.run(
            host, f"ip link add docker0 type bridge && ip address add {bridge}/24 dev docker0 && ip link set docker0 up"
        )
    try:
        with looking(recoverd, HOST):
            before = control([HOST])
            assert moving in before.of(HOST).addresses
            assert bridge not in before.of(HOST).addresses
            shut(ward_lab, HOST)
            ward_lab.run(HOST, f"ip address delete {moving}/32 dev eth0")
            ward_lab.run("web-4", f"ip address add {moving}/32 dev eth0 && ip neighbour flush all")
            for peer in PEERS:
                ward_lab.run(peer, "ip neighbour flush all")
            assert one(prove_cut([HOST], before)).proven
    finally:
        for host in (HOST, "web-3", "web-4"):
            ward_lab.run(host, f"ip link delete docker0; ip address delete {moving}/32 dev eth0", check=False)


def test_without_python_peers_try_the_same_by_bash(recoverd: Controller, ward_lab: Lab) -> None:
    hidden = ward_lab.run("web-2", "readlink -f /usr/bin/python3").out.strip()
    for peer in PEERS:
        ward_lab.run(peer, f"mount --bind /dev/null {hidden}")
    try:
        with looking(recoverd, HOST):
            before = control([HOST])
            assert {"tcp4", "tcp6"} <= kinds(before.of(HOST).ways) <= {"tcp4", "tcp6", "icmp4", "icmp6"}
            shut(ward_lab, HOST, in_="meta nfproto ipv6 accept", out="meta nfproto ipv6 accept")
            leaking = one(prove_cut([HOST], before))
            assert leaking.verdict == "reached"
            assert "fd77:" in leaking.summary
            opened(ward_lab, HOST)
            shut(ward_lab, HOST)
            assert one(prove_cut([HOST], before)).proven
    finally:
        for peer in PEERS:
            ward_lab.run(peer, f"umount {hidden}")


def test_a_plan_leaves_nothing_on_peers(recoverd: Controller, ward_lab: Lab) -> None:
    with looking(recoverd, HOST):
        world().dry_run = True
        found = look_before({HOST: PEERS})
        assert found.of(HOST).witnesses == PEERS
        assert kinds(found.of(HOST).ways) == {"tcp4", "tcp6", "icmp4", "icmp6"}
    assert not any(keepers(ward_lab, peer) for peer in PEERS)
