"""The primary is lost, and with it the standby that alone may have confirmed the last commits: a person decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, controller, only_writer, roles
from lab_kit import connect, eventually, value

import tasks.postgres
from lab import Lab
from lab.roles import writers
from recoverd import approvals
from recoverd.journal import RunRow
from recoverd.person import Actor

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

LEAD = Actor("lead", roles=frozenset({"command"}), rights=frozenset({"approve"}), known=True, by="token")


@pytest.fixture
def synchronous(sync_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(sync_lab, tmp_path / "home") as made:
        yield made


def by_priority(lab: Lab) -> None:
    """Commits wait for db-2 alone, and for db-3 while db-2 is away."""
    for host in ("db-1", "db-2", "db-3"):
        connection = connect(lab, lab.host(host).address)
        with connection.cursor() as cursor:
            cursor.execute("""alter system set synchronous_standby_names = 'FIRST 1 ("db-2", "db-3")'""")
            cursor.execute("select pg_reload_conf()")
        connection.close()


def approve(recoverd: Controller, run: RunRow) -> RunRow:
    waiting = [one for one in recoverd.journal.list_approvals(run=run.id) if one.state == "waiting"]
    approvals.decide(recoverd.journal, run.id, LEAD, waiting[0].plan_hash, "approve", "db-2 burnt")
    return recoverd.execute(run)


@pytest.mark.parametrize("priority", [True, False])
def test_with_the_synchronous_standby_lost_too_nothing_is_touched_before_a_person_agrees_and_nobody_is_asked_twice(
    synchronous: Controller, priority: bool
) -> None:
    lab = synchronous.lab
    if priority:
        by_priority(lab)
        assert eventually(lambda: confirming(lab) == "db-2")
    for host in ("db-1", "db-2"):
        lab.break_("power-off", host)
    run = synchronous.run()
    assert (run.state, synchronous.changed_nothing(run)) == ("waiting", True), run.summary
    asked = synchronous.entries(run, "gate.requested")
    assert "may be on db-2 alone" in asked[0].body["summary"]
    assert (roles(lab)["db-3"], writers(lab.layout)) == ("standby", ())
    done = approve(synchronous, run)
    assert (done.state, only_writer(lab)) == ("succeeded", "db-3"), done.summary
    assert len(synchronous.entries(run, "gate.requested")) == 1


def confirming(lab: Lab) -> str:
    sql = "select coalesce(min(application_name), '') from pg_stat_replication where sync_state = 'sync'"
    return str(value(connect(lab, lab.host("db-1").address), sql))


def test_a_policy_may_refuse_it_or_take_it_upon_itself(synchronous: Controller) -> None:
    lab = synchronous.lab
    for host in ("db-1", "db-2"):
        lab.break_("power-off", host)
    synchronous.policy(possible_loss="never")
    refused = synchronous.run()
    assert (refused.state, "may be on db-2 alone" in refused.summary) == ("refused", True), refused.summary
    assert synchronous.changed_nothing(refused)
    synchronous.policy(possible_loss="act")
    assert synchronous.run().state == "succeeded"
    assert only_writer(lab) == "db-3"


def test_a_standby_that_comes_back_while_people_think_is_promoted_without_a_loss(synchronous: Controller) -> None:
    lab = synchronous.lab
    for host in ("db-1", "db-2"):
        lab.break_("power-off", host)
    run = synchronous.run()
    assert run.state == "waiting", run.summary
    lab.power_on("db-2")
    lab.start_postgres("db-2")
    assert eventually(lambda: roles(lab)["db-2"] == "standby", timeout_s=30)
    done = approve(synchronous, run)
    assert done.state == "succeeded", done.summary
    chosen = [entry for entry in synchronous.entries(run, "step.decided") if "after the fence" in (entry.step or "")]
    assert [one["only_on"] for one in chosen[0].body["decision"]["order"][:1]] == [[]]


def test_where_the_best_dies_while_it_is_promoted_a_person_decides_on_the_next_that_may_hold_less(
    synchronous: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = synchronous.lab
    lab.break_("partition", "db-1", peers=("db-3",))
    connection = connect(lab, lab.host("db-1").address, database="orders")
    with connection.cursor() as cursor:
        cursor.execute("create table only_on_db_2 as select 1")
    connection.close()
    first: list[str] = []
    real = tasks.postgres.run_script

    def die_once(name, service, host, variables, *, timeout_s):  # type: ignore[no-untyped-def]
        done = real(name, service, host, variables, timeout_s=timeout_s)
        if name == "promote" and not first:
            first.append(host)
            lab.power_off(host)
        return done

    monkeypatch.setattr(tasks.postgres, "run_script", die_once)
    lab.break_("power-off", "db-1")
    run = synchronous.run()
    assert (run.state, first, roles(lab)["db-3"]) == ("waiting", ["db-2"], "standby"), run.summary
    assert "may be on db-2 alone" in synchronous.entries(run, "gate.requested")[0].body["summary"]
    assert (approve(synchronous, run).state, only_writer(lab)) == ("succeeded", "db-3")


def test_wal_that_only_a_no_failover_standby_holds_is_said_in_the_account_and_saved_when_it_rejoins(
    recoverd: Controller, lab: Lab
) -> None:
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace("{host: db-3, ", "{host: db-3, no_failover: true, "))
    lab.break_("partition", "db-1", peers=("db-2",))
    connection = connect(lab, lab.host("db-1").address, database="orders")
    with connection.cursor() as cursor:
        cursor.execute("create table only_on_db_3 as select 1 as id")
    connection.close()
    standby = connect(lab, lab.host("db-3").address, database="orders")
    assert eventually(lambda: value(standby, "select to_regclass('only_on_db_3') is not null") is True)
    lab.break_("kill", "db-1")  # the cut stays: what the dead primary's kernel still has to send would arrive after all
    run = recoverd.run()
    assert (run.state, only_writer(lab)) == ("succeeded", "db-2"), run.summary
    assert "db-3 holds " in run.summary
    assert "bytes of WAL that db-2 does not have" in run.summary
    choice = next(entry for entry in recoverd.entries(run, "step.decided") if "choose" in (entry.step or ""))
    assert "is not promoted: they leave the service" in choice.body["summary"]
    back = recoverd.run("rejoin", host="db-3")
    assert back.state == "succeeded", back.summary
    assert list((recoverd.home / "salvage" / SERVICE / back.id / "db-3").glob("*"))
