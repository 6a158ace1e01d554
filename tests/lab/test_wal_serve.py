"""`recoverd serve` keeps WAL coming by itself, and the journal has what goes wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backup_kit import empty_sites
from failover_kit import SERVICE, Controller, controller
from lab_kit import eventually
from serve_kit import Serving
from wal_kit import write_wal

from lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def serving(backup_lab: Lab, tmp_path: Path) -> Iterator[Serving]:
    """A whole recoverd on empty sites; it leaves no receiver behind."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        serving = Serving(made)
        try:
            serving.start()
            yield serving
        finally:
            serving.stop()
            serving.command("wal", SERVICE, "--stop")


def looked(serving: Serving) -> dict[str, Any]:
    return dict(json.loads(serving.command("wal", SERVICE, "-o", "json").stdout))


def changed(recoverd: Controller) -> list[tuple[str, str]]:
    return [
        (str(entry.body["what"]), str(entry.body["trouble"]))
        for entry in recoverd.journal.entries(kinds=["wal.changed"])
    ]


def test_serve_brings_wal_to_all_sites_and_the_journal_has_what_changes(serving: Serving, backup_lab: Lab) -> None:
    end = write_wal(backup_lab, switch=True)
    assert eventually(lambda: all(one["covered_lsn"] >= end for one in looked(serving)["sites"]), timeout_s=70)
    backup_lab.break_("power-off", "s3-1")
    try:
        write_wal(backup_lab, switch=True)
        assert eventually(lambda: ("began", "site offsite") in changed(serving.controller), timeout_s=90)
    finally:
        backup_lab.mend("power-off", "s3-1")
    assert eventually(lambda: ("ended", "site offsite") in changed(serving.controller), timeout_s=90)
    assert looked(serving)["troubles"] == {}
