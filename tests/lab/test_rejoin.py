"""Rejoin on real servers: what only the old primary had is saved and named exactly, then it follows the new one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from failover_kit import SERVICE, Controller, name, only_writer, roles
from lab_kit import connect, eventually, leave_lock, value

from lab import Lab
from lab.background import Writer
from lab.guard import Guard
from lab.ledger import LedgerReport, check_ledger
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow
from tasks.evidence import check_sums

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

CHILD = Path(__file__).with_name("kill_child.py")
ALL_STREAM = {"primary": 1, "standby": 2}


def lose_commits(lab: Lab, ledger: Path, *, at_least: int = 40) -> None:
    """Acknowledged commits that no standby has: the primary is cut off from them first, and dies afterwards.

    The cut stays: what the dead primary's kernel still has to send would arrive after all.
    """
    with Writer(lab.layout, ledger, churn=True) as writer:
        assert eventually(lambda: writer.acknowledged() > 20)
        lab.break_("partition", "db-1", peers=("db-2", "db-3"))
        before = writer.acknowledged()
        assert eventually(lambda: writer.acknowledged() > before + at_least)
        lab.break_("kill", "db-1")


def fail_over(recoverd: Controller) -> RunRow:
    run = recoverd.run("failover")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    recoverd.lab.mend("partition", "db-1")
    return run


def held_against(lab: Lab, ledger: Path) -> LedgerReport:
    return check_ledger(ledger, lambda: connect(lab, lab.layout.virtual_address, database="orders"))


def salvaged(recoverd: Controller, run: RunRow, host: str = "db-1") -> list[dict[str, Any]]:
    place = recoverd.home / "salvage" / SERVICE / run.id / host
    check_sums(place)
    return [json.loads(line) for line in (place / "salvage.jsonl").read_text().splitlines()]


def all_stream(lab: Lab, primary: str) -> bool:
    with connect(lab, lab.host(primary).address) as connection:
        streaming = value(connection, "select count(*) from pg_stat_replication where state = 'streaming'")
    return streaming == 2 and Counter(roles(lab).values()) == ALL_STREAM


def test_the_commits_that_were_lost_are_named_exactly_and_the_old_primary_follows(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lose_commits(lab, tmp_path / "ledger")
    failover = fail_over(recoverd)
    report = held_against(lab, tmp_path / "ledger")
    assert len(report.lost) >= 40
    with Guard(lab.layout) as guard:
        run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    lines = [line for line in salvaged(recoverd, run) if line["table"] == "public.lab_writes"]
    named = {line["row"]["id"] for line in lines if line["action"] == "insert"}
    # One commit may have been on its way to its client when the primary died: nobody was told, and it is lost too.
    assert set(report.lost) <= named <= {*report.lost, *report.unknown_absent}
    assert len(lines) == len(named)
    assert "rewind" in recoverd.done(run)
    assert not guard.violations
    assert all_stream(lab, only_writer(lab))
    account = next(entry for entry in recoverd.entries(failover, "step.observed") if name(entry) == "survey_loss")
    everything = {line["xid"] for line in salvaged(recoverd, run)}
    assert account.body["facts"]["transactions"] == len(everything)
    assert [entry.body["directory"] for entry in recoverd.entries(run, "evidence.stored")]


def test_updates_and_deletes_that_were_lost_are_told_with_the_row_before(recoverd: Controller, lab: Lab) -> None:
    with connect(lab, lab.host("db-1").address, database="orders") as connection, connection.cursor() as cursor:
        cursor.execute("create table stock (id int primary key, amount int, note text)")
        cursor.execute("insert into stock select g, 10, 'it''s ' || chr(10) || g from generate_series(1, 6) g")
        lsn = value(connection, "select pg_current_wal_lsn()")
    for standby in ("db-2", "db-3"):
        with connect(lab, lab.host(standby).address) as connection:
            assert eventually(lambda c=connection: bool(value(c, f"select pg_last_wal_replay_lsn() >= '{lsn}'")))
    lab.break_("partition", "db-1", peers=("db-2", "db-3"))
    with connect(lab, lab.host("db-1").address, database="orders") as connection, connection.cursor() as cursor:
        cursor.execute("update stock set amount = 11 where id = 1")
        cursor.execute("delete from stock where id = 2")
        cursor.execute("begin; savepoint s; update stock set amount = 12 where id = 3; release s; commit")
        cursor.execute("begin; update stock set amount = 99 where id = 4; rollback")
        cursor.execute("copy (select 1) to program 'cat >/dev/null'")
        cursor.execute("create table later (id int primary key)")
        cursor.execute("insert into later values (7)")
    lab.break_("kill", "db-1")
    fail_over(recoverd)
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", run.summary
    told = {
        (line["table"], line["action"], line["key"].get("id")): line
        for line in salvaged(recoverd, run)
        if line["database"] == "orders"
    }
    assert told["public.stock", "update", 1]["row"]["amount"] == 11
    assert told["public.stock", "update", 1]["old"] == {"id": 1, "amount": 10, "note": "it's \n1"}
    assert told["public.stock", "delete", 2]["old"]["amount"] == 10
    assert told["public.stock", "update", 3]["row"]["amount"] == 12
    assert told["public.later", "insert", 7]["row"] == {"id": 7}
    assert ("public.stock", "update", 4) not in told


def test_a_host_that_was_powered_off_as_a_fence_is_powered_on_and_follows(recoverd: Controller, lab: Lab) -> None:
    lab.break_("partition", "db-1")
    fail_over(recoverd)
    assert not lab.is_on("db-1")
    run = recoverd.run("rejoin", host="db-1")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert "power_on" in recoverd.done(run)
    assert all_stream(lab, only_writer(lab))


def test_a_lock_file_that_names_a_bystander_neither_hinders_a_rewind_nor_costs_the_bystander_its_life(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    bystander_lives = leave_lock(lab, "db-1")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert "rewind" in recoverd.done(run)
    assert "copy_beside" not in recoverd.done(run)
    assert all_stream(lab, only_writer(lab))
    assert bystander_lives()


def test_a_lock_file_that_names_a_bystander_does_not_hinder_a_start(recoverd: Controller, lab: Lab) -> None:
    lab.break_("power-off", "db-1")
    fail_over(recoverd)
    lab.power_on("db-1")
    bystander_lives = leave_lock(lab, "db-1")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert not {"rewind", "copy_beside"} & set(recoverd.done(run))
    assert all_stream(lab, only_writer(lab))
    assert bystander_lives()


def test_a_rewind_that_was_cut_short_is_followed_by_a_new_copy_and_the_old_data_is_kept(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    lab.run("db-1", f"echo re-earlier > /var/lib/recoverd/{SERVICE}.unfit")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert {"copy_beside", "swap_in"} <= set(recoverd.done(run))
    assert "rewind" not in recoverd.done(run)
    assert lab.run("db-1", f"cat /var/lib/postgresql/data.before-{run.id}/PG_VERSION").out.strip()
    assert all_stream(lab, only_writer(lab))

    undone = recoverd.run("undo", run=run.id)
    assert undone.state == "succeeded", (undone.summary, recoverd.entries(undone, "step.failed"))
    assert roles(lab)["db-1"] == "stopped"
    listing = lab.run("db-1", "ls -d /var/lib/postgresql/data* /var/lib/postgresql/data/standby.signal").out.split()
    assert f"/var/lib/postgresql/data.before-{run.id}" not in listing
    assert "/var/lib/postgresql/data/standby.signal" in listing  # the old primary does not come back as one


def test_a_host_that_lost_its_data_is_given_a_copy_and_is_not_powered_off(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-3")
    lab.run("db-3", "mv /var/lib/postgresql/data /var/lib/postgresql/lost && mkdir -m 700 /var/lib/postgresql/data")
    lab.run("db-3", "chown postgres: /var/lib/postgresql/data")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert "swap_in" in recoverd.done(run)
    assert not {"fence_by_ssh", "power_off"} & set(recoverd.done(run))
    assert all_stream(lab, "db-1")


def test_an_old_primary_that_came_back_writable_is_fenced_first(recoverd: Controller, lab: Lab) -> None:
    lab.break_("power-off", "db-1")
    fail_over(recoverd)
    primary = only_writer(lab)
    lab.power_on("db-1")
    lab.start_postgres("db-1")
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    with connect(lab, lab.host("db-1").address) as connection, connection.cursor() as cursor:
        cursor.execute("create table written_apart (id int primary key)")
        cursor.execute("insert into written_apart values (1)")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert recoverd.done(run)[0] == "fence_by_ssh"
    assert any(line["table"] == "public.written_apart" and line["row"] == {"id": 1} for line in salvaged(recoverd, run))
    assert only_writer(lab) == primary
    assert all_stream(lab, primary)


def test_the_settings_of_the_old_host_survive_the_rewind_of_its_data(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lab.run("db-1", "echo \"cluster_name = 'first'\" >> /var/lib/postgresql/data/postgresql.conf")
    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    assert recoverd.run("rejoin").state == "succeeded"
    with connect(lab, lab.host("db-1").address) as connection:
        assert value(connection, "show cluster_name") == "first"
        assert value(connection, "select count(*) from pg_replication_slots") == 0
    lab.down()  # its configuration is no longer that of a new lab


def test_a_service_without_a_primary_has_nobody_to_follow(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    run = recoverd.run("rejoin")
    assert run.state == "refused"
    assert recoverd.changed_nothing(run)


def test_a_plan_of_a_rejoin_changes_nothing(recoverd: Controller, lab: Lab, tmp_path: Path) -> None:
    from flows.rejoin import carry_out

    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    with rehearsal("rejoin", SERVICE, load(recoverd.inventory)) as plan:
        carry_out(SERVICE)
    would = [step.key.partition("(")[0] for step in plan.planned if step.changes]
    assert [step for step in would if step in {"save_wal", "decode", "rewind", "start_standby"}] == [
        "save_wal",
        "decode",
        "rewind",
        "start_standby",
    ]
    assert roles(lab)["db-1"] == "stopped"


def test_killed_in_the_middle_of_every_step_it_goes_on_and_the_member_streams(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lose_commits(lab, tmp_path / "ledger")
    fail_over(recoverd)
    primary = only_writer(lab)
    report = held_against(lab, tmp_path / "ledger")
    run = recoverd.request("rejoin")
    steps = [
        f"save_wal({SERVICE},db-1)",
        f"decode({SERVICE},db-1,{primary})",
        f"make_slot({SERVICE},db-1,{primary})",
        f"rewind({SERVICE},db-1,{primary})",
        f"configure_standby({SERVICE},db-1,{primary})",
        f"release_fence({SERVICE},db-1)",
        f"start_standby({SERVICE},db-1,{primary})",
    ]
    with Guard(lab.layout) as guard:
        for step in steps:
            assert execute(run, "before", "step.done", step) == -signal.SIGKILL, step
        assert execute(run) == 0
    assert recoverd.journal.get_run(run.id).state == "succeeded"
    outcomes = Counter(entry.step for entry in recoverd.entries(run, "step.done"))
    assert [outcomes[step] for step in steps] == [1] * len(steps)
    assert not guard.violations
    assert all_stream(lab, primary)
    named = {line["row"]["id"] for line in salvaged(recoverd, run) if line["table"] == "public.lab_writes"}
    assert set(report.lost) <= named


def execute(run: RunRow, when: str = "never", kind: str = "", step: str = "") -> int:
    argv = [sys.executable, str(CHILD), run.id, when, kind, step]
    done = subprocess.run(argv, timeout=90, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)  # shown by pytest when the test fails
    return done.returncode
