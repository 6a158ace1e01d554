"""The receiver of WAL is killed, rebooted and failed over, and no byte of WAL is missing afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from backup_kit import empty_sites
from failover_kit import SERVICE, Controller, controller, only_writer
from lab_kit import connect, eventually, value
from wal_kit import MEMORY, Kept, kept, names_on, reached, write_wal

from lab import Lab
from lab.ledger import Connection
from recoverd.backup.wal import breaks
from tasks.slots import look_at_members

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
SITES = ("own", "second", "offsite")


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd whose sites are empty."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        yield made


@pytest.fixture
def keeper(recoverd: Controller) -> Iterator[Kept]:
    """A keeper by whose hand WAL comes to all sites."""
    with kept(recoverd) as made:
        yield made


def whole(keeper: Kept, lsn: int, *, timeout_s: float = 60) -> None:
    """All sites come to have all WAL up to a position, without a hole."""
    standing = keeper.until(lambda now: reached(now, lsn) and now.state == "receives", timeout_s=timeout_s)
    assert not any(one.holes for one in standing.sites)
    for site in SITES:
        assert not breaks(names_on(keeper, site), 16 << 20)


@pytest.mark.parametrize("victim", ["$(cat {0}/receiver)", "$(ps -o ppid= -p $(cat {0}/receiver))"])
def test_killed_it_goes_on_without_a_hole(keeper: Kept, backup_lab: Lab, victim: str) -> None:
    write_wal(backup_lab, switch=True)
    backup_lab.run("backup-1", f"kill -9 {victim.format(MEMORY)}")
    ends = [write_wal(backup_lab, switch=True) for _ in range(3)]
    whole(keeper, ends[-1])


def test_after_a_reboot_it_goes_on_without_a_hole_from_the_last_segment_that_was_stored(
    keeper: Kept, backup_lab: Lab
) -> None:
    whole(keeper, write_wal(backup_lab, switch=True))
    backup_lab.break_("power-off", "backup-1")
    try:
        ends = [write_wal(backup_lab, switch=True) for _ in range(3)]
        standing = keeper.turn()
        assert (standing.state, [one.site for one in standing.sites if not one.reached]) == ("down", ["second"])
    finally:
        backup_lab.mend("power-off", "backup-1")
    assert not backup_lab.run("backup-1", f"ls {MEMORY}", check=False).ok, "what was in memory is lost"
    whole(keeper, ends[-1])


def test_it_follows_a_failover_to_the_new_timeline_without_a_hole(
    keeper: Kept, recoverd: Controller, backup_lab: Lab
) -> None:
    whole(keeper, write_wal(backup_lab, switch=True))
    old = timelines(keeper, "second")[-1]  # an earlier test may have left the lab on any
    backup_lab.break_("kill", "db-1")
    assert recoverd.run("failover").state == "succeeded"
    ends = [write_wal(backup_lab, only_writer(backup_lab), switch=True) for _ in range(2)]
    whole(keeper, ends[-1])
    for site in SITES:
        *_, before, new = timelines(keeper, site)
        assert before == old < new
        assert f"{new}/{new}.history.zst.age" in keeper.archive.shelves[site].files
    keeper.turn()
    held = {one.host: one for one in look_at_members(SERVICE) if one.host != "db-1"}
    assert all(one.has_slot and one.held_bytes < 64 << 20 for one in held.values()), held


def test_where_the_new_primary_parted_before_what_had_come_it_goes_on_from_there(
    keeper: Kept, recoverd: Controller, backup_lab: Lab
) -> None:
    whole(keeper, write_wal(backup_lab, switch=True))
    for host in ("db-2", "db-3"):  # they do not get what the receiver gets
        backup_lab.break_("partition", host, peers=("db-1",))
    lost = [write_wal(backup_lab, switch=True) for _ in range(2)][-1]
    keeper.until(lambda now: reached(now, lost, "second"))
    old = timelines(keeper, "second")[-1]
    backup_lab.break_("kill", "db-1")
    assert recoverd.run("failover").state == "succeeded"
    for host in ("db-2", "db-3"):
        backup_lab.mend("partition", host)
    writer = only_writer(backup_lab)
    ends = [write_wal(backup_lab, writer, switch=True) for _ in range(2)]
    keeper.until(lambda now: now.state == "receives" and reached(now, ends[-1]))
    for site in SITES:
        assert timelines(keeper, site)[-1] > old
        assert not breaks(names_on(keeper, site), 16 << 20)


def test_a_slot_that_holds_back_too_much_is_dropped_and_said(recoverd: Controller, backup_lab: Lab) -> None:
    rules(recoverd, most_held_bytes=64 << 20)
    with kept(recoverd) as keeper:
        backup_lab.run("backup-1", f"kill -9 $(ps -o ppid= -p $(cat {MEMORY}/receiver))")
        for _ in range(6):
            write_wal(backup_lab, switch=True)
        standing = keeper.turn()
        assert any("held back" in words and words.startswith("db-1") for words in standing.slots), standing.slots
        keeper.until(lambda now: not now.slots)
        assert all(one.has_slot for one in look_at_members(SERVICE))


def test_no_slot_is_made_where_nothing_bounds_it(recoverd: Controller, backup_lab: Lab) -> None:
    with closing(connect(backup_lab, backup_lab.host("db-1").address)) as primary:
        do(primary, "alter system set max_slot_wal_keep_size = -1", "select pg_reload_conf()")
        try:
            with kept(recoverd) as keeper:
                standing = keeper.turn()
                assert any("max_slot_wal_keep_size" in words for words in standing.slots)
                assert not next(one for one in look_at_members(SERVICE) if one.host == "db-1").has_slot
        finally:
            do(primary, "alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")


def test_it_is_no_synchronous_standby_even_where_everybody_may_be_one(keeper: Kept, backup_lab: Lab) -> None:
    with closing(connect(backup_lab, backup_lab.host("db-1").address)) as primary:
        do(primary, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
        try:
            end = write_wal(backup_lab)
            keeper.until(lambda now: reached(now, end))
            state = "select string_agg(distinct sync_state, ',') from pg_stat_replication where application_name"
            assert eventually(lambda: value(primary, f"{state} <> 'recoverd_wal'") == "potential,sync")
            assert value(primary, f"{state} = 'recoverd_wal'") == "async"
        finally:
            do(primary, "alter system reset synchronous_standby_names", "select pg_reload_conf()")


def test_wal_that_the_primary_has_not_kept_is_said_to_be_a_hole(keeper: Kept, backup_lab: Lab) -> None:
    whole(keeper, write_wal(backup_lab, switch=True))
    backup_lab.run("backup-1", f"kill -9 $(ps -o ppid= -p $(cat {MEMORY}/receiver))")
    with closing(connect(backup_lab, backup_lab.host("db-1").address)) as primary:
        value(primary, "select pg_drop_replication_slot('recoverd_wal')")
        first = names_on(keeper, "second")
        for _ in range(12):
            write_wal(backup_lab, switch=True)
        do(primary, "checkpoint", "checkpoint")
        oldest = value(primary, "select min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'")
    assert str(oldest) > max(first), "the primary has let go what would come next"
    end = write_wal(backup_lab, switch=True)
    standing = keeper.until(lambda now: now.state == "receives" and reached(now, end))
    assert [len(one.holes) for one in standing.sites] == [1, 1, 1]


def timelines(keeper: Kept, site: str) -> list[str]:
    """The timelines of which a site has whole segments, as they are named, in order."""
    return sorted({name[:8] for name in names_on(keeper, site)})


def rules(recoverd: Controller, **wanted: object) -> None:
    """Rules of continuous WAL in the inventory of this controller."""
    path = recoverd.inventory / "backups.yaml"
    lines = ", ".join(f"{name}: {value}" for name, value in wanted.items())
    path.write_text(path.read_text().replace("    restore:", f"    wal: {{{lines}}}\n    restore:"))


def do(connection: Connection, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
