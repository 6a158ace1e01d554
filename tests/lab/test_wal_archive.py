"""WAL comes to the second site in seconds and to the others within a minute, signed, and nobody reads it there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from backup_kit import PATHS, empty_sites, held, looked
from failover_kit import SERVICE, Controller, controller
from lab_kit import connect, eventually
from wal_kit import Kept, kept, names_on, reached, write_wal

from flows.standing import troubles
from flows.stocking import Archive
from gateway.cli.main import run as recoverd_command
from gateway.keeper import keeping
from lab import Lab
from recoverd.backup.wal import Segment
from recoverd.errors import Busy
from recoverd.inventory import load
from tasks.receiving import look_at_receiver

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


def grown(keeper: Kept) -> int:
    growing = look_at_receiver(SERVICE, keeper.archive.cluster).growing
    return growing.partial_end if growing else 0


def test_wal_is_on_the_second_site_in_seconds_and_on_the_others_after_a_turn(keeper: Kept, backup_lab: Lab) -> None:
    end = write_wal(backup_lab, words="plainmarker")
    assert eventually(lambda: grown(keeper) >= end - 64, timeout_s=8), "the host does it by itself"
    keeper.until(lambda now: reached(now, end), timeout_s=30)
    end = write_wal(backup_lab, words="plainmarker", switch=True)
    write_wal(backup_lab, words="plainmarker")
    keeper.until(lambda now: reached(now, end), timeout_s=30)
    keeper.turn()
    entries = [entry for page in keeper.archive.signed.values() for entry in page.entries]
    assert [entry.name for entry in entries if not entry.partial_end]
    for entry in entries:
        copies = {held(backup_lab, site, entry.key(SERVICE)) for site in SITES}
        assert len(copies) == 1, entry
        assert copies.pop().startswith(b"age-encryption.org/v1")
    for host, path in PATHS.values():
        assert backup_lab.run(host, f"grep -rl plainmarker {path} /var/lib/recoverd", check=False).out == ""
    password = backup_lab.layout.secret("replicator").read_text().strip()
    assert password not in backup_lab.run("backup-1", "ps ax -o args; grep -rh . /var/lib/recoverd").out
    assert recoverd_command(["wal", SERVICE]) == 0


def test_only_one_recoverd_keeps_at_a_time(keeper: Kept, recoverd: Controller) -> None:
    with pytest.raises(Busy), keeping(SERVICE, load(recoverd.inventory), recoverd.journal):
        pass
    assert recoverd_command(["wal", SERVICE, "--once"]) == 6


def test_a_new_keeper_goes_on_where_the_last_one_was(keeper: Kept, backup_lab: Lab) -> None:
    end = write_wal(backup_lab, switch=True)
    keeper.until(lambda now: reached(now, end))
    before = keeper.archive.signed
    keeper.archive = Archive(SERVICE)
    end = write_wal(backup_lab, switch=True)
    keeper.until(lambda now: reached(now, end))
    for hour, page in before.items():
        now = {entry.file: entry for entry in keeper.archive.signed[hour].entries}
        assert all(now[entry.file] == entry for entry in page.entries if not entry.partial_end)


def test_a_site_that_was_down_catches_up(keeper: Kept, backup_lab: Lab) -> None:
    backup_lab.break_("power-off", "s3-1")
    try:
        ends = [write_wal(backup_lab, switch=True) for _ in range(3)]
        standing = keeper.until(lambda now: reached(now, ends[-1], "own", "second"), timeout_s=90)
        assert [one.site for one in standing.sites if not one.reached] == ["offsite"]
        assert "site offsite" in troubles(standing, max_lag_s=60)
    finally:
        backup_lab.mend("power-off", "s3-1")
    standing = keeper.until(lambda now: reached(now, ends[-1]) and not troubles(now, 60))
    assert names_on(keeper, "offsite") == names_on(keeper, "second")


def test_a_full_disk_is_named_and_nothing_is_lost_when_it_has_room_again(keeper: Kept, backup_lab: Lab) -> None:
    backup_lab.break_("full-disk", "backup-1")
    try:
        ends = [write_wal(backup_lab, switch=True, random=True) for _ in range(2)]
        standing = keeper.until(lambda now: now.state == "waits" and bool(now.problem))
        assert "no space left" in standing.problem.lower(), standing
        assert not reached(standing, ends[-1], "second")
    finally:
        backup_lab.mend("full-disk", "backup-1")
    standing = keeper.until(lambda now: reached(now, ends[-1]) and not troubles(now, 60))
    assert not any(one.holes for one in standing.sites)


def test_a_forged_index_is_not_believed_and_is_said(keeper: Kept, backup_lab: Lab) -> None:
    end = write_wal(backup_lab, switch=True)
    keeper.until(lambda now: reached(now, end))
    keeper.turn()
    host, path = PATHS["second"]
    backup_lab.run(host, f'sed -i \'s/"size": /"size": 1/\' {path}/{SERVICE}/wal/index/*.json')
    signed = keeper.archive.signed
    keeper.archive = Archive(SERVICE)
    standing = keeper.turn()
    assert any("does not fit" in words for one in standing.sites for words in one.forged if one.site == "second")
    for hour, page in signed.items():
        now = {entry.file: entry for entry in keeper.archive.signed[hour].entries}
        assert all(now[entry.file] == entry for entry in page.entries if not entry.partial_end)
    keeper.archive = Archive(SERVICE)
    keeper.until(lambda now: not any(one.forged for one in now.sites))


def test_wal_that_no_kept_set_needs_goes(keeper: Kept, recoverd: Controller, backup_lab: Lab) -> None:
    end = write_wal(backup_lab, switch=True)
    with closing(connect(backup_lab, backup_lab.host("db-1").address)) as primary, primary.cursor() as cursor:
        cursor.execute("checkpoint")  # a backup of a standby begins at its last restart point
    keeper.until(lambda now: reached(now, end))
    old = min(names_on(keeper, "second"))
    assert recoverd.run("backup").state == "succeeded"
    keeper.archive.retained_at = 0
    end = write_wal(backup_lab, switch=True)
    keeper.until(lambda now: reached(now, end))
    kept_set = looked(recoverd, read=False).manifests[-1]
    needed = Segment.at(kept_set.start_lsn, kept_set.timeline, 16 << 20).name
    for site in SITES:
        keeper.archive = Archive(SERVICE)
        keeper.until(lambda now: all(one.reached and one.newest for one in now.sites))
        first = min(names_on(keeper, site))
        assert old < first == needed, site
