"""A restore to a moment: WAL from the sites, without a gap, to the very transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import SITES, archive_wal, begin_archiving, destroy, empty_sites, flip, looked, lose, stop_scratch
from failover_kit import SERVICE, Controller, controller
from lab_kit import connect, value
from test_restore import ask, by_hand, restored_by_hand

from gateway.cli.main import run as recoverd_command
from lab import Lab
from recoverd.backup.archive import Index
from recoverd.backup.keys import wal_key
from tasks import archived

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
COUNT = "select count(*) || ' ' || coalesce(max(id), 0) from till"


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup, and WAL that is kept from before it."""
    empty_sites(backup_lab)
    begin_archiving(backup_lab)
    sql(backup_lab, "drop table if exists till, later, more, till_restored")
    sql(backup_lab, "create table till (id int primary key, words text)")
    sql(backup_lab, "alter table till owner to app; grant select on till to replicator")
    with controller(backup_lab, tmp_path / "home") as made:
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        let_clocks_differ()
        yield made
        for row in made.journal.list_runs(procedure="restore"):
            stop_scratch(backup_lab, row)


def let_clocks_differ() -> None:
    """Let the time pass that must be between the end of a set and a moment: clocks differ."""
    time.sleep(2.1)


def sql(lab: Lab, statements: str) -> None:
    with connect(lab, lab.layout.virtual_address, database="orders") as orders, orders.cursor() as cursor:
        cursor.execute(statements)


def now(lab: Lab) -> tuple[str, str]:
    """The moment and the position that the primary is at."""
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        return str(
            value(orders, "select clock_timestamp()::text")
        ), f"lsn:{value(orders, 'select pg_current_wal_lsn()')}"


@pytest.fixture
def mistake(recoverd: Controller, backup_lab: Lab) -> dict[str, str]:
    return make_mistake(backup_lab)


def make_mistake(lab: Lab) -> dict[str, str]:
    """Rows, then a table that is dropped by mistake, then more work; the moment and the position before the mistake."""
    sql(lab, "insert into till select i, repeat(md5(i::text), 30) from generate_series(1, 20000) i")
    sql(lab, "select pg_switch_wal()")
    sql(lab, "insert into till select i, repeat(md5(i::text), 30) from generate_series(20001, 30000) i")
    moment, position = now(lab)
    sql(lab, "drop table till")
    sql(lab, "create table later (id int)")
    return {"time": moment, "lsn": position}


def there(lab: Lab, table: str) -> bool:
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        return bool(value(orders, f"select to_regclass('{table}') is not null"))


def segments(page: Index) -> list[str]:
    return [one.name for one in page.entries if not one.partial_end]


def test_a_dropped_table_is_there_again_as_of_the_moment_before(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    archive_wal(backup_lab)
    for kind, to in mistake.items():
        run = recoverd.run("restore", to=to)
        assert run.state == "succeeded", (kind, run.summary)
        assert ask(backup_lab, run, COUNT) == "30000 30000", kind
        stop_scratch(backup_lab, run)
    latest = recoverd.run("restore", to="latest")
    assert latest.state == "succeeded", latest.summary
    assert ask(backup_lab, latest, "select to_regclass('till') is null and to_regclass('later') is not null") == "t"
    assert "its last commit of 20" in latest.summary


def test_a_hole_in_the_wal_is_named_and_nothing_is_touched(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    page = archive_wal(backup_lab)
    gone = segments(page)[-1]
    for site in SITES:
        destroy(backup_lab, site, wal_key(SERVICE, gone))
    run = recoverd.run("restore", to="latest")
    assert (run.state, recoverd.changed_nothing(run)) == ("refused", True)
    assert f"{gone} on no site that is read, WAL goes on with" in run.summary
    assert "What can be reached: " in run.summary


def test_wal_that_is_damaged_on_one_site_is_taken_from_another(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    page = archive_wal(backup_lab)
    first, second = segments(page)[-2:]
    flip(backup_lab, "own", wal_key(SERVICE, first))
    flip(backup_lab, "second", wal_key(SERVICE, first))
    lose(backup_lab, "offsite", wal_key(SERVICE, second))
    run = recoverd.run("restore", to=mistake["time"])
    assert run.state == "succeeded", run.summary
    assert ask(backup_lab, run, COUNT) == "30000 30000"


def test_a_moment_before_the_first_backup_or_after_the_last_wal_is_refused_with_what_there_is(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archived, "ARRIVAL_LIMIT_S", 0.5)  # nothing is on its way
    archive_wal(backup_lab)
    early = recoverd.run("restore", to="2020-01-01 00:00:00Z")
    assert (early.state, recoverd.changed_nothing(early)) == ("refused", True)
    assert "its first backup was finished at" in early.summary
    time.sleep(1.1)
    late = recoverd.run("restore", to=now(backup_lab)[0])
    assert (late.state, recoverd.changed_nothing(late)) == ("refused", True)
    assert "WAL ends at" in late.summary
    future = recoverd.run("restore", to="2120-01-01 00:00:00Z")
    assert (future.state, recoverd.changed_nothing(future)) == ("refused", True)
    assert "in the future" in future.summary


def test_the_end_of_the_wal_may_be_unsigned_and_that_is_said(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    archive_wal(backup_lab)
    sql(backup_lab, "insert into later values (7)")
    archive_wal(backup_lab, seq=2, sites=("second",), sign=False)
    run = recoverd.run("restore", to="latest")
    assert run.state == "succeeded", run.summary
    assert ask(backup_lab, run, "select count(*) from later where id = 7") == "1"
    assert "nobody has signed for its last WAL" in run.summary


def test_a_name_or_a_transaction_is_a_target_and_one_that_never_was_is_an_error(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    sql(backup_lab, "select pg_create_restore_point('before-more')")
    sql(backup_lab, "create table more (id int)")
    archive_wal(backup_lab)
    run = recoverd.run("restore", to="name:before-more")
    assert run.state == "succeeded", run.summary
    assert ask(backup_lab, run, "select to_regclass('more') is null") == "t"
    sql(backup_lab, "drop table more")
    stop_scratch(backup_lab, run)
    never = recoverd.run("restore", to="name:never-made")
    assert never.state == "failed"
    assert "recovery ended before configured recovery target was reached" in never.summary


def test_the_plan_says_what_there_is_and_where(recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]) -> None:
    archive_wal(backup_lab)
    assert recoverd_command(["plan", "restore", SERVICE, "--to", mistake["time"]]) == 0
    assert recoverd_command(["plan", "restore", SERVICE, "--to", "2026-01-01 00:00:00"]) == 2


def test_one_table_comes_back_under_a_new_name_and_no_other_is_touched(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    archive_wal(backup_lab)
    run = recoverd.run("restore", to=mistake["lsn"], table="till")
    assert run.state == "succeeded", run.summary
    with connect(backup_lab, backup_lab.layout.virtual_address, database="orders") as orders:
        assert value(orders, COUNT.replace("till", "till_restored")) == "30000 30000"
        owner = "select tableowner from pg_tables where tablename = 'till_restored'"
        assert value(orders, owner) == "app"
        assert value(orders, "select has_table_privilege('replicator', 'till_restored', 'select')")
        assert value(orders, "select words from till_restored where id = 7") == value(
            orders, "select repeat(md5('7'), 30)"
        )
    assert not there(backup_lab, "till")
    stop_scratch(backup_lab, run)
    again = recoverd.run("restore", to=mistake["lsn"], table="public.till", **{"as": "later"})
    assert (again.state, recoverd.changed_nothing(again)) == ("refused", True)
    assert "later is in orders of orders-db already, and is not overwritten" in again.summary
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert not there(backup_lab, "till_restored")


def test_by_hand_to_a_moment_every_row_of_then_comes_back(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    archive_wal(backup_lab)
    manifest = looked(recoverd, read=False).manifests[-1]
    with restored_by_hand(recoverd, backup_lab, manifest, "".join(by_hand()), mistake["time"]) as socket:
        argv = ["psql", "-X", "-A", "-t", "-h", socket, "-d", "orders", "-c", COUNT]
        assert backup_lab.run("backup-1", argv, user="postgres").out.strip() == "30000 30000"
