"""Where a real Patroni manages the cluster: it moves the primary, and recoverd does what is around that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import killed
from failover_kit import SERVICE, Controller, address_holders, controller, only_writer
from lab_kit import connect, lab_name, value

from flows.patroni import follow_patroni
from flows.verdict import judge
from lab import Lab, patroni, up
from recoverd import approvals
from recoverd.errors import Unreachable
from recoverd.execution import execution, rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow
from recoverd.person import Actor
from tasks.observation import observe_service
from tasks.patroni import manages

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
LEAD = Actor("lead", roles=frozenset({"command"}), rights=frozenset({"approve"}), known=True, by="token")


@pytest.fixture(scope="module")
def managed(lab_base: Path) -> Iterator[Lab]:
    """A lab of its own, whose cluster Patroni manages."""
    lab = up(lab_name("p"))
    try:
        patroni.build(lab)
        yield lab
    except Unreachable as error:
        pytest.skip(error.message)
    finally:
        lab.down()


@pytest.fixture(scope="module")
def recoverd(managed: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """One recoverd for all of them, for the hosts remember its epoch. Its inventory says that Patroni manages them."""
    home = tmp_path_factory.mktemp("patroni") / "home"
    with controller(managed, home) as made:
        patroni.tell(made.inventory, home)
        yield made


def assert_moved_by_patroni(recoverd: Controller, run: RunRow, old: str) -> str:
    """Patroni's new leader serves users alone; recoverd has promoted nothing, and never meant to."""
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed", "run.finished"))
    steps = [entry.step or "" for entry in recoverd.entries(run)]
    assert not any(step.startswith(("promote(", "follow(", "relax_synchronous(")) for step in steps)
    new = only_writer(recoverd.lab)
    assert new == patroni.leader(recoverd.lab, new) != old
    assert address_holders(recoverd.lab) == [new]
    return new


def test_a_cluster_of_patronis_is_known_by_its_api_alone(managed: Lab) -> None:
    inventory = load(managed.inventory)  # it says nothing of Patroni
    with rehearsal("failover", SERVICE, inventory):
        assert manages(inventory.service(SERVICE), timeout_s=1.0)


def test_a_plan_says_what_patroni_would_be_asked_and_asks_nothing(recoverd: Controller, managed: Lab) -> None:
    from flows.switchover import carry_out

    with rehearsal("switchover", SERVICE, load(recoverd.inventory), {"to": "db-2"}) as here:
        assert "would have Patroni switch" in carry_out(SERVICE)
    assert any(step.changes and "ask Patroni to switch" in step.title for step in here.planned)
    assert patroni.leader(managed) == "db-1"


def test_a_switchover_is_asked_of_patroni_once_and_users_follow_also_when_killed_in_the_middle(
    recoverd: Controller, managed: Lab
) -> None:
    run = recoverd.request("switchover", to="db-2")
    assert killed(
        run, "ask_for_switchover(orders-db,db-1,db-2)"
    )  # Patroni has done it, and nobody has written that down
    assert recoverd.entries(run, "step.intended")
    assert recoverd.done(run) == []
    assert assert_moved_by_patroni(recoverd, recoverd.execute(run), "db-1") == "db-2"
    assert recoverd.done(run) == ["ask_for_switchover", "release_address", "claim_address"]
    assert timeline(managed, "db-2") == 2  # moved once
    patroni.wait_for_leader(managed, "db-2")


def timeline(lab: Lab, host: str) -> int:
    """The timeline that a primary writes on: one more for every promotion there ever was."""
    walfile = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
    found = value(connect(lab, lab.host(host).address), walfile)
    assert isinstance(found, int)
    return found


def test_users_are_led_to_the_leader_that_patroni_chose_without_being_asked(recoverd: Controller, managed: Lab) -> None:
    patroni.switch_over(managed, "db-2", "db-1")
    assert address_holders(managed) == ["db-2"]
    run = recoverd.request()
    with execution("failover", SERVICE, run.id, "a test"):
        view = observe_service(SERVICE)
        assert follow_patroni(SERVICE, judge(view), view) is not None
        assert follow_patroni(SERVICE, judge(view), observe_service(SERVICE)) is None
    assert address_holders(managed) == ["db-1"]


def test_a_paused_patroni_is_passed_over_only_by_a_person_and_only_after_a_fence(
    recoverd: Controller, managed: Lab
) -> None:
    patroni.pause(managed, paused=True)
    managed.break_("kill", "db-1")
    recoverd.policy(unfenced_promotion="never")
    refused = recoverd.run(override_cooldown=True)
    assert refused.state == "refused"
    assert "paused" in refused.summary
    assert recoverd.changed_nothing(refused)

    recoverd.policy(unfenced_promotion="ask")
    run = recoverd.run(override_cooldown=True)
    assert run.state == "waiting"
    assert recoverd.changed_nothing(run)
    gate = recoverd.journal.list_approvals(run=run.id)[0]
    approvals.decide(recoverd.journal, run.id, LEAD, gate.plan_hash, "approve", "I have asked who paused it")
    new = assert_moved_by_patroni(recoverd, recoverd.execute(run), "db-1")
    done = recoverd.done(run)
    assert done.index("fence_by_ssh") < done.index("ask_for_failover")

    patroni.pause(managed, paused=False)
    patroni.wait_for_leader(managed, new)  # Patroni itself brings the fenced one back, as a standby


def test_a_lost_host_is_failed_over_by_patroni_and_never_promoted_behind_its_back(
    recoverd: Controller, managed: Lab
) -> None:
    old = patroni.leader(managed)
    managed.break_("power-off", old)
    run = recoverd.run(override_cooldown=True)
    assert_moved_by_patroni(recoverd, run, old)
    assert "ask_for_failover" not in recoverd.done(run)  # it was at it already: its lock ran out
    relied = next(entry for entry in recoverd.entries(run, "step.observed") if "observe_standing" in (entry.step or ""))
    assert "watchdog" in relied.body["summary"]
