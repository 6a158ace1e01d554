"""A restore in the place of what is there: rows back, one writer at most, the old data kept, and the way back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from backup_kit import archive_wal, begin_archiving, empty_sites, killed, stop_scratch
from failover_kit import SERVICE, Controller, address_holders, controller, name, only_writer, roles
from lab_kit import connect, eventually, value
from test_going_on import approve
from test_restore import ask
from test_restore_moment import COUNT, let_clocks_differ, make_mistake, sql, there
from wal_kit import Kept, kept, reached, write_wal

from flows import copying
from gateway.cli.main import run as recoverd_command
from lab import Lab
from lab.guard import Guard
from recoverd.errors import Look
from recoverd.journal import RunRow
from recoverd.locks import acquire

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(420)]
DATA = "/var/lib/postgresql/data"
ALL_WELL = {"db-1": "primary", "db-2": "standby", "db-3": "standby"}


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup, that replaces data without asking."""
    empty_sites(backup_lab)
    begin_archiving(backup_lab)
    sql(backup_lab, "drop table if exists till, later")
    sql(backup_lab, "create table till (id int primary key, words text)")
    with controller(backup_lab, tmp_path / "home") as made:
        consent(made, "act")
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        let_clocks_differ()
        yield made
    for host in backup_lab.layout.databases:
        if backup_lab.is_on(host.name):
            backup_lab.run(host.name, f"rm -rf {DATA}.*", timeout_s=30)


def consent(recoverd: Controller, mode: str) -> None:
    file = recoverd.inventory / "backups.yaml"
    lines = [line for line in file.read_text().splitlines() if "consent" not in line]
    file.write_text("\n".join(lines).replace("    restore:\n", f"    restore:\n      consent: {mode}\n") + "\n")


@pytest.fixture
def mistake(recoverd: Controller, backup_lab: Lab) -> dict[str, str]:
    made = make_mistake(backup_lab)
    archive_wal(backup_lab)
    return made


def asked(lab: Lab, question: str) -> object:
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        return value(orders, question)


def streaming(lab: Lab) -> int:
    return int(str(asked(lab, "select count(*) from pg_stat_replication where state = 'streaming'")))


def beside(lab: Lab, host: str = "db-1") -> list[str]:
    return lab.run(host, f"ls -d {DATA}.* 2>/dev/null", check=False).out.split()


def test_rows_are_back_the_old_data_is_kept_and_undo_brings_it_back(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    with Guard(backup_lab.layout) as guard:
        run = recoverd.run("restore", to=mistake["time"], into="replace")
        assert run.state == "succeeded", run.summary
        assert asked(backup_lab, COUNT) == "30000 30000"
        assert (roles(backup_lab), only_writer(backup_lab), address_holders(backup_lab)) == (ALL_WELL, "db-1", ["db-1"])
        assert eventually(lambda: streaming(backup_lab) == 2)
        assert beside(backup_lab) == [f"{DATA}.recoverd-{run.id}"]
        assert beside(backup_lab, "db-2") == [f"{DATA}.before-{run.id}"]
        assert backup_lab.run("db-1", "ls /var/lib/recoverd/restore/orders-db", check=False).out == ""
        assert "writes were interrupted for" in run.summary
        assert "of work before that are not in it" in run.summary
        sql(backup_lab, "insert into till values (99999, 'after')")
        undo = recoverd.run("undo", run=run.id)
        assert undo.state == "succeeded", undo.summary
        assert (there(backup_lab, "till"), there(backup_lab, "later")) == (False, True)
        assert (roles(backup_lab), address_holders(backup_lab)) == (ALL_WELL, ["db-1"])
        assert eventually(lambda: streaming(backup_lab) == 2)
        assert beside(backup_lab) == [f"{DATA}.recoverd-undone-{run.id}"], "users had written there"
    assert guard.violations == []


def test_the_primary_may_be_lost_with_its_disk(recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]) -> None:
    for host in ("db-1", "db-2", "db-3"):
        backup_lab.run(
            host, f"pkill -KILL -f 'postgres -D {DATA}' || pkill -KILL postgres; sleep 0.5; rm -rf {DATA}", check=False
        )
    run = recoverd.run("restore", to="latest", into="replace", host="db-1")
    assert run.state == "succeeded", run.summary
    assert asked(backup_lab, "select to_regclass('till') is null and to_regclass('later') is not null")
    assert roles(backup_lab) == ALL_WELL


def test_what_fails_before_the_swap_leads_back_to_what_was_there(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(service: str, host: str) -> None:
        raise Look("the disk is full", "make room")

    monkeypatch.setattr("flows.replace.put_in_place", fail)
    run = recoverd.run("restore", to=mistake["time"], into="replace")
    assert run.state == "failed"
    assert "was not replaced, and what was there serves as before: the disk is full" in run.summary
    assert (roles(backup_lab), address_holders(backup_lab)) == (ALL_WELL, ["db-1"])
    assert there(backup_lab, "later")
    assert eventually(lambda: streaming(backup_lab) == 2)
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert beside(backup_lab) == []


STEPS = (
    "begin_unpacking(orders-db,db-1,{parts})",
    "recover(orders-db,db-1,{to},{timeline})",
    "stop_scratch(orders-db,db-1)",
    "fence_by_ssh(orders-db,db-1)",
    "fence_by_ssh(orders-db,db-3)",
    "put_in_place(orders-db,db-1)",
    "start_restored(orders-db,db-1)",
    "claim_address(orders-db,orders-address,db-1)",
    "copy_beside(orders-db,db-2,db-1)",
    "swap_in(orders-db,db-2)",
    "start_standby(orders-db,db-3,db-1)",
    "sweep(orders-db,db-1)",
)


def test_killed_at_every_step_it_goes_on_and_does_everything_once(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    run = recoverd.request("restore", to=mistake["lsn"], into="replace")
    from backup_kit import looked

    parts = len(looked(recoverd, read=False).manifests[-1].parts)
    timeline = asked(backup_lab, "select timeline_id from pg_control_checkpoint()")
    with Guard(backup_lab.layout) as guard:
        for step in STEPS:
            assert killed(run, step.format(parts=parts, to=mistake["lsn"], timeline=timeline)), step
        assert killed(run, STEPS[-1], "after")
        assert recoverd.execute(run).state == "succeeded", recoverd.journal.get_run(run.id).summary
    assert guard.violations == []
    assert asked(backup_lab, COUNT) == "30000 30000"
    assert roles(backup_lab) == ALL_WELL
    done = [name(entry) for entry in recoverd.entries(run, "step.done")]
    assert (done.count("put_in_place"), done.count("recover"), done.count("fence_by_ssh")) == (1, 1, 3)
    assert beside(backup_lab) == [f"{DATA}.recoverd-{run.id}"]


def test_while_the_copy_is_made_a_failover_takes_the_service_and_nothing_is_replaced_after_it(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failovers = copying.make_copy, []

    def make_copy(*arguments: object) -> copying.Copy:
        backup_lab.break_("kill", "db-1")
        failovers.append(recoverd.run("failover"))
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("flows.replace.make_copy", make_copy)
        run = recoverd.run("restore", to=mistake["time"], into="replace")
    assert failovers[0].state == "succeeded", failovers[0].summary
    assert (run.state, recoverd.changed_nothing(run)) == ("waiting", True), run.summary
    late = recoverd.execute(run)
    assert (late.state, recoverd.changed_nothing(run)) == ("refused", True)
    assert "db-2 has become the primary of orders-db since this run began" in late.summary
    assert roles(backup_lab) == {"db-1": "stopped", "db-2": "primary", "db-3": "standby"}


def test_commits_wait_for_standbys_again_once_these_are_copied(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    outside_a_transaction(backup_lab, "alter system set synchronous_standby_names = 'ANY 1 (*)'")
    run = recoverd.run("restore", to=mistake["time"], into="replace")
    try:
        assert run.state == "succeeded", run.summary
        assert asked(backup_lab, "show synchronous_standby_names") == "ANY 1 (*)"
        assert eventually(
            lambda: (
                asked(backup_lab, "select count(*) > 0 from pg_stat_replication where sync_state = 'quorum'") is True
            )
        )
    finally:
        outside_a_transaction(backup_lab, "alter system reset synchronous_standby_names", "select pg_reload_conf()")


def outside_a_transaction(lab: Lab, *statements: str) -> None:
    primary = connect(lab, lab.host("db-1").address)
    with closing(primary), primary.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_where_consent_is_asked_for_nothing_is_begun_before_it(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    consent(recoverd, "ask")
    assert recoverd_command(["plan", "restore", SERVICE, "--to", mistake["time"], "--into", "replace"]) == 0
    plan = capsys.readouterr().out
    for words in (
        "would wait for approval",
        f"{DATA} on db-1 is replaced, and kept as {DATA}.recoverd-plan",
        "stop PostgreSQL on db-3",
        "start the restored data on db-1",
        "would copy db-1 to db-2, db-3",
    ):
        assert words in plan
    run = recoverd.run("restore", to=mistake["time"], into="replace")
    assert (run.state, recoverd.changed_nothing(run)) == ("waiting", True)
    (gate,) = recoverd.journal.list_approvals(run=run.id)
    assert f"{DATA} on db-1 is replaced" in gate.summary
    assert f"{DATA}.recoverd-{run.id}" in gate.summary
    assert approve(recoverd, run).state == "succeeded"
    assert asked(backup_lab, COUNT) == "30000 30000"


@pytest.mark.parametrize("lock", ["postgresql", "backup"])
def test_a_failover_or_another_restore_keeps_it_from_beginning(
    recoverd: Controller, backup_lab: Lab, lock: str
) -> None:
    other: RunRow = recoverd.request("failover")
    lease = acquire(recoverd.journal, f"{lock}:{SERVICE}", other.id)
    try:
        run = recoverd.run("restore", into="replace")
        assert (run.state, recoverd.changed_nothing(run)) == ("refused", True)
        assert f"locked by run {other.id}" in run.summary
    finally:
        lease.release()


def test_wal_goes_on_over_a_replacement_and_leads_to_a_moment_after_it(recoverd: Controller, backup_lab: Lab) -> None:
    with kept(recoverd) as keeper:
        run = recoverd.run("backup")
        assert run.state == "succeeded", run.summary
        let_clocks_differ()
        timeline = asked(backup_lab, "select timeline_id from pg_control_checkpoint()")
        moments = make_mistake(backup_lab)
        end = write_wal(backup_lab, switch=True)
        keeper.until(lambda now: reached(now, end))
        run = recoverd.run("restore", to=moments["time"], into="replace")
        assert run.state == "succeeded", run.summary
        sql(backup_lab, "insert into till values (77777, 'after it')")
        end = write_wal(backup_lab, switch=True)
        keeper.until(lambda now: now.state == "receives" and reached(now, end))
        again = recoverd.run("restore", to="latest", host="backup-1")
        assert again.state == "succeeded", again.summary
        assert ask(backup_lab, again, "select count(*) from till where id in (30000, 77777)") == "2"
        stop_scratch(backup_lab, again)
        older = recoverd.run("restore", to="latest", host="backup-1", timeline=str(timeline))
        assert older.state == "succeeded", older.summary
        assert ask(backup_lab, older, "select to_regclass('till') is null and to_regclass('later') is not null") == "t"
        stop_scratch(backup_lab, older)


def test_without_room_at_the_target_nothing_is_touched(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    filler = "/var/lib/postgresql/filler"
    free = int(backup_lab.run("db-1", "df -Pk /var/lib/postgresql | awk 'NR==2{print $4}'").out)
    backup_lab.run("db-1", f"fallocate -l {free - 150_000}K {filler}")
    try:
        run = recoverd.run("restore", to=mistake["time"], into="replace")
    finally:
        backup_lab.run("db-1", f"rm -f {filler}")
    assert (run.state, recoverd.changed_nothing(run)) == ("refused", True), run.summary
    assert "there is no room: db-1 has" in run.summary
    assert roles(backup_lab) == ALL_WELL


def test_after_an_undo_wal_comes_and_restores_follow_what_was_put_back(recoverd: Controller, backup_lab: Lab) -> None:
    with kept(recoverd) as keeper:
        run = recoverd.run("backup")
        assert run.state == "succeeded", run.summary
        let_clocks_differ()
        moments = make_mistake(backup_lab)
        bring_wal(keeper, backup_lab)
        run = recoverd.run("restore", to=moments["time"], into="replace")
        assert run.state == "succeeded", run.summary
        sql(backup_lab, "insert into till values (77777, 'given up')")
        bring_wal(keeper, backup_lab)
        replaced = timeline_of(backup_lab)
        undo = recoverd.run("undo", run=run.id)
        assert undo.state == "succeeded", undo.summary
        assert timeline_of(backup_lab) == replaced + 1
        assert roles(backup_lab) == ALL_WELL
        assert eventually(lambda: streaming(backup_lab) == 2)
        sql(backup_lab, "insert into later values (88888)")
        moment = str(asked(backup_lab, "select clock_timestamp()::text"))
        bring_wal(keeper, backup_lab)
        for target in ("latest", moment):
            again = recoverd.run("restore", to=target, host="backup-1")
            assert again.state == "succeeded", again.summary
            assert ask(backup_lab, again, "select count(*) from later where id = 88888") == "1"
            assert ask(backup_lab, again, "select to_regclass('till') is null") == "t"
            stop_scratch(backup_lab, again)


def bring_wal(keeper: Kept, lab: Lab) -> None:
    end = write_wal(lab, switch=True)
    keeper.until(lambda now: now.state == "receives" and reached(now, end))


def timeline_of(lab: Lab) -> int:
    return int(str(asked(lab, "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int")))
