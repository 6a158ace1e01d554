"""A compromised host is evidenced, cut off, proven so by its peers, kept so, and let back when it is clean; the record shows all."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import killed
from contain_kit import Attacker
from failover_kit import Controller, controller
from lab_kit import reaches
from ward_kit import BEACON, beacons, listens

from deployments.wards import look_again, note_looks, watched
from lab import Lab
from recoverd import approvals
from recoverd.evidence.store import check, find
from recoverd.inventory import load
from recoverd.isolation.wards import standing
from recoverd.journal import RunRow
from recoverd.person import Actor
from recoverd.raised import open_incidents
from recoverd.settings import settings

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
HOST = "web-1"
LEAD = Actor("lead", roles=frozenset({"command"}), rights=frozenset({"approve"}), known=True, by="token")
ZONES = """
zones:
  web: {hosts: "group:web", witnesses: 3, timer_s: 15, recheck_s: 5, limit: {hosts: 3, percent: 60}}
"""
DARK = """
table inet dark {
  chain in {
    type filter hook input priority 0;
    iifname lo accept
    ip saddr CONTROLLER tcp dport 22 accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    drop
  }
}
"""


@pytest.fixture
def recoverd(ward_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(ward_lab, tmp_path / "home") as made:
        made.target = HOST
        (made.inventory / "isolation.yaml").write_text(ZONES)
        yield made


@pytest.fixture
def attacker(ward_lab: Lab, tmp_path: Path) -> Iterator[Attacker]:
    made = Attacker(ward_lab, tmp_path)
    yield made
    made.leaves()


def approve(recoverd: Controller, run: RunRow) -> None:
    """Another person answers for it."""
    assert run.state == "waiting", run.summary
    gate = recoverd.journal.list_approvals(run=run.id)[0]
    approvals.decide(recoverd.journal, run.id, LEAD, gate.plan_hash, "approve", "it was built anew")


def approved(recoverd: Controller, run: RunRow) -> RunRow:
    """What another person has approved, executed again."""
    approve(recoverd, run)
    return recoverd.execute(run)


def cut_off(lab: Lab, host: str = HOST) -> bool:
    addresses = (lab.host(host).address, lab.host(host).address6)
    return not any(reaches(lab, "web-2" if host != "web-2" else "web-3", one) for one in addresses)


def test_a_host_under_attack_is_evidenced_cut_proven_kept_cleaned_and_released(
    recoverd: Controller, ward_lab: Lab, attacker: Attacker
) -> None:
    attacker.settle(HOST, "mallory")
    shell = attacker.opens(HOST, "mallory", "echo in; exec sleep 600")
    assert shell.stdout is not None
    assert shell.stdout.readline() == b"in\n"
    with beacons(ward_lab, HOST, "web-2") as beacon, listens(ward_lab, HOST) as flow:
        assert beacon.heard() >= {"4", "6", "guest"}
        run = recoverd.run("isolate")
        assert run.state == "succeeded", run.summary
        assert "proven from" in run.summary
        assert cut_off(ward_lab)
        assert not flow.passes("web-2")
        assert beacon.heard() == set()
        evidence = evidence_of(recoverd, run)
        assert "beacon" in evidence["02-processes"]
        assert "mallory" in evidence["23-accounts"]

        ward_lab.power_off(HOST)
        ward_lab.power_on(HOST)
        assert cut_off(ward_lab)
        assert look_again(watched(recoverd.journal), load(recoverd.inventory)) == {}

        ward_lab.run(HOST, "mkdir -p /srv/www /srv/db; echo fine >/srv/www/index; cat >/srv/www/beacon", stdin=BEACON)
        signature = f"{hashlib.sha256(BEACON.encode()).hexdigest()}:{len(BEACON)}:Test.Beacon"
        ward_lab.run(HOST, f"echo {signature} >/srv/db/test.hsb")
        clean = recoverd.run("disinfect", paths="/srv/www", database="/srv/db")
        assert clean.state == "succeeded", clean.summary
        back = recoverd.run("release")
        assert back.state == "succeeded", "the scan speaks for it: nobody is asked"
        assert not cut_off(ward_lab)
    assert standing(recoverd.journal) == ()
    kinds = [entry.kind for entry in recoverd.entries(run)]
    order = ["evidence.stored", "isolate.begun", "isolate.proven"]
    assert [kind for kind in kinds if kind in order] == order
    assert "recoverd" not in ward_lab.run(HOST, "nft list ruleset").out
    assert recoverd.run("undo", run=run.id).state == "refused", "an undo would not ask whether it is clean"


def evidence_of(recoverd: Controller, run: RunRow) -> dict[str, str]:
    """The files of the evidence, whose signature and hashes fit."""
    inventory, home = load(recoverd.inventory), settings().home
    [(place, key)] = find(inventory, home, run.id)
    assert check(inventory, home, place, key).host == HOST
    with tarfile.open(home / "evidence" / f"{key}.tar.gz") as archive:
        files = {one.name: archive.extractfile(one) for one in archive}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_what_its_peers_still_reach_is_not_called_isolated(recoverd: Controller, ward_lab: Lab) -> None:
    """A hole that an attacker with root makes at once: the run says so, loudly, and a new one closes it."""
    opener = "while ! nft insert rule inet recoverd_quarantine q_in ip6 saddr fd77::/16 accept 2>/dev/null; do sleep 0.02; done"
    more = "nft insert rule inet recoverd_quarantine q_out ip6 daddr fd77::/16 accept"
    frames = "for chain in q_ingress q_egress; do nft insert rule netdev recoverd_quarantine_l2 $chain ip6 saddr fd77::/16 accept; done"
    # The loop ends with the table that it waits for, or with the limit.
    ward_lab.run(HOST, f"setsid --fork timeout 60 sh -c '{opener}; {more}; {frames}' >/dev/null 2>&1")
    run = recoverd.run("isolate")
    assert run.state == "failed", run.summary
    assert "NOT ISOLATED" in run.summary
    assert "is still reached" in run.summary
    assert ward_lab.host(HOST).address6 in run.summary
    assert ward_lab.host(HOST).address + " " not in run.summary, "the other family is shut"
    assert [ward.proven for ward in standing(recoverd.journal)] == [False]
    again = recoverd.run("isolate")
    assert again.state == "succeeded", again.summary
    back = approved(recoverd, recoverd.run("release"))
    assert back.state == "succeeded", back.summary


def test_silence_proves_nothing_where_nobody_reached_the_host_before(recoverd: Controller, ward_lab: Lab) -> None:
    ward_lab.run(HOST, "nft -f -", stdin=DARK.replace("CONTROLLER", f"{ward_lab.layout.prefix}.1"))
    run = recoverd.run("isolate")
    assert run.state == "failed"
    assert "silence proves nothing" in run.summary


@pytest.mark.parametrize(
    ("step", "when"),
    [("collect(web-1,before)", "before"), ("cut(web-1,15)", "before"), ("cut(web-1,15)", "after")],
)
def test_killed_at_any_step_it_goes_on_where_it_stopped(
    recoverd: Controller, ward_lab: Lab, step: str, when: str
) -> None:
    run = recoverd.request("isolate")
    assert killed(run, step, when)
    run = recoverd.execute(run)
    assert run.state == "succeeded", run.summary
    assert cut_off(ward_lab)
    back = approved(recoverd, recoverd.run("release"))
    assert back.state == "succeeded", back.summary
    assert not cut_off(ward_lab)


def test_a_release_that_is_killed_goes_on(recoverd: Controller, ward_lab: Lab) -> None:
    assert recoverd.run("isolate").state == "succeeded"
    waiting = recoverd.run("release")
    approve(recoverd, waiting)
    assert killed(waiting, "put_back(web-1,15)")
    done = recoverd.execute(recoverd.journal.get_run(waiting.id))
    assert done.state == "succeeded", done.summary
    assert standing(recoverd.journal) == ()
    assert not cut_off(ward_lab)


def test_several_hosts_go_at_once_within_the_limit_and_one_that_is_dead_keeps_no_other(
    recoverd: Controller, ward_lab: Lab
) -> None:
    recoverd.target = "group:web"
    refused = recoverd.run("isolate")
    assert (refused.state, recoverd.changed_nothing(refused)) == ("refused", True)
    assert "its limit is 3" in refused.summary
    recoverd.target = "web-1,web-3,web-4"
    ward_lab.power_off("web-3")
    try:
        run = recoverd.run("isolate")
    finally:
        ward_lab.power_on("web-3")
    assert run.state == "failed"
    assert "1 of 3 hosts" in run.summary
    assert [cut_off(ward_lab, host) for host in ("web-1", "web-3", "web-4")] == [True, False, True]
    assert recoverd.execute(recoverd.journal.get_run(run.id)).state == "failed", "it has ended: resume is asked for"


def test_a_host_that_comes_open_again_raises_an_incident_until_it_is_shut(recoverd: Controller, ward_lab: Lab) -> None:
    assert recoverd.run("isolate").state == "succeeded"
    inventory, journal = load(recoverd.inventory), recoverd.journal
    wards = watched(journal)
    assert [*wards] == [HOST]
    assert note_looks(journal, wards, look_again(wards, inventory)) == []
    ward_lab.run(HOST, "nft flush ruleset")
    found = look_again(wards, inventory)
    assert "its rules are gone" in found[HOST]
    assert "reaches it by tcp" in found[HOST]
    assert len(note_looks(journal, wards, found)) == 1
    assert note_looks(journal, wards, found) == [], "once"
    assert [one.service for one in open_incidents(journal)] == [HOST]
    again = recoverd.run("isolate")
    assert again.state == "succeeded", again.summary
    wards = watched(journal)
    note_looks(journal, wards, look_again(wards, inventory))
    assert open_incidents(journal) == ()


def test_what_a_plan_says_changes_nothing(recoverd: Controller, ward_lab: Lab) -> None:
    from flows.isolate import carry_out
    from recoverd.execution import rehearsal

    with rehearsal("isolate", HOST, load(recoverd.inventory)) as here:
        said = carry_out(HOST)
        planned = [step.title for step in here.planned]
    assert said == f"would isolate 1 host: {HOST}"
    assert f"cut {HOST} off by its packet filter" in planned
    assert not cut_off(ward_lab)
    assert json.dumps(planned)


def test_an_alert_waits_for_a_person_and_one_whose_host_is_recoverds_own_is_refused(
    recoverd: Controller, ward_lab: Lab
) -> None:
    asked = recoverd.execute(recoverd.request("isolate", mode="ask"))
    assert asked.state == "waiting", asked.summary
    assert not cut_off(ward_lab)
    done = approved(recoverd, asked)
    assert done.state == "succeeded", done.summary
    hosts = recoverd.inventory / "hosts.yaml"
    own = hosts.read_text().replace(ward_lab.host("web-5").address, f"{ward_lab.layout.prefix}.1")
    hosts.write_text(own)
    recoverd.target = "web-5"
    refused = recoverd.run("isolate", force=True)
    assert (refused.state, recoverd.changed_nothing(refused)) == ("refused", True)
    assert "the machine that recoverd itself runs on" in refused.summary
