"""The WAL archive is held against its signed index, every byte of it, and healed like the sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from backup_kit import empty_sites, flip, held, lose, put_file, rewrite
from failover_kit import SERVICE, Controller, controller
from wal_kit import kept, reached, write_wal

from flows.archiving import end, turn
from flows.stocking import Archive
from gateway.cli.main import run as recoverd_command
from gateway.keeper import keeping
from lab import Lab
from recoverd.inventory import load
from recoverd.quarantine import quarantined
from tasks import reading_wal

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
SITES = ("own", "second", "offsite")


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    """A recoverd with some whole segments on all three sites, which count as settled at once."""
    monkeypatch.setattr(reading_wal, "SETTLED", timedelta(hours=-2))
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        with kept(made) as keeper:
            for _ in range(4):
                end = write_wal(backup_lab, switch=True)
            keeper.until(lambda now: reached(now, end))
        yield made


def files(recoverd: Controller) -> tuple[list[str], list[str]]:
    """The keys of all segments that are signed for, and of the pages of the index."""
    from recoverd.execution import rehearsal

    with rehearsal("sites", SERVICE, load(recoverd.inventory)):
        found = reading_wal.read_archive(SERVICE)
    return [f"{SERVICE}/wal/{one.name}" for one in found.files], [
        f"{SERVICE}/wal/{one.name}" for one in found.documents
    ]


def test_damaged_missing_and_overwritten_segments_and_pages_are_healed(recoverd: Controller, backup_lab: Lab) -> None:
    segments, pages = files(recoverd)
    assert len(segments) >= 4
    good = {key: held(backup_lab, "own", key) for key in (*segments, *pages)}
    flip(backup_lab, "second", segments[0])
    lose(backup_lab, "own", segments[1])
    rewrite(backup_lab, "offsite", segments[2:3])
    lose(backup_lab, "own", pages[0])
    forged = f"{SERVICE}/wal/index/{pages[0].rpartition('/')[2][:10]}-000999"
    document = json.dumps({**json.loads(good[next(page for page in pages if page.endswith(".json"))]), "seq": 999})
    put_file(backup_lab, "second", f"{forged}.json", document.encode())
    put_file(backup_lab, "second", f"{forged}.sig", b"x" * 64)
    assert recoverd_command(["sites", "verify", SERVICE]) == 1
    assert list(quarantined(recoverd.journal, SERVICE)) == ["second"], "a page that nobody signed is no fault of a disk"
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    for key, content in good.items():
        assert {site: held(backup_lab, site, key) == content for site in SITES} == dict.fromkeys(SITES, True), key
    assert recoverd_command(["sites", "verify", SERVICE]) == 0
    assert quarantined(recoverd.journal, SERVICE) == {}


def test_a_site_in_quarantine_is_given_no_wal(recoverd: Controller, backup_lab: Lab) -> None:
    segments, _ = files(recoverd)
    rewrite(backup_lab, "offsite", segments)
    assert recoverd_command(["sites", "verify", SERVICE]) == 1
    assert list(quarantined(recoverd.journal, SERVICE)) == ["offsite"]
    with keeping(SERVICE, load(recoverd.inventory), recoverd.journal):
        try:
            sites = {one.site: one for one in turn(Archive(SERVICE)).sites}
        finally:
            end(SERVICE)
    assert (sites["offsite"].reached, sites["own"].reached) == (False, True)
    assert "in quarantine" in sites["offsite"].problem
