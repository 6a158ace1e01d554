"""Accounts are locked out with all that they run, networks blocked, on many hosts at once; and everything comes back as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from backup_kit import killed
from contain_kit import DROP, Attacker, processes, shown
from failover_kit import Controller, controller
from lab_kit import eventually

from deployments.containments import keep_time
from lab import Lab
from recoverd.isolation.cleanliness import cleanliness, past_scans
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
HOSTS = ("web-1", "web-2", "web-3")
GROUP = ",".join(HOSTS)
WAIT_S = 60
FORKING = Path(__file__).parents[1] / "forking.py"  # bounded in number and time
EVIL = b"#!/bin/sh\n# evil payload for tests\nwhile :; do sleep 1; done\n"


@pytest.fixture
def recoverd(ward_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd whose target is all three hosts, clean of what another test left."""
    for host in HOSTS:
        ward_lab.run(host, DROP)
    with controller(ward_lab, tmp_path / "home") as made:
        made.target = GROUP
        yield made


@pytest.fixture
def attacker(ward_lab: Lab, recoverd: Controller, tmp_path: Path) -> Iterator[Attacker]:
    made = Attacker(ward_lab, tmp_path)
    yield made
    made.leaves()
    for host in HOSTS:
        ward_lab.run(host, DROP)


def undone(recoverd: Controller, run: RunRow) -> None:
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary


def test_accounts_lose_sessions_processes_and_keys_on_all_hosts_and_get_them_back(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker
) -> None:
    attacker.settle("web-1", "mallory", "svc-old")
    attacker.settle("web-2", "mallory")
    ward_lab.run("web-1", "/usr/sbin/sshd -p 2222 -o UsePAM=yes -o PidFile=none")
    assert attacker.logs_in("web-1", "mallory")
    assert eventually(lambda: attacker.logs_in("web-1", "mallory", 2222), timeout_s=WAIT_S)
    before = {"web-1": shown(ward_lab, "web-1", "mallory svc-old"), "web-2": shown(ward_lab, "web-2", "mallory")}
    ward_lab.run("web-1", "cat >/srv/forking.py", stdin=FORKING.read_text())
    sessions = [
        attacker.opens("web-1", "mallory", "exec python3 /srv/forking.py"),
        attacker.opens("web-2", "mallory", "echo in; exec sleep 600"),
    ]
    assert [session.stdout.readline() for session in sessions if session.stdout] == [b"in\n"] * 2
    assert processes(ward_lab, "web-1", "mallory") > 5, "they fork while they are ended"

    run = recoverd.run("contain", accounts="mallory,svc-old")
    assert run.state == "succeeded", run.summary
    assert "3 accounts locked out" in run.summary
    assert "not there: mallory on web-3, svc-old on web-2, svc-old on web-3" in run.summary
    for session in sessions:
        assert session.wait(timeout=WAIT_S) != 0
    for host in ("web-1", "web-2"):
        assert processes(ward_lab, host, "mallory") == 0
        assert not attacker.logs_in(host, "mallory")
    assert not attacker.logs_in("web-1", "mallory", 2222), "nor where PAM decides"
    assert ward_lab.run("web-1", "find /srv/home /var/spool/cron -type f").out == ""
    assert "$6$" not in "".join(str(entry.body) for entry in recoverd.entries(run)), "no hash is in the journal"

    undone(recoverd, run)
    assert {
        host: shown(ward_lab, host, "mallory svc-old" if host == "web-1" else "mallory") for host in before
    } == before
    assert attacker.logs_in("web-1", "mallory")
    assert recoverd.journal.get_run(run.id).state == "undone"


def test_what_somebody_changed_since_is_not_overwritten_and_root_is_never_locked(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker
) -> None:
    attacker.settle("web-1", "mallory")
    refused = recoverd.run("contain", accounts="mallory,root")
    assert (refused.state, recoverd.changed_nothing(refused)) == ("refused", True)
    assert "must not lock root" in refused.summary
    ward_lab.run("web-1", "echo 'mallory ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/attackers")
    refused = recoverd.run("contain", accounts="mallory")
    assert refused.state == "refused"
    assert "mallory is the last account with sudo" in refused.summary
    run = recoverd.run("contain", accounts="mallory", force=True)
    assert run.state == "succeeded", run.summary
    ward_lab.run("web-1", "usermod -s /bin/bash mallory")
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "refused", undo.summary
    assert "moved on" in undo.summary
    assert not attacker.logs_in("web-1", "mallory")


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_the_middle_it_goes_on_and_its_deadline_ends_it(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker, when: str
) -> None:
    for host in HOSTS:
        attacker.settle(host, "mallory")
    before = [shown(ward_lab, host, "mallory") for host in HOSTS]
    run = recoverd.request("contain", **{"accounts": "mallory", "addresses": "203.0.113.0/24", "for": "1h"})
    assert killed(run, "lock(web-2,mallory)", when)
    run = recoverd.execute(run)
    assert run.state == "succeeded", run.summary
    assert not any(attacker.logs_in(host, "mallory") for host in HOSTS)
    assert keep_time(recoverd.journal) == []
    started = keep_time(recoverd.journal, ahead=timedelta(hours=2))
    assert [one.procedure for one in started] == ["undo"]
    ended = recoverd.execute(started[0])
    assert ended.state == "succeeded", ended.summary
    assert [shown(ward_lab, host, "mallory") for host in HOSTS] == before
    assert "recoverd_contain" not in ward_lab.run("web-1", "nft list ruleset").out


def test_blocks_cut_what_flows_and_each_release_lets_only_its_own_through(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker
) -> None:
    other = ward_lab.host("web-2")
    listen = 'python3 -c \'import socket,time; s=socket.create_server(("::",8080),family=socket.AF_INET6,dualstack_ipv6=True);'
    ward_lab.run("web-1", f"setsid --fork {listen} c=[s.accept() for _ in range(99)]' >/dev/null 2>&1")

    def reach(address: str) -> bool:
        probe = ["timeout", "2", "bash", "-c", f": </dev/tcp/{address}/8080"]
        return ward_lab.run("web-2", probe, check=False).ok

    addresses = [ward_lab.host("web-1").address, ward_lab.host("web-1").address6]
    for address in addresses:
        assert eventually(lambda address=address: reach(address), timeout_s=WAIT_S)
    flow = "exec 3<>/dev/tcp/%s/8080; echo up >/tmp/flow; read line <&3; echo ended >/tmp/flow"
    ward_lab.run("web-2", f"rm -f /tmp/flow; setsid --fork bash -c '{flow % addresses[0]}' >/dev/null 2>&1")
    assert eventually(lambda: ward_lab.run("web-2", "cat /tmp/flow", check=False).out == "up\n", timeout_s=WAIT_S)
    flows = lambda: ward_lab.run("web-1", f"ss -Htn state established dst {other.address}").out  # noqa: E731
    assert flows()
    recoverd.target = "web-1"

    refused = recoverd.run("contain", addresses=f"{ward_lab.layout.subnet}")
    assert (refused.state, recoverd.changed_nothing(refused)) == ("refused", True)
    assert "web-1 must not block" in refused.summary
    first = recoverd.run("contain", addresses=f"{other.address},{other.address6}")
    assert first.state == "succeeded", first.summary
    assert not any(reach(address) for address in addresses)
    assert not flows(), "what flowed already is cut"
    second = recoverd.run("contain", addresses=f"{other.address}/31")
    assert second.state == "succeeded", second.summary
    undone(recoverd, first)
    assert [reach(address) for address in addresses] == [False, True]
    ward_lab.run("web-1", "nft flush ruleset; sh /var/lib/recoverd/contain/boot.sh")
    assert not reach(addresses[0]), "made anew at boot"
    undone(recoverd, second)
    assert all(reach(address) for address in addresses)
    assert "recoverd" not in ward_lab.run("web-1", "nft list ruleset; ls /etc/systemd/system").out


def test_infected_files_go_into_quarantine_and_the_second_scan_proves_it(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker
) -> None:
    recoverd.target = "web-3"
    evil = hashlib.sha256(EVIL).hexdigest()
    ward_lab.run(
        "web-3", "mkdir -p /srv/www /srv/db; cat >/srv/www/beacon; chmod 4755 /srv/www/beacon", stdin=EVIL.decode()
    )
    ward_lab.run(
        "web-3",
        "ln /srv/www/beacon /srv/www/twin; echo fine >/srv/www/index; setsid --fork /srv/www/beacon >/dev/null 2>&1",
    )
    show = "cd /srv/www && stat -c '%n %a %U %s %Y %h' *"
    before, isolated_at = ward_lab.run("web-3", show).out, recoverd.journal.now()

    blind = recoverd.run("disinfect", paths="/srv/www", database="/srv/db")
    assert blind.state == "failed"
    assert "has no signatures, so that its scan says nothing" in blind.summary
    assert not cleanliness(past_scans(recoverd.journal), "web-3", isolated_at).clean
    ward_lab.run("web-3", f"echo {evil}:{len(EVIL)}:Test.Evil >/srv/db/test.hsb")

    run = recoverd.request("disinfect", paths="/srv/www", database="/srv/db")
    assert killed(run, "quarantine(web-3,1)")
    run = recoverd.execute(run)
    assert run.state == "succeeded", run.summary
    assert "1 file of web-3 below /srv/www: nothing found" in run.summary
    assert ward_lab.run("web-3", "ls /srv/www").out == "index\n"
    assert "/srv/www/beacon" not in ward_lab.run("web-3", ["ps", "-eo", "args="]).out
    assert cleanliness(past_scans(recoverd.journal), "web-3", isolated_at).clean
    undone(recoverd, run)
    assert ward_lab.run("web-3", show).out == before
