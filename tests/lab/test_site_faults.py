"""A restore gets its data from the sites that are left: one or two away in any manner, before it begins or in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from backup_kit import FINGERPRINT, PATHS, empty_sites, looked, lose, part_keys, rewrite, stop_scratch
from failover_kit import SERVICE, Controller, controller
from lab_kit import connect, value

from lab import Lab
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.journal import RunRow
from tasks import fetching

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
HOSTS = {"own": "db-2", "second": "backup-1", "offsite": "s3-1"}
PORTS = {"own": 22, "second": 22, "offsite": 8333}
TARGET = "db-3"  # no site stands there, so that each of them can be away
SCRATCH = f"/var/lib/recoverd/restore/{SERVICE}"


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup on all three sites."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        yield made
        for row in made.journal.list_runs(procedure="restore"):
            stop_scratch(backup_lab, row, TARGET)


@pytest.fixture
def manifest(recoverd: Controller) -> Manifest:
    return looked(recoverd, read=False).manifests[-1]


def restored(recoverd: Controller, **options: str) -> RunRow:
    """A restore that gave every row back."""
    run = recoverd.run("restore", host=TARGET, **options)
    assert run.state == "succeeded", run.summary
    lab = recoverd.lab
    argv = ["psql", "-X", "-A", "-t", "-h", f"{SCRATCH}/{run.id}/server", "-p", "54329", "-d", "orders", "-c"]
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        assert lab.run(TARGET, [*argv, FINGERPRINT], user="postgres").out.strip() == value(orders, FINGERPRINT)
    return run


@contextmanager
def away(lab: Lab, site: str, how: str) -> Iterator[None]:
    """A site that refuses connections, is silent, or is slow to 1 Mbit/s."""
    host = HOSTS[site]
    if how == "refused":
        rule = f"tcp dport {PORTS[site]} reject with tcp reset"
        lab.run(
            host,
            f"nft 'add table inet gone; add chain inet gone in {{ type filter hook input priority 0; }}; add rule inet gone in {rule}'",
        )
    elif how == "slow":
        lab.break_("slow-link", host, rate_kbit=1000)
    else:
        lab.break_("partition", host)
    try:
        yield
    finally:
        if how == "refused":
            lab.run(host, "nft delete table inet gone")
        else:
            lab.mend("slow-link" if how == "slow" else "partition", host)


@pytest.mark.parametrize("how", ["refused", "silent"])
@pytest.mark.parametrize("site", list(HOSTS))
def test_with_one_site_away_every_row_comes_back(recoverd: Controller, backup_lab: Lab, site: str, how: str) -> None:
    with away(backup_lab, site, how):
        restored(recoverd)


@pytest.mark.parametrize("left", list(HOSTS))
def test_with_two_sites_away_every_row_comes_back_from_the_third(
    recoverd: Controller, backup_lab: Lab, left: str
) -> None:
    gone = [site for site in HOSTS if site != left]
    with away(backup_lab, gone[0], "refused"), away(backup_lab, gone[1], "silent"):
        restored(recoverd)


def test_with_all_sites_away_it_is_refused_before_anything_is_touched(recoverd: Controller, backup_lab: Lab) -> None:
    with ExitStack() as stack:
        for site in HOSTS:
            stack.enter_context(away(backup_lab, site, "refused"))
        run = recoverd.run("restore", host=TARGET)
    assert (run.state, recoverd.changed_nothing(run)) == ("refused", True)
    for site in HOSTS:
        assert f"{site} is not reached" in run.summary


@pytest.mark.parametrize("site", list(HOSTS))
def test_a_slow_site_delays_nobody(recoverd: Controller, manifest: Manifest, backup_lab: Lab, site: str) -> None:
    with away(backup_lab, site, "slow"):
        run = restored(recoverd)
    slowest_s = manifest.size * 8 / 1e6 / 3  # a third of all parts over a link of 1 Mbit/s
    took_s = next(entry.body["seconds"] for entry in recoverd.entries(run, "step.done") if "fetch" in str(entry.step))
    assert took_s < slowest_s, "idle sites fetched what the slow one had begun"


@pytest.mark.parametrize(
    "gone",
    [
        ("own", "silent"),
        ("second", "refused"),
        ("own", "refused", "second", "silent"),
        ("second", "silent", "offsite", "refused"),
    ],
)
def test_with_sites_that_go_in_the_middle_every_row_comes_back(
    recoverd: Controller, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...]
) -> None:
    with ExitStack() as stack:

        def break_them() -> None:
            for site, how in zip(gone[::2], gone[1::2], strict=True):
                stack.enter_context(away(backup_lab, site, how))

        at_the_third_part(monkeypatch, break_them)
        restored(recoverd)


def at_the_third_part(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    real, once, calls = fetching.get, threading.Lock(), iter(range(10_000))

    def get(*arguments: object, **more: object) -> None:
        with once:
            if next(calls) == 2:
                happen()
        real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fetching, "get", get)


def test_a_bucket_that_was_overwritten_and_deleted_gives_its_older_versions(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    parts = part_keys(manifest)
    documents = [f"{SERVICE}/sets/{manifest.set}/{name}" for name in ("manifest.json", "manifest.sig")]
    rewrite(backup_lab, "offsite", [*parts[::2], documents[0]])
    for key in [*parts[1::2], documents[1]]:
        lose(backup_lab, "offsite", key)
    for host, path in PATHS.values():
        backup_lab.run(host, f"rm -rf {path}/{SERVICE}")
    found = looked(recoverd, read=False)
    assert found.health("offsite", manifest.set) is Health.HIDDEN
    run = restored(recoverd)
    bad = [entry.body["bad"]["offsite"] for entry in recoverd.entries(run, "site.bad")]
    assert bad == [[part.name for part in manifest.parts]], "what is not as it was is to be healed"


def test_with_wrong_s3_credentials_the_other_sites_serve_and_it_is_told(recoverd: Controller, tmp_path: Path) -> None:
    wrong = tmp_path / "secret"
    wrong.write_text("of-somebody-else")
    wrong.chmod(0o600)
    file = recoverd.inventory / "backups.yaml"
    right = recoverd.lab.layout.secret("s3-secret-key")
    file.write_text(file.read_text().replace(f"secret_key: {{file: {right}}}", f"secret_key: {{file: {wrong}}}"))
    run = restored(recoverd)
    chosen = next(e for e in recoverd.entries(run, "step.decided") if "choose_point" in str(e.step))
    assert "offsite" in chosen.body["summary"]
    assert "refuses" in chosen.body["summary"]


def test_with_the_wrong_age_identity_nothing_is_unpacked_and_it_is_told(recoverd: Controller, tmp_path: Path) -> None:
    import pyrage

    wrong = tmp_path / "identity"
    wrong.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    wrong.chmod(0o600)
    file = recoverd.inventory / "backups.yaml"
    right = recoverd.lab.layout.secret("age-identity")
    file.write_text(file.read_text().replace(f"identity: {{file: {right}}}", f"identity: {{file: {wrong}}}"))
    run = recoverd.run("restore", host=TARGET)
    assert run.state in {"failed", "refused"}
    assert "identity" in run.summary


def test_a_full_disk_at_a_site_makes_a_backup_degraded_and_the_next_one_whole(
    recoverd: Controller, backup_lab: Lab
) -> None:
    backup_lab.break_("full-disk", "backup-1")
    try:
        run = recoverd.run("backup")
    finally:
        backup_lab.mend("full-disk", "backup-1")
    assert run.state == "succeeded", run.summary
    assert "is degraded" in run.summary
    assert "lacking: second" in run.summary
    assert "is complete" in recoverd.run("backup").summary
    heal = recoverd.run("heal")
    assert heal.state == "succeeded", heal.summary
    assert all(looked(recoverd).health("second", one.set) is Health.GOOD for one in looked(recoverd).manifests)
