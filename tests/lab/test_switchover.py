"""Switchover and undo on real servers: nothing is lost, nobody waits long, and there is a way back."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
from failover_kit import SERVICE, Controller, address_holders, only_writer, roles
from lab_kit import connect, eventually, value
from test_rejoin import all_stream, execute, held_against

import tasks.handover
import tasks.postgres
from deployments.start import resume
from lab import Lab
from lab.background import Writer
from lab.guard import Guard
from recoverd.errors import TimedOut
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


def assert_untouched(recoverd: Controller, lab: Lab) -> None:
    assert only_writer(lab) == "db-1"
    assert address_holders(lab) == ["db-1"]
    assert all_stream(lab, "db-1")
    with connect(lab, lab.layout.virtual_address) as connection:
        assert value(connection, "select count(*) from pg_replication_slots where active") == 2
    for standby in ("db-2", "db-3"):
        with connect(lab, lab.host(standby).address) as connection:
            assert value(connection, "select count(*) from pg_replication_slots") == 0, standby


@pytest.mark.parametrize("through", ["virtual-address", "libpq"])
def test_under_a_continuous_writer_no_commit_is_lost(
    recoverd: Controller, lab: Lab, tmp_path: Path, through: str
) -> None:
    ledger = tmp_path / "ledger"
    with Guard(lab.layout) as guard, Writer(lab.layout, ledger, through=through) as writer:
        assert eventually(lambda: writer.acknowledged() > 20)
        run = recoverd.run("switchover")
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() > before + 20)
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    report = held_against(lab, ledger)
    assert (report.lost, report.refused_present) == ((), ())
    assert not guard.violations
    primary = only_writer(lab)
    assert primary != "db-1"
    assert address_holders(lab) == [primary]
    assert all_stream(lab, primary)
    assert "interrupted for" in run.summary


def test_it_goes_to_the_host_that_is_named_and_back_again_without_a_rewind(recoverd: Controller, lab: Lab) -> None:
    assert recoverd.run("switchover", to="db-3").state == "succeeded"
    assert only_writer(lab) == "db-3"
    run = recoverd.run("switchover", to="db-1")
    assert run.state == "succeeded", run.summary
    assert_untouched(recoverd, lab)
    assert "rewind" not in recoverd.done(run)


def test_with_synchronous_replication_writes_go_on_too(sync_lab: Lab, tmp_path: Path) -> None:
    from failover_kit import controller

    with controller(sync_lab, tmp_path / "home") as recoverd, Writer(sync_lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() > 20)
        run = recoverd.run("switchover")
        assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() > before + 20)
    assert held_against(sync_lab, tmp_path / "ledger").lost == ()


def test_a_standby_that_does_not_stream_is_not_taken(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-2")
    run = recoverd.run("switchover", to="db-2")
    assert run.state == "refused"
    assert recoverd.changed_nothing(run)
    assert only_writer(lab) == "db-1"


def test_a_plan_of_a_switchover_changes_nothing(recoverd: Controller, lab: Lab) -> None:
    from flows.switchover import carry_out

    with rehearsal("switchover", SERVICE, load(recoverd.inventory)) as plan:
        carry_out(SERVICE)
    would = [step.key.partition("(")[0] for step in plan.planned if step.changes]
    assert [step for step in would if step in {"demote", "promote", "start_standby"}] == [
        "demote",
        "promote",
        "start_standby",
    ]
    assert_untouched(recoverd, lab)


def test_a_successor_that_lacks_the_last_record_leads_back_to_the_old_primary(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tasks.handover, "CATCH_UP_LIMIT_S", 0.5)
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_pause()")
    with Writer(lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() > 20)
        run = recoverd.run("switchover", to="db-2")
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() > before + 20)
    assert run.state == "failed"
    assert "db-1 is the primary again" in run.summary
    assert held_against(lab, tmp_path / "ledger").lost == ()
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_resume()")
    assert eventually(lambda: all_stream(lab, "db-1"))
    assert_untouched(recoverd, lab)
    refused = recoverd.run("undo", run=run.id)
    assert refused.state == "refused"
    assert_untouched(recoverd, lab)


def test_resumed_after_it_has_turned_back_it_touches_nobody(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tasks.handover, "CATCH_UP_LIMIT_S", 0.5)
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_pause()")
    run = recoverd.run("switchover", to="db-2")
    assert (run.state, "db-1 is the primary again" in run.summary) == ("failed", True), run.summary
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_resume()")
    assert eventually(lambda: all_stream(lab, "db-1"))
    since, meant = started_at(lab, "db-1"), len(recoverd.entries(run, "step.intended"))
    resume(run.id, who="sre", reason="try again", journal=recoverd.journal)
    late = recoverd.execute(run)
    assert (late.state, "has turned back to db-1 already" in late.summary) == ("refused", True), late.summary
    assert (started_at(lab, "db-1"), len(recoverd.entries(run, "step.intended"))) == (since, meant)
    assert_untouched(recoverd, lab)


def started_at(lab: Lab, host: str) -> object:
    with connect(lab, lab.host(host).address) as connection:
        return value(connection, "select pg_postmaster_start_time()")


def test_a_promotion_that_fails_ends_with_the_candidate_fenced_and_the_old_primary_serving(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tasks.postgres.run_script

    def refuse(name, service, host, variables, *, timeout_s):  # type: ignore[no-untyped-def]
        if name == "promote":
            raise TimedOut("it does not answer", "")
        return real(name, service, host, variables, timeout_s=timeout_s)

    monkeypatch.setattr(tasks.postgres, "run_script", refuse)
    with Guard(lab.layout) as guard:
        run = recoverd.run("switchover", to="db-2")
    assert run.state == "failed"
    assert (only_writer(lab), address_holders(lab), roles(lab)["db-2"]) == ("db-1", ["db-1"], "stopped")
    assert not guard.violations
    monkeypatch.undo()
    assert recoverd.run("rejoin").state == "succeeded"
    since = started_at(lab, "db-1"), started_at(lab, "db-2")
    resume(run.id, who="sre", reason="try again", journal=recoverd.journal)
    assert recoverd.execute(run).state == "refused"
    assert (started_at(lab, "db-1"), started_at(lab, "db-2")) == since  # the candidate is a good standby by now


def test_killed_in_the_middle_of_every_step_it_is_completed_once(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    run = recoverd.request("switchover", to="db-2")
    steps = [
        f"demote({SERVICE},db-1)",
        f"promote({SERVICE},db-2)",
        f"claim_address({SERVICE},orders-address,db-2)",
        f"follow({SERVICE},db-3,db-2)",
        f"configure_standby({SERVICE},db-1,db-2)",
        f"start_standby({SERVICE},db-1,db-2)",
    ]
    with Guard(lab.layout) as guard, Writer(lab.layout, tmp_path / "ledger") as writer:
        assert eventually(lambda: writer.acknowledged() > 20)
        for step in steps:
            assert execute(run, "before", "step.done", step) == -signal.SIGKILL, step
        assert execute(run) == 0
    assert recoverd.journal.get_run(run.id).state == "succeeded"
    outcomes = Counter(entry.step for entry in recoverd.entries(run, "step.done"))
    assert [outcomes[step] for step in steps] == [1] * len(steps)
    assert held_against(lab, tmp_path / "ledger").lost == ()
    assert not guard.violations
    assert all_stream(lab, "db-2")


def test_killed_after_it_turned_back_it_never_promotes(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_pause()")
    run = recoverd.request("switchover", to="db-2")
    assert execute(run, "before", "step.done", f"reinstate({SERVICE},db-1)") == -signal.SIGKILL
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_wal_replay_resume()")
    since = started_at(lab, "db-1")
    with Guard(lab.layout) as guard:
        execute(run)
    assert recoverd.journal.get_run(run.id).state == "failed"
    assert started_at(lab, "db-1") == since
    assert "promote" not in recoverd.done(run)
    assert not guard.violations
    assert eventually(lambda: all_stream(lab, "db-1"))
    assert_untouched(recoverd, lab)


def test_an_old_primary_that_was_started_again_while_the_run_was_away_stays_the_only_one(
    recoverd: Controller, lab: Lab
) -> None:
    run = recoverd.request("switchover", to="db-2")
    assert execute(run, "after", "step.intended", f"promote({SERVICE},db-2)") == -signal.SIGKILL
    lab.run("db-1", "rm /var/lib/postgresql/data/standby.signal")
    lab.start_postgres("db-1")
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    with Guard(lab.layout) as guard:
        assert execute(run) != 0
    assert recoverd.journal.get_run(run.id).state == "failed"
    assert (only_writer(lab), address_holders(lab), roles(lab)["db-2"]) == ("db-1", ["db-1"], "stopped")
    assert not guard.violations


def fenced_only(recoverd: Controller) -> RunRow:
    """A failover that was killed and cancelled after it had fenced the primary; its lock has run out."""
    run = recoverd.request("failover")
    assert execute(run, "after", "step.done", f"fence_by_ssh({SERVICE},db-1)") == -signal.SIGKILL
    recoverd.journal.set_run(run.id, "cancelled", who="sre", expected="running")
    assert eventually(lambda: lock_has_run_out(recoverd), timeout_s=20)
    return run


def lock_has_run_out(recoverd: Controller) -> bool:
    return all(
        lock.expires_at is None or lock.expires_at < recoverd.journal.now() for lock in recoverd.journal.list_locks()
    )


def test_a_fence_is_taken_back_and_the_old_primary_serves_again(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERD_LEASE_TTL_S", "2")  # of the child that is killed
    lab.break_("freeze", "db-1")
    run = fenced_only(recoverd)
    undone = recoverd.run("undo", run=run.id)
    assert undone.state == "succeeded", (undone.summary, recoverd.entries(undone, "step.failed"))
    assert recoverd.journal.get_run(run.id).state == "undone"
    assert (only_writer(lab), address_holders(lab)) == ("db-1", ["db-1"])
    assert [entry.body["by"] for entry in recoverd.entries(run, "step.undone")] == [undone.id]
    again = recoverd.run("undo", run=run.id)
    assert (again.state, "undone already" in again.summary) == ("refused", True)


def test_a_fence_is_not_taken_back_once_another_server_is_the_primary(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERD_LEASE_TTL_S", "2")
    lab.break_("kill", "db-1")
    run = fenced_only(recoverd)
    with connect(lab, lab.host("db-2").address) as connection, connection.cursor() as cursor:
        cursor.execute("select pg_promote()")
    refused = recoverd.run("undo", run=run.id)
    assert (refused.state, "db-2 is one" in refused.summary) == ("refused", True), refused.summary
    assert only_writer(lab) == "db-2"


def test_a_stop_is_not_taken_back_while_the_successor_that_was_told_to_promote_itself_cannot_be_asked(
    recoverd: Controller, lab: Lab
) -> None:
    run = recoverd.request("switchover", to="db-2")
    assert execute(run, "before", "step.done", f"promote({SERVICE},db-2)") == -signal.SIGKILL
    recoverd.journal.set_run(run.id, "cancelled", who="sre", expected="running")
    assert eventually(lambda: lock_has_run_out(recoverd), timeout_s=20)
    lab.break_("partition", "db-2", peers=["controller"])
    refused = recoverd.run("undo", run=run.id)
    lab.mend("partition", "db-2")
    assert (refused.state, "told to promote itself" in refused.summary) == ("refused", True), refused.summary
    assert only_writer(lab) == "db-2"


def test_a_promotion_cannot_be_undone_and_what_to_do_instead_is_said(recoverd: Controller, lab: Lab) -> None:
    run = recoverd.run("switchover", to="db-2")
    refused = recoverd.run("undo", run=run.id)
    assert (refused.state, "cannot be taken back" in refused.summary) == ("refused", True)
    hint = recoverd.entries(refused, "run.finished")[0].body["hint"]
    assert "recoverd run switchover" in hint
    assert only_writer(lab) == "db-2"
