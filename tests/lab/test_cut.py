"""A host is cut off by its packet filter, with all that lives on it; management gets through, or the host comes back by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_kit import Controller, controller
from lab_kit import eventually, reaches
from ward_kit import layer_alone, listens, raw_frames, ruleset

from lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
HOST, PEER = "web-1", "web-2"
OWN = "table inet shop {\nchain in {\ntype filter hook input priority filter; policy accept;\n}\n}\n"


@pytest.fixture
def recoverd(ward_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(ward_lab, tmp_path / "home") as made:
        made.target = HOST
        yield made


@pytest.fixture
def addresses(ward_lab: Lab) -> tuple[str, str]:
    return ward_lab.host(HOST).address, ward_lab.host(HOST).address6


def zone(recoverd: Controller, **rules: object) -> None:
    lines = "".join(f"    {name}: {value}\n" for name, value in rules.items())
    (recoverd.inventory / "isolation.yaml").write_text(f"zones:\n  all:\n    hosts: group:web\n{lines}")


def test_it_cuts_both_families_and_what_was_established_and_puts_back_what_was_there(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    ward_lab.run(HOST, "nft -f -", stdin=OWN)
    before = ruleset(ward_lab, HOST)
    assert all(reaches(ward_lab, PEER, one) for one in addresses)
    with listens(ward_lab, HOST) as flow:
        assert flow.passes(PEER)
        with layer_alone(recoverd, HOST) as layer:
            assert layer.apply() == {}
            assert not any(reaches(ward_lab, PEER, one) for one in addresses)
            assert not reaches(ward_lab, HOST, ward_lab.host(PEER).address)
            assert not flow.passes(PEER)
            assert layer.verify() == {}
            assert layer.apply() == {}, "which changes nothing"
            assert layer.release() == {}
        assert not flow.passes(PEER), "it was ended, and does not go on where it stopped"
    assert all(reaches(ward_lab, PEER, one) for one in addresses)
    assert ruleset(ward_lab, HOST) == before
    assert "recoverd" not in ward_lab.run(
        HOST, "ls -R /etc/rcS.d /etc/systemd/system /var/lib/recoverd/quarantine"
    ).out.replace("/var/lib/recoverd", "")


def test_it_cuts_guests_behind_it_and_beside_it_and_raw_frames(recoverd: Controller, ward_lab: Lab) -> None:
    peer = ward_lab.host(PEER)
    guests = [ward_lab.add_guest(HOST, "routed"), ward_lab.add_guest(HOST, "macvlan")]

    def goes_out(guest: object) -> bool:
        probe = ["timeout", "1", "bash", "-c", f": </dev/tcp/{peer.address}/22"]
        return ward_lab.run_in(guest, probe, check=False).ok  # type: ignore[arg-type]

    for guest in guests:
        assert eventually(lambda guest=guest: goes_out(guest))  # type: ignore[misc]
    assert raw_frames(ward_lab, HOST, PEER) == 20
    with layer_alone(recoverd, HOST) as layer:
        assert layer.apply() == {}
        assert [goes_out(guest) for guest in guests] == [False, False]
        assert raw_frames(ward_lab, HOST, PEER) == 0
        assert layer.release() == {}
    assert all(goes_out(guest) for guest in guests)


def test_a_wrong_management_address_brings_the_host_back_by_itself(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    zone(recoverd, management="[203.0.113.0/24]", timer_s=10)
    with layer_alone(recoverd, HOST) as layer:
        faults = layer.apply()
        assert "comes back by itself within 10 s" in faults[HOST]
        assert eventually(lambda: reaches(ward_lab, PEER, addresses[0]), timeout_s=15)
        assert "its timer is over" in layer.verify()[HOST]
        zone(recoverd, timer_s=10)
        assert layer.release() == {}
    assert "recoverd" not in ruleset(ward_lab, HOST)


def test_what_is_lost_between_the_cut_and_its_confirmation_is_tried_again_or_comes_back(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    zone(recoverd, timer_s=10)
    with layer_alone(recoverd, HOST) as layer:
        ward_lab.run(HOST, "kill -STOP $(ps -eo pid=,args= | awk '/sshd -D/ && !/awk/ { print $1 }')")
        try:
            faults = layer.apply()
        finally:
            ward_lab.run(HOST, "kill -CONT $(ps -eo pid=,args= | awk '/sshd -D/ && !/awk/ { print $1 }')")
        assert HOST in faults
        assert eventually(lambda: reaches(ward_lab, PEER, addresses[0]), timeout_s=15)
        assert layer.apply() == {}, "the next attempt begins anew"
        assert layer.verify() == {}
        assert layer.release() == {}


def test_it_stays_cut_off_across_a_boot_and_drift_is_seen(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    with layer_alone(recoverd, HOST) as layer:
        assert layer.apply() == {}
        ward_lab.power_off(HOST)
        ward_lab.power_on(HOST)
        assert not any(reaches(ward_lab, PEER, one) for one in addresses)
        assert layer.verify() == {}
        ward_lab.run(HOST, "nft insert rule inet recoverd_quarantine q_in accept")
        assert layer.verify() == {HOST: "somebody has changed its rules"}
        ward_lab.run(HOST, "nft flush ruleset")
        assert "its rules are gone" in layer.verify()[HOST]
        assert reaches(ward_lab, PEER, addresses[0])
        assert layer.release() == {}
    ward_lab.power_off(HOST)
    ward_lab.power_on(HOST)
    assert all(reaches(ward_lab, PEER, one) for one in addresses)


def test_a_host_that_cannot_be_cut_says_why(recoverd: Controller, ward_lab: Lab) -> None:
    hide = "mkdir -p /tmp/none && for one in /usr/sbin/nft /sbin/nft; do [ ! -e $one ] || mount --bind /dev/null $one; done"
    with layer_alone(recoverd, HOST, "web-3") as layer:
        ward_lab.run(HOST, hide)
        try:
            faults = layer.apply()
            assert [*faults] == [HOST]
            assert "nft" in faults[HOST]
            assert [*layer.verify()] == [HOST]
        finally:
            ward_lab.run(HOST, "for one in /usr/sbin/nft /sbin/nft; do ! mountpoint -q $one || umount $one; done")
        assert layer.release() == {}


def test_a_host_whose_disk_is_full_is_cut_off_and_said_not_to_stay_so_across_a_boot(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    full = "mount -t tmpfs -o size=16k none /var/lib/recoverd && head -c 1M /dev/zero >/var/lib/recoverd/full"
    with layer_alone(recoverd, HOST) as layer:
        ward_lab.run(HOST, full, check=False)
        try:
            faults = layer.apply()
            assert "it is cut off, but a reboot would bring it back" in faults[HOST]
            assert not any(reaches(ward_lab, PEER, one) for one in addresses)
        finally:
            ward_lab.run(HOST, "umount /var/lib/recoverd")
        assert layer.apply() == {}, "once there is room"
        assert layer.verify() == {}
        assert layer.release() == {}


def test_a_host_behind_a_slow_link_is_cut_off_all_the_same(
    recoverd: Controller, ward_lab: Lab, addresses: tuple[str, str]
) -> None:
    with layer_alone(recoverd, HOST) as layer:
        ward_lab.break_("slow-link", HOST, rate_kbit=256)
        try:
            assert layer.apply() == {}
        finally:
            ward_lab.mend("slow-link", HOST)
        assert not any(reaches(ward_lab, PEER, one) for one in addresses)
        assert layer.release() == {}


def test_two_runs_on_one_host_exclude_each_other(recoverd: Controller) -> None:
    with layer_alone(recoverd, HOST):
        recoverd.target = HOST
        second = recoverd.run("isolate")
    assert second.state == "refused"
    assert "is locked by run" in second.summary
