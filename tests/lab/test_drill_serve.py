"""Drills under a whole `recoverd serve`: executed by its runner, taken up again after the axe, cancelled in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import empty_sites
from drill_left_kit import left, sweep
from failover_kit import SERVICE, controller, name
from lab_kit import eventually
from serve_kit import Serving, kill

from lab import Lab
from recoverd.drills import drill_of
from recoverd.journal import Entry

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def serving(backup_lab: Lab, tmp_path: Path) -> Iterator[Serving]:
    """A serve with one good backup."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        assert made.run("backup").state == "succeeded"
        serving = Serving(made)
        try:
            serving.start()
            yield serving
        finally:
            serving.stop()
            serving.command("wal", SERVICE, "--stop")
            for one in made.journal.list_runs(procedure="drill-restore"):
                sweep(backup_lab, one)


def begun(serving: Serving, site: str) -> str:
    ran = serving.command("drill", "restore", SERVICE, "--site", site, "--reason", "a test")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def is_fetching(entry: Entry) -> bool:
    return entry.kind == "step.intended" and name(entry) == "fetch_parts"


def test_it_runs_and_goes_on_after_the_axe_and_leaves_nothing_when_it_is_cancelled(
    serving: Serving, backup_lab: Lab
) -> None:
    journal = serving.controller.journal
    waited = serving.command("drill", "restore", SERVICE, "--site", "own", "--reason", "a test", "--wait")
    assert waited.returncode == 0, waited.stdout + waited.stderr
    assert "came back from own" in waited.stdout
    killed = begun(serving, "second")
    serving.wait_for(killed, is_fetching)
    kill(journal.get_run(killed))
    row = serving.ended(killed)
    assert row.state == "succeeded", row.summary
    found = drill_of(journal, killed)
    assert found is not None
    assert found.interrupted
    backup_lab.break_("slow-link", "s3-1", rate_kbit=2000)
    try:
        cancelled = begun(serving, "offsite")
        serving.wait_for(cancelled, is_fetching)
        assert serving.command("cancel", cancelled, "--reason", "a test").returncode == 0
        assert serving.ended(cancelled).state == "cancelled"
    finally:
        backup_lab.mend("slow-link", "s3-1")
    assert drill_of(journal, cancelled) is None
    assert eventually(lambda: left(backup_lab) == ""), left(backup_lab)
    shown = serving.command("drills", SERVICE)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("passed") >= 2
