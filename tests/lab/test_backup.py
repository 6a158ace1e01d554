"""A backup stands on three sites, the same bytes on each, and nothing on them can be read without the identity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import PATHS, empty_sites, flip, held, killed, looked, lose, part_keys
from failover_kit import SERVICE, Controller, controller, name

from gateway.cli.main import run as recoverd_command
from lab import Lab
from recoverd.backup import keys
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
SITES = ("own", "second", "offsite")


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd whose sites are empty, and a database that fills several parts."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        yield made


def backed_up(recoverd: Controller) -> Manifest:
    run = recoverd.run("backup")
    assert run.state == "succeeded", run.summary
    return looked(recoverd, read=False).manifests[-1]


def test_a_backup_is_the_same_bytes_on_three_sites_and_nobody_reads_them(recoverd: Controller, backup_lab: Lab) -> None:
    manifest = backed_up(recoverd)
    assert len(manifest.parts) > 3
    assert manifest.source == "db-2", "a standby that holds a site itself"
    for key in part_keys(manifest):
        copies = {held(backup_lab, site, key) for site in SITES}
        assert len(copies) == 1
        (copy,) = copies
        assert copy.startswith(b"age-encryption.org/v1")
        assert b"PG_VERSION" not in copy
    assert [looked(recoverd).health(site, manifest.set) for site in SITES] == [Health.GOOD] * 3
    assert recoverd_command(["sites", "verify", SERVICE]) == 0


def test_what_a_backup_needed_is_gone_when_it_has_ended(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    assert "recoverd-" not in backup_lab.run("backup-1", "cat /root/.ssh/authorized_keys").out
    left = backup_lab.run("db-2", "find /var/lib/recoverd -type f ! -name '*.lock' ! -name '*.epoch'").out
    assert left == ""


def test_a_key_of_a_passage_opens_two_commands_below_one_directory_and_no_shell(
    recoverd: Controller, backup_lab: Lab
) -> None:
    run = recoverd.request("backup")
    assert killed(run, "open_passage(orders-db,db-2,second)", "after")
    way = f"cd /var/lib/recoverd/passage/{run.id} && ssh -F none -i key -o UserKnownHostsFile=known_hosts root@10.77."
    way += f"{backup_lab.layout.number}.{backup_lab.host('backup-1').octet}"
    for command, code in (("id", 12), ("get ../../etc/shadow", 12), ("get /etc/shadow", 12), ("get 'a;id'", 12)):
        ran = backup_lab.run("db-2", f'{way} "{command}"', check=False)
        assert (ran.code, ran.out) == (code, ""), command
    assert backup_lab.run("db-2", f"{way} -L 9999:localhost:22 true", check=False).code == 12
    assert recoverd.execute(run).state == "succeeded"


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("begin_stream(orders-db,db-2,{set})", "before"),
        ("ship(orders-db,db-2,{set},second)", "before"),
        ("seal(orders-db,{set},own)", "after"),
    ],
)
def test_killed_in_the_middle_it_goes_on_with_the_same_set(
    recoverd: Controller, backup_lab: Lab, step: str, when: str
) -> None:
    run = recoverd.request("backup")
    made = keys.set_id(run.created_at, run.id)
    assert killed(run, step.format(set=made), when)
    assert recoverd.execute(run).state == "succeeded"
    found = looked(recoverd)
    assert [one.set for one in found.manifests] == [made]
    assert [found.health(site, made) for site in SITES] == [Health.GOOD] * 3
    begun = [entry for entry in recoverd.entries(run, "step.intended") if name(entry) == "begin_stream"]
    assert len(begun) == 1, "the stream was taken up, not begun anew"


def test_with_one_site_away_it_is_degraded_and_with_two_it_is_refused(recoverd: Controller, backup_lab: Lab) -> None:
    backup_lab.break_("power-off", "s3-1")
    try:
        run = recoverd.run("backup")
        assert run.state == "succeeded"
        assert re.search(r"is degraded: .* whole on own, second; lacking: offsite \(unreachable\)", run.summary), (
            run.summary
        )
        backup_lab.break_("partition", "backup-1")
        run = recoverd.run("backup")
        assert run.state == "refused"
        assert "1 sites can be reached, and a backup needs 2" in run.summary
        assert recoverd.changed_nothing(run)
    finally:
        backup_lab.mend("partition", "backup-1")
        backup_lab.mend("power-off", "s3-1")


def test_what_is_wrong_on_a_site_is_found_by_reading_and_told_apart(recoverd: Controller, backup_lab: Lab) -> None:
    manifest = backed_up(recoverd)
    parts = part_keys(manifest)
    flip(backup_lab, "own", parts[0])
    lose(backup_lab, "offsite", parts[1])
    for key in parts:
        flip(backup_lab, "second", key)
    found = looked(recoverd)
    health = {site: found.health(site, manifest.set) for site in SITES}
    assert health == {"own": Health.DAMAGED, "second": Health.TAMPERED, "offsite": Health.HIDDEN}
    assert looked(recoverd, read=False).health("own", manifest.set) is Health.LISTED, "a listing does not see it"
    assert recoverd_command(["sites", "verify", SERVICE]) == 1


def test_a_forged_manifest_makes_no_set(recoverd: Controller, backup_lab: Lab) -> None:
    manifest = backed_up(recoverd)
    host, path = PATHS["second"]
    backup_lab.run(host, f"sed -i 's/db-2/db-9/' {path}/{SERVICE}/sets/{manifest.set}/manifest.json")
    found = looked(recoverd, read=False)
    assert found.health("second", manifest.set) is Health.TAMPERED
    assert found.manifests == (manifest,), "the others still give the one that was signed"


def test_old_sets_go_only_when_the_new_one_is_proven(recoverd: Controller, backup_lab: Lab) -> None:
    text = (recoverd.inventory / "backups.yaml").read_text()
    (recoverd.inventory / "backups.yaml").write_text(
        text.replace("    restore:", "    retention: {sets: 1}\n    restore:")
    )
    first = backed_up(recoverd)
    second = backed_up(recoverd)
    found = looked(recoverd, read=False)
    assert [one.set for one in found.manifests] == [second.set]
    assert all(found.health(site, first.set) is Health.ABSENT for site in SITES)
