"""What a restore by pgBackRest does with repositories that are damaged, on a real PostgreSQL with real repositories."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pgbackrest_here import SERVICE, SITES, STANZA, Here, hosts_are_here, two_repositories

from gateway.cli.main import run as recoverd_command
from recoverd.backup.compare import Health
from recoverd.errors import GaveWay
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import Journal, RunRow
from tasks.holdings import Holdings

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Here]:
    with two_repositories() as made:
        yield made


@pytest.fixture
def here(cluster: Here, tmp_path: Path) -> Iterator[Here]:
    shutil.rmtree(cluster.state, ignore_errors=True)  # its epochs are those of another test's journal
    with hosts_are_here(cluster, tmp_path / "home"):
        yield cluster
        cluster.stop_scratch()
        cluster.away.clear()


@contextmanager
def spoilt(path: Path, *, gone: bool = False) -> Iterator[None]:
    """A file of a repository is damaged, or not there, for as long as the block lasts."""
    kept = path.with_name(f"{path.name}.kept")
    content, facts = path.read_bytes(), path.stat()
    kept.write_bytes(content)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :])
    if gone:
        path.unlink()
    try:
        yield
    finally:
        kept.replace(path)
        os.chown(path, facts.st_uid, facts.st_gid)


def looked(here: Here, *, read: bool = False) -> Holdings:
    from flows.engine import engine_of

    with rehearsal("sites", SERVICE, load(here.inventory)):
        return engine_of(SERVICE).survey(SERVICE, read=read)


def bad(row: RunRow) -> dict[str, list[str]]:
    journal = Journal.open()
    try:
        entries = list(journal.entries(run=row.id, kinds=("site.bad",)))
    finally:
        journal.close()
    return {site: names for entry in entries for site, names in entry.body["bad"].items()}


ROWS = "select count(*) || '/' || sum(hashtext(words)) from goods"


@pytest.mark.parametrize("site", sorted(SITES))
def test_from_each_repository_alone_every_row_comes_back(here: Here, site: str) -> None:
    here.sql("insert into goods values (0, clock_timestamp()::text)")
    here.archive_now()
    run = here.run("restore", site=site)
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == here.sql(ROWS)
    assert here.ask(run, "show archive_mode") == "off"


def test_a_tablespace_is_restored_beside_what_is_there_too(here: Here) -> None:
    run = here.run("restore", site="own")
    assert run.state == "succeeded", run.summary
    assert here.ask(run, "select words from elsewhere") == "in a tablespace"
    links = [link.resolve() for link in (here.work(run) / "data" / "pg_tblspc").iterdir()]
    assert [link.is_relative_to(here.work(run) / "tablespaces") for link in links] == [True]
    assert here.sql("select words from elsewhere") == "in a tablespace"


def test_a_backup_is_taken_to_each_and_read_back(here: Here) -> None:
    before = {site.site: len(site.sets) for site in looked(here).sites}
    run = here.run("backup")
    assert run.state == "succeeded", run.summary
    seen = looked(here, read=True)
    assert {site.site: len(site.sets) for site in seen.sites} == {name: count + 1 for name, count in before.items()}
    assert all(one.health is Health.GOOD for site in seen.sites for one in site.sets), seen.summary
    assert recoverd_command(["sites", "verify", SERVICE]) == 0
    assert not list((here.state / "pgbackrest" / SERVICE).glob("*/lock"))


def test_what_is_damaged_in_one_repository_is_taken_from_another_and_told(here: Here) -> None:
    newest = looked(here).site("second").sets[-1].set
    with spoilt(here.find("second", f"backup/{STANZA}/{newest}/pg_data/global/pg_filenode.map*")):
        seen = looked(here, read=True)
        assert seen.site("second").sets[-1].health is Health.DAMAGED
        run = here.run("restore")
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == here.sql(ROWS)
    assert bad(run) == {"second": [newest]}


def test_a_hole_that_pgbackrest_does_not_see_is_found_and_filled_from_another(here: Here) -> None:
    here.sql("insert into goods values (0, 'in the hole')")
    missing = here.archive_now()
    here.sql("insert into goods values (0, 'after the hole')")
    here.archive_now()
    with spoilt(here.find("own", f"{missing}-*"), gone=True):
        said = here.pgbackrest("--repo=1", "verify", "--output=text", "--verbose")
        assert "status: ok" in said
        own = looked(here, read=True).site("own")
        assert {one.health for one in own.sets} == {Health.INCOMPLETE}
        alone = here.run("restore", site="own")
        assert alone.state == "refused"
        assert missing in alone.summary
        run = here.run("restore")
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == here.sql(ROWS)


def test_wal_that_was_changed_is_not_replayed(here: Here) -> None:
    here.sql("insert into goods values (0, 'in the segment')")
    segment = here.archive_now()
    with spoilt(here.find("own", f"{segment}-*")):
        alone = here.run("restore", site="own")
        assert alone.state != "succeeded"
        assert segment in alone.summary
        run = here.run("restore")
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == here.sql(ROWS)
    assert bad(run) == {"own": [segment]}


def test_a_moment_is_met_and_one_that_no_wal_leads_to_is_refused(here: Here) -> None:
    before = here.sql(ROWS)
    moment = here.sql("select clock_timestamp()")
    here.sql("insert into goods values (0, 'too late')")
    here.archive_now()
    run = here.run("restore", to=moment)
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == before
    assert here.run("restore", to="2020-01-01 00:00:00Z").state == "refused"


@pytest.mark.parametrize("kind", ["lsn", "name"])
def test_a_position_and_a_named_point_are_met(here: Here, kind: str) -> None:
    before = here.sql(ROWS)
    at = here.sql(f"select pg_create_restore_point('{kind}-1')")
    here.sql("insert into goods values (0, 'too late')")
    here.archive_now()
    run = here.run("restore", to=f"lsn:{at}" if kind == "lsn" else "name:name-1", site="second")
    assert run.state == "succeeded", run.summary
    assert here.ask(run, ROWS) == before


def test_a_point_that_is_not_in_the_wal_ends_in_an_error_and_not_in_fewer_rows(here: Here) -> None:
    run = here.run("restore", to="name:nobody-made-it", site="own")
    assert run.state != "succeeded"
    assert "ends before name:nobody-made-it" in run.summary


def test_a_host_that_is_away_takes_its_repository_with_it_and_nothing_else(here: Here) -> None:
    here.away.add("db-1")
    run = here.run("restore")
    assert run.state == "succeeded", run.summary
    assert "own is left out" in run.summary
    assert here.ask(run, ROWS) == here.sql(ROWS)
    run = here.run("backup")
    assert run.state == "refused"
    assert "1 sites can be reached, and a backup needs 2" in run.summary


def test_a_run_that_goes_on_does_not_begin_again_and_does_not_try_again_what_it_gave_up(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(*_: object) -> None:
        raise GaveWay("another run has the target", "it goes on by itself")

    newest = looked(here).site("second").sets[-1].set
    with spoilt(here.find("second", f"backup/{STANZA}/{newest}/pg_data/global/pg_filenode.map*")):
        with monkeypatch.context() as patch:
            patch.setattr("flows.pgbackrest.prove_restored", break_off)
            run = here.run("restore")
        assert run.state == "waiting", run.summary
    began = {path: path.read_text() for path in here.work(run).glob("jobs/*/begun")}
    assert {path.parent.name.split("-")[0] for path in began} == {"restore", "wal"}
    run = here.execute(run)
    assert run.state == "succeeded", run.summary
    assert " of own was recovered to latest" in run.summary
    assert {path: path.read_text() for path in here.work(run).glob("jobs/*/begun")} == began
    assert here.ask(run, ROWS) == here.sql(ROWS)


def test_a_restore_follows_the_timeline_that_a_promotion_began(here: Here) -> None:
    here.sql("insert into goods values (0, 'before the promotion')")
    here.server.stop()
    (here.server.data_dir / "standby.signal").touch()
    here.server.start()
    here.server.run("pg_ctl", "promote", "-w", "-D", str(here.server.data_dir))
    here.sql("insert into goods values (0, 'after the promotion')")
    assert here.archive_now().startswith("00000002")
    for site in sorted(SITES):
        run = here.run("restore", site=site)
        assert run.state == "succeeded", run.summary
        assert here.ask(run, ROWS) == here.sql(ROWS)
        here.stop_scratch()


def test_a_restore_is_taken_back_to_the_last_trace(here: Here) -> None:
    run = here.run("restore", site="own")
    assert run.state == "succeeded", run.summary
    undo = here.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert not here.work(run).exists()
