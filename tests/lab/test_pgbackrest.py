"""The backups of a service that pgBackRest makes: a restore comes from whichever repository can, and never ends early in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from backup_kit import FINGERPRINT, killed, stop_scratch
from conftest import healthy
from failover_kit import SERVICE, Controller, controller
from lab_kit import connect, lab_name, value
from pgbackrest_kit import (
    DRILL,
    PLACES,
    PRIMARY,
    SITES,
    STANZA,
    add_row,
    archive_now,
    describe,
    file_of,
    flip_in,
    pgbackrest,
    set_up,
)

from flows.engine import engine_of
from gateway.cli.main import run as recoverd_command
from lab import Lab, up
from recoverd.backup.compare import Health
from recoverd.drills import past_drills
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow
from recoverd.raised import open_incidents
from tasks.holdings import Holdings

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(400)]
SCRATCH = "/var/lib/recoverd/restore"


@pytest.fixture
def lab(_labs: dict[str, Lab]) -> Lab:
    """A lab of its own: its primary archives, and it has one backup in each repository."""

    def build(name: str) -> Lab:
        made = up(name, backups=True)
        try:
            set_up(made)
        except BaseException:  # a lab that is half set up must not be taken for one that is
            Lab.remove(name)
            raise
        return made

    return healthy(_labs, lab_name("q"), build)


@pytest.fixture
def recoverd(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    for host in (PRIMARY, DRILL):
        lab.run(host, "rm -rf /var/lib/recoverd/*")
    with controller(lab, tmp_path / "home") as made:
        describe(made)
        yield made
        for row in made.journal.list_runs(procedure="restore"):
            stop_scratch(lab, row, DRILL)


def ask(lab: Lab, run: RunRow, sql: str) -> str:
    """What the scratch server of a restore answers."""
    socket = f"{SCRATCH}/{SERVICE}/{run.id}/server"
    argv = ["psql", "-X", "-A", "-t", "-h", socket, "-p", "54329", "-d", "orders", "-c", sql]
    return lab.run(DRILL, argv, user="postgres").out.strip()


def marks(lab: Lab, run: RunRow) -> list[str]:
    """The marks in a restored copy, in the order in which they were made."""
    return ask(lab, run, "select words from marks order by at").split()


def expected(lab: Lab) -> str:
    with connect(lab, lab.host(PRIMARY).address, database="orders") as orders:
        return str(value(orders, FINGERPRINT))


def looked(recoverd: Controller, *, read: bool = False) -> Holdings:
    with rehearsal("sites", SERVICE, load(recoverd.inventory)):
        return engine_of(SERVICE).survey(SERVICE, read=read)


def bad(recoverd: Controller, run: RunRow) -> dict[str, list[str]]:
    """What the run wrote down as damaged, by site."""
    found: dict[str, list[str]] = {}
    for entry in recoverd.entries(run, "site.bad"):
        for site, names in entry.body["bad"].items():
            found.setdefault(site, []).extend(names)
    return found


def test_a_backup_goes_to_three_repositories_and_is_read_back(recoverd: Controller, lab: Lab) -> None:
    before = {site.site: {one.set for one in site.sets} for site in looked(recoverd).sites}
    run = recoverd.run("backup")
    assert run.state == "succeeded", run.summary
    assert "the backup is complete" in run.summary
    for site in looked(recoverd, read=True).sites:
        (made,) = [one for one in site.sets if one.set not in before[site.site]]
        assert made.health is Health.GOOD, (site.site, made)
    assert lab.run(PRIMARY, "find /var/lib/recoverd -type f ! -name '*.lock' ! -name '*.epoch'").out == ""


@pytest.mark.parametrize("site", SITES)
def test_from_each_repository_alone_every_row_comes_back(recoverd: Controller, lab: Lab, site: str) -> None:
    add_row(lab, site)
    archive_now(lab)
    run = recoverd.run("restore", site=site)
    assert run.state == "succeeded", run.summary
    assert ask(lab, run, FINGERPRINT) == expected(lab)
    assert site in marks(lab, run)
    assert ask(lab, run, "show archive_mode") == "off"
    assert ask(lab, run, "show listen_addresses") == ""


@contextmanager
def refused(lab: Lab, host: str) -> Iterator[None]:
    """S3 on a host refuses connections, as a server that is not started does."""
    rule = "add rule inet away in tcp dport 8333 reject with tcp reset"
    lab.run(host, f"nft 'add table inet away; add chain inet away in {{ type filter hook input priority 0; }}; {rule}'")
    try:
        yield
    finally:
        lab.run(host, "nft delete table inet away")


@contextmanager
def spoilt(lab: Lab, site: str, path: str, *, gone: bool = False) -> Iterator[None]:
    """A file of a repository is damaged, or not there, for as long as the block lasts."""
    host = PLACES[site][0]
    lab.run(host, f"cp -a {path} {path}.kept")
    flip_in(lab, site, path)
    if gone:
        lab.run(host, f"rm {path}")
    try:
        yield
    finally:
        lab.run(host, f"mv {path}.kept {path}")


@pytest.mark.parametrize("how", ["refused", "black hole", "frozen"])
def test_an_object_store_that_is_away_costs_seconds(recoverd: Controller, lab: Lab, how: str) -> None:
    with ExitStack() as stack:
        if how == "refused":
            stack.enter_context(refused(lab, "s3-1"))
        else:
            kind = "partition" if how == "black hole" else "freeze"
            lab.break_(kind, "s3-1")
            stack.callback(lab.mend, kind, "s3-1")
        began = time.monotonic()
        seen = looked(recoverd)
        assert time.monotonic() - began < 20
        assert [site.reached for site in seen.sites] == [True, True, False]
        run = recoverd.run("restore")
        assert run.state == "succeeded", run.summary
        assert time.monotonic() - began < 90
        assert "offsite is left out" in run.summary
        assert ask(lab, run, FINGERPRINT) == expected(lab)


def test_with_the_primary_off_the_other_two_repositories_give_everything(recoverd: Controller, lab: Lab) -> None:
    add_row(lab, "before-the-fire")
    archive_now(lab)
    wanted = expected(lab)
    lab.break_("power-off", PRIMARY)
    try:
        run = recoverd.run("restore")
        assert run.state == "succeeded", run.summary
        assert ask(lab, run, FINGERPRINT) == wanted
        assert "before-the-fire" in marks(lab, run)
        assert "own is left out" in run.summary
    finally:
        lab.mend("power-off", PRIMARY)


def test_what_is_damaged_in_one_repository_is_taken_from_another_and_told(recoverd: Controller, lab: Lab) -> None:
    path = file_of(lab, "second", f"*/backup/{STANZA}/*F/pg_data/global/pg_control.zst")
    with spoilt(lab, "second", path):
        run = recoverd.run("restore", site="own,second")
        (broken,) = [one for one in looked(recoverd, read=True).site("second").sets if one.health is Health.DAMAGED]
    assert run.state == "succeeded", run.summary
    assert ask(lab, run, FINGERPRINT) == expected(lab)
    assert bad(recoverd, run) == {"second": [broken.set]}
    assert "of own was recovered to latest" in run.summary


def test_a_hole_that_pgbackrest_does_not_see_is_found_and_filled_from_another_repository(
    recoverd: Controller, lab: Lab
) -> None:
    missing = archive_now(lab)
    add_row(lab, "after-the-hole")
    archive_now(lab)
    path = file_of(lab, "own", f"*/archive/{STANZA}/*/{missing}-*")
    with spoilt(lab, "own", path, gone=True):
        said = pgbackrest(lab, PRIMARY, "--repo=1", "verify", "--output=text", "--verbose")
        assert "status: ok" in said
        own = looked(recoverd, read=True).site("own")
        assert {one.health for one in own.sets} == {Health.INCOMPLETE}
        assert all(f"WAL is missing: {missing}" in one.summary for one in own.sets)
        assert recoverd_command(["sites", SERVICE]) == 1
        alone = recoverd.run("restore", site="own")
        assert alone.state == "refused"
        assert missing in alone.summary
        assert recoverd.changed_nothing(alone)
        run = recoverd.run("restore", site="own,second")
    assert run.state == "succeeded", run.summary
    assert marks(lab, run)[-1] == "after-the-hole"


def test_wal_that_was_changed_is_never_replayed(recoverd: Controller, lab: Lab) -> None:
    add_row(lab, "in-the-segment")
    segment = archive_now(lab)
    path = file_of(lab, "own", f"*/archive/{STANZA}/*/{segment}-*")
    with spoilt(lab, "own", path):
        alone = recoverd.run("restore", site="own")
        assert alone.state != "succeeded"
        assert segment in alone.summary
        run = recoverd.run("restore", site="own,second")
    assert run.state == "succeeded", run.summary
    assert marks(lab, run)[-1] == "in-the-segment"
    assert bad(recoverd, run) == {"own": [segment]}


def test_a_moment_is_met_and_one_that_no_wal_leads_to_is_refused(recoverd: Controller, lab: Lab) -> None:
    add_row(lab, "kept")
    with connect(lab, lab.host(PRIMARY).address) as session:
        moment = str(value(session, "select clock_timestamp()"))
    add_row(lab, "too-late")
    archive_now(lab)
    run = recoverd.run("restore", to=moment)
    assert run.state == "succeeded", run.summary
    assert marks(lab, run)[-1] == "kept"
    for never in ("2020-01-01 00:00:00Z", "2999-01-01 00:00:00Z"):
        run = recoverd.run("restore", to=never)
        assert run.state == "refused", run.summary
        assert recoverd.changed_nothing(run)


def test_a_point_that_is_not_in_the_wal_ends_in_an_error_and_not_in_fewer_rows(recoverd: Controller, lab: Lab) -> None:
    run = recoverd.run("restore", to="name:nobody-made-it", site="own")
    assert run.state != "succeeded"
    assert "ends before name:nobody-made-it" in run.summary


def test_killed_in_the_middle_it_goes_on_with_what_it_has(recoverd: Controller, lab: Lab) -> None:
    run = recoverd.request("restore", site="own")
    newest = looked(recoverd).site("own").sets[-1].set
    steps = (f"bring_set(orders-db,{DRILL},own,{newest})", f"recover(orders-db,{DRILL},latest,1,exact)")
    for step in steps:
        assert killed(run, step), step
    assert recoverd.execute(run).state == "succeeded"
    assert ask(lab, run, FINGERPRINT) == expected(lab)
    begun = lab.run(DRILL, f"cat {SCRATCH}/{SERVICE}/{run.id}/jobs/restore-own-{newest}/begun").out.split()
    assert len(begun) == 1


def test_a_restore_is_taken_back_to_the_last_trace(recoverd: Controller, lab: Lab) -> None:
    run = recoverd.run("restore", site="second")
    assert run.state == "succeeded", run.summary
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert lab.run(DRILL, f"ls -A {SCRATCH}/{SERVICE}").out.strip() == ""


def test_with_one_repository_away_pgbackrest_confirms_no_wal_and_that_is_said_and_with_two_it_is_refused(
    recoverd: Controller, lab: Lab
) -> None:
    """Its archiver gives up on all repositories while one refuses; a backup whose WAL is not confirmed is none."""
    with refused(lab, "s3-1"):
        run = recoverd.run("backup")
        assert run.state == "failed", run.summary
        assert "was not archived before" in run.summary
        lab.break_("partition", "backup-1")
        try:
            run = recoverd.run("backup")
        finally:
            lab.mend("partition", "backup-1")
        assert run.state == "refused"
        assert "1 sites can be reached, and a backup needs 2" in run.summary
        assert recoverd.changed_nothing(run)


def test_a_plan_says_what_would_be_done_and_changes_nothing(recoverd: Controller, lab: Lab) -> None:
    assert recoverd_command(["plan", "restore", SERVICE]) == 0
    assert recoverd_command(["plan", "backup", SERVICE]) == 0
    assert lab.run(DRILL, "ls -A /var/lib/recoverd").out.strip() == ""


def test_a_drill_restores_from_the_repository_whose_turn_it_is_and_leaves_nothing(
    recoverd: Controller, lab: Lab
) -> None:
    path = file_of(lab, "own", f"*/backup/{STANZA}/*F/pg_data/global/pg_control.zst")
    with spoilt(lab, "own", path):
        failed = recoverd.run("drill-restore", site="own", set=path.split("/")[-4])
    assert failed.state == "failed", failed.summary
    run = recoverd.run("drill-restore")
    assert run.state == "succeeded", run.summary
    bad_one, good = past_drills(recoverd.journal, SERVICE)
    assert (bad_one.passed, bad_one.bad) == (False, {"own": [path.split("/")[-4]]})
    assert (good.passed, good.turn, good.sites, good.point) == (True, "second", ("second",), "latest")
    assert good.rows, "every table was read"
    assert {"fetch", "recover", "prove"} <= set(good.seconds)
    assert recoverd_command(["drills", SERVICE]) == 0
    assert open_incidents(recoverd.journal, SERVICE) == ()
    assert lab.run(DRILL, f"ls -A {SCRATCH}/{SERVICE}").out.strip() == ""
