"""A heal makes what a site has bad good again, from bytes that were read and signed for, and keeps what was bad."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import (
    PATHS,
    destroy,
    empty_sites,
    flip,
    held,
    killed,
    looked,
    lose,
    part_keys,
    put_file,
    rewrite,
)
from failover_kit import SERVICE, Controller, controller

from gateway.cli.main import run as recoverd_command
from lab import Lab
from lab.layout import BUCKET
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.journal import RunRow
from recoverd.quarantine import quarantined, standings

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
SITES = ("own", "second", "offsite")
BY_HAND = Path(__file__).parents[2] / "docs" / "procedures" / "heal.md"


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup on all three sites."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        yield made


@pytest.fixture
def manifest(recoverd: Controller) -> Manifest:
    return looked(recoverd, read=False).manifests[-1]


def everywhere(lab: Lab, keys: list[str]) -> dict[str, bytes]:
    """The bytes of files that are the same on every site."""
    copies = {key: {held(lab, site, key) for site in SITES} for key in keys}
    assert all(len(found) == 1 for found in copies.values()), {key: len(found) for key, found in copies.items()}
    return {key: next(iter(found)) for key, found in copies.items()}


def documents(manifest: Manifest) -> list[str]:
    return [f"{SERVICE}/sets/{manifest.set}/{name}" for name in ("manifest.json", "manifest.sig")]


def all_good(recoverd: Controller, manifest: Manifest) -> bool:
    found = looked(recoverd)
    return all(found.health(site, manifest.set) is Health.GOOD for site in SITES)


def aside(lab: Lab, site: str, run: RunRow) -> list[str]:
    """What a run has put aside on a site, below its quarantine."""
    host, path = PATHS[site]
    where = f"{path}/{SERVICE}/quarantine/{run.id}"
    return sorted(lab.run(host, f"cd {where} && find . -type f -printf '%P\\n'", check=False).out.split())


def test_flipped_truncated_and_missing_files_are_healed_and_the_bad_ones_kept(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    parts = part_keys(manifest)
    good = everywhere(backup_lab, [*parts, *documents(manifest)])
    flip(backup_lab, "own", parts[0])
    host, path = PATHS["second"]
    backup_lab.run(host, f"truncate -s 1000 {path}/{parts[1]}")
    lose(backup_lab, "second", parts[2])
    lose(backup_lab, "second", documents(manifest)[0])
    destroy(backup_lab, "offsite", parts[3])
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert "5 files of orders-db were healed" in run.summary
    assert everywhere(backup_lab, list(good)) == good
    assert all_good(recoverd, manifest)
    assert aside(backup_lab, "own", run) == [parts[0].removeprefix(f"{SERVICE}/")]
    assert aside(backup_lab, "second", run) == [parts[1].removeprefix(f"{SERVICE}/")]
    for place, (machine, root) in PATHS.items():
        left = backup_lab.run(machine, f"ls {root}/{SERVICE}").out.split()
        assert left == ["quarantine", "sets"], place
        assert run.id not in backup_lab.run(machine, "cat /root/.ssh/authorized_keys").out


def test_a_plan_says_which_files_come_from_where_and_changes_nothing(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(backup_lab, "second", part_keys(manifest)[0])
    before = len(list(recoverd.journal.entries()))
    assert recoverd_command(["plan", "heal", SERVICE, "-o", "json"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    titles = [step["title"] for step in steps if step["changes"]]
    assert f"make {manifest.set} good on the site second: part-000001.age (damaged) from own" in titles
    assert len(list(recoverd.journal.entries())) == before
    assert looked(recoverd).health("second", manifest.set) is Health.DAMAGED


def test_what_a_bucket_has_overwritten_or_hidden_is_put_back_from_its_own_versions(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    keys = [*part_keys(manifest), *documents(manifest)]
    good = {key: held(backup_lab, "offsite", key) for key in keys}
    rewrite(backup_lab, "offsite", keys[:2])
    for key in keys[2:]:
        lose(backup_lab, "offsite", key)
    assert looked(recoverd, read=False).health("offsite", manifest.set) is Health.HIDDEN
    for host in ("db-2", "backup-1"):
        backup_lab.run(host, f"rm -rf {dict(PATHS.values())[host]}/{SERVICE}/sets/{manifest.set}")
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert everywhere(backup_lab, keys) == good
    versions = backup_lab.s3_client().list_object_versions(Bucket=BUCKET, Prefix=keys[0])["Versions"]
    assert len(versions) == 3, "the rewritten one is kept"


def test_ransomware_on_one_site_is_called_tampered_quarantined_and_healed_and_the_evidence_kept(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [*part_keys(manifest), *documents(manifest)]
    good = everywhere(backup_lab, keys)
    rewrite(backup_lab, "second", keys)
    assert recoverd_command(["sites", "verify", SERVICE, "-o", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    verdicts = {one["site"]: one for one in told["verdicts"]}
    assert {site: one["verdict"] for site, one in verdicts.items()} == {
        "own": "clean",
        "second": "tampered",
        "offsite": "clean",
    }
    assert verdicts["second"]["against"] == ["own", "offsite"]
    assert list(quarantined(recoverd.journal, SERVICE)) == ["second"]
    (incident,) = recoverd.journal.entries(kinds=["incident.opened"])
    assert incident.body["class"] == "network-attack"
    assert "the backup site second of orders-db was tampered with" in incident.body["summary"]
    assert "every part" in incident.body["summary"]
    assert recoverd_command(["sites", SERVICE]) == 1
    assert "second is in quarantine" in capsys.readouterr().err
    backup = recoverd.run("backup")
    assert backup.state == "succeeded", backup.summary
    assert "second" not in backup.summary.split("lacking")[0], "nothing is written to it"
    restore = recoverd.run("restore", set=manifest.set)
    assert restore.state == "succeeded", restore.summary
    assert recoverd.run("undo", run=restore.id).state == "succeeded"
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert everywhere(backup_lab, keys) == good
    assert len(aside(backup_lab, "second", run)) == len(keys), "every rewritten file is kept as evidence"
    assert quarantined(recoverd.journal, SERVICE) == {}
    assert recoverd_command(["sites", "verify", SERVICE]) == 0


def test_a_forged_and_a_replayed_manifest_are_told_as_tampered_and_put_right(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    assert recoverd.run("backup").state == "succeeded"
    newer = looked(recoverd, read=False).manifests[-1]
    good = everywhere(backup_lab, [*documents(manifest), *documents(newer)])
    for old, new in zip(documents(manifest), documents(newer), strict=True):
        put_file(backup_lab, "own", new, good[old])
    forged = good[documents(manifest)[0]].replace(b"db-2", b"db-9")
    put_file(backup_lab, "second", documents(manifest)[0], forged)
    assert recoverd_command(["sites", "verify", SERVICE]) == 1
    standing = standings(recoverd.journal, SERVICE)
    assert {site: one.verdict for site, one in standing.items()} == {"own": "tampered", "second": "tampered"}
    assert "put into its place" in " ".join(standing["own"].evidence)
    assert "does not fit" in " ".join(standing["second"].evidence)
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert everywhere(backup_lab, list(good)) == good
    assert quarantined(recoverd.journal, SERVICE) == {}


def test_a_set_that_nobody_signed_and_one_site_alone_gives_is_put_aside(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    invented = f"{SERVICE}/sets/20301125T224938Z-evil"
    document = held(backup_lab, "own", documents(manifest)[0]).replace(manifest.set.encode(), b"20301125T224938Z-evil")
    for site in ("second", "offsite"):
        put_file(backup_lab, site, f"{invented}/manifest.json", document if site == "second" else b"{}")
        put_file(backup_lab, site, f"{invented}/manifest.sig", b"x" * 64)
        if site == "second":
            run = recoverd.run("heal")
            assert run.state == "succeeded", run.summary
            assert aside(backup_lab, site, run) == [
                "sets/20301125T224938Z-evil/manifest.json",
                "sets/20301125T224938Z-evil/manifest.sig",
            ]


def test_what_is_good_nowhere_is_told_with_what_is_left_and_nothing_is_touched(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    part = part_keys(manifest)[2]
    flip(backup_lab, "own", part)
    flip(backup_lab, "second", part)
    destroy(backup_lab, "offsite", part)
    run = recoverd.run("heal")
    assert run.state == "refused"
    assert recoverd.changed_nothing(run)
    assert "nothing was touched" in run.summary
    assert f"parts 1 to 2 of {len(manifest.parts)}" in run.summary


def test_all_three_sites_rewritten_are_left_as_they_are_and_told(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    keys = [*part_keys(manifest), *documents(manifest)]
    for key in keys:
        destroy(backup_lab, "offsite", key)
        put_file(backup_lab, "offsite", key, b"ransom" * 1000)
    for site in PATHS:
        rewrite(backup_lab, site, keys[1:])
    before = {site: held(backup_lab, site, keys[0]) for site in SITES}
    run = recoverd.run("heal")
    assert run.state == "refused"
    assert recoverd.changed_nothing(run)
    assert f"{manifest.set} is signed for nowhere" in run.summary
    assert f"of {len(manifest.parts)} parts on own, second, offsite, 1 are the same on two sites" in run.summary
    assert quarantined(recoverd.journal, SERVICE) == {}, "where nobody speaks against anybody, all are still asked"
    assert {site: held(backup_lab, site, keys[0]) for site in SITES} == before
    assert recoverd_command(["sites", "verify", SERVICE]) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_the_middle_it_goes_on_and_heals_each_file_once(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, when: str
) -> None:
    keys = part_keys(manifest)
    good = everywhere(backup_lab, keys)
    rewrite(backup_lab, "second", keys)
    run = recoverd.request("heal")
    step = f"mend({SERVICE},second,{manifest.set})"
    assert killed(run, step, when)
    assert recoverd.execute(run).state == "succeeded"
    assert everywhere(backup_lab, keys) == good
    assert len(aside(backup_lab, "second", run)) == len(keys)


def test_killed_between_two_files_it_does_not_copy_the_first_one_again(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import healing

    class Killed(BaseException):
        """As a kill would: nobody catches it."""

    keys, moved, real = part_keys(manifest), [], healing._bring
    for key in keys[:3]:
        flip(backup_lab, "second", key)

    def bring(service: str, site: str, file: healing.Mend) -> None:
        if len(moved) == 2:
            raise Killed
        real(service, site, file)
        moved.append(file.key)

    monkeypatch.setattr(healing, "_bring", bring)
    monkeypatch.setattr(healing, "_STREAMS", 1)
    run = recoverd.request("heal")
    with pytest.raises(Killed):
        recoverd.execute(run)
    monkeypatch.undo()
    monkeypatch.setattr(
        healing, "_bring", lambda service, site, file: (moved.append(file.key), real(service, site, file))
    )
    again = recoverd.run("heal")
    assert again.state == "succeeded", again.summary
    assert sorted(moved) == sorted(keys[:3])
    assert all_good(recoverd, manifest)


def test_a_full_disk_at_the_site_leaves_everything_as_it_was_and_the_next_run_heals(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import mending

    monkeypatch.setattr(mending, "_SPARE_BYTES", -(1 << 40))  # the disk fills after its room was looked at
    part = part_keys(manifest)[0]
    flip(backup_lab, "second", part)
    bad = held(backup_lab, "second", part)
    backup_lab.break_("full-disk", "backup-1")
    try:
        run = recoverd.run("heal")
        assert run.state == "failed"
        assert "is not whole yet" in run.summary
        assert held(backup_lab, "second", part) == bad
        monkeypatch.undo()
        refused = recoverd.run("heal")
        assert "are needed to heal it" in refused.summary
    finally:
        backup_lab.mend("full-disk", "backup-1")
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert all_good(recoverd, manifest)


def test_a_backup_and_two_heals_exclude_each_other(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import healing

    flip(backup_lab, "second", part_keys(manifest)[0])
    in_it, go_on, real = threading.Event(), threading.Event(), healing._bring

    def bring(service: str, site: str, file: healing.Mend) -> None:
        in_it.set()
        assert go_on.wait(120)
        real(service, site, file)

    monkeypatch.setattr(healing, "_bring", bring)
    first, ended = recoverd.request("heal"), []
    thread = threading.Thread(target=lambda: ended.append(recoverd.execute(first)))
    thread.start()
    try:
        assert in_it.wait(120)
        for procedure in ("heal", "backup"):
            other = recoverd.run(procedure)
            assert (other.state, recoverd.changed_nothing(other)) == ("refused", True)
            assert f"is locked by run {first.id}" in other.summary
    finally:
        go_on.set()
        thread.join(120)
    assert ended[0].state == "succeeded", ended[0].summary


def test_a_site_that_is_away_is_not_healed_and_does_not_keep_the_others_from_it(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    flip(backup_lab, "own", part_keys(manifest)[0])
    backup_lab.break_("partition", "s3-1")
    try:
        run = recoverd.run("heal")
        assert run.state == "succeeded", run.summary
        assert "offsite did not answer" in run.summary
        alone = recoverd.run("heal", site="offsite")
        assert alone.state == "refused"
        backup_lab.break_("power-off", "backup-1")
        assert recoverd.run("heal").state == "refused"
    finally:
        backup_lab.mend("power-off", "backup-1")
        backup_lab.mend("partition", "s3-1")
    assert all_good(recoverd, manifest)


def test_a_person_lifts_a_quarantine(recoverd: Controller, manifest: Manifest, backup_lab: Lab) -> None:
    rewrite(backup_lab, "own", part_keys(manifest))
    assert recoverd_command(["sites", "verify", SERVICE]) == 1
    assert list(quarantined(recoverd.journal, SERVICE)) == ["own"]
    assert recoverd_command(["sites", "lift", SERVICE, "own", "--reason", "it was our own test"]) == 0
    assert quarantined(recoverd.journal, SERVICE) == {}
    assert recoverd_command(["sites", "lift", SERVICE, "own", "--reason", "again"]) == 3


def test_by_hand_the_files_that_are_bad_are_found_and_replaced(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    names = re.findall(r"^```sh\n(.*?)^```$", BY_HAND.read_text(), flags=re.MULTILINE | re.DOTALL)
    good, trusted = f"/srv/backups/{SERVICE}/sets/{manifest.set}", "/srv/trusted.pem"
    backup_lab.run("backup-1", f"cat >{trusted}", stdin=backup_lab.layout.secret("backup-signing.pub.pem").read_text())
    known = f"cd /srv; GOOD={good} TRUSTED={trusted}"
    backup_lab.run("backup-1", f"{known}; {names[0]}", timeout_s=60)
    sums = backup_lab.run("backup-1", f"cat {good}.sums; rm {good}.sums").out
    assert len(sums.splitlines()) == len(manifest.parts)
    flip(backup_lab, "own", part_keys(manifest)[1])
    host, path = PATHS["own"]
    backup_lab.run(host, "cat >/tmp/sums", stdin=sums)
    found = backup_lab.run(
        host, f"cd {path}/{SERVICE}/sets/{manifest.set} && sha256sum -c --quiet /tmp/sums", check=False
    )
    assert found.out.strip() == "part-000002.age: FAILED"


def test_from_bucket_to_bucket_a_file_goes_by_way_of_a_host_and_leaves_nothing_there(
    recoverd: Controller, backup_lab: Lab
) -> None:
    file = recoverd.inventory / "backups.yaml"
    text = file.read_text()
    bucket = text[text.index("      - name: offsite") : text.index("    recipients:")]
    another = bucket.replace("name: offsite", "name: second").replace(
        "kind: s3\n", "kind: s3\n        prefix: another\n"
    )
    line = next(line for line in text.splitlines() if "name: second" in line)
    file.write_text(text.replace(f"{line}\n", another))
    backup = recoverd.run("backup")
    assert "is complete" in backup.summary, backup.summary
    manifest = looked(recoverd, read=False).manifests[-1]
    part = part_keys(manifest)[1]
    lose(backup_lab, "own", part)
    destroy(backup_lab, "offsite", f"another/{part}")
    run = recoverd.run("heal")
    assert run.state == "succeeded", run.summary
    assert all_good(recoverd, manifest)
    left = backup_lab.run("db-2", "find /var/lib/recoverd/healing /var/lib/recoverd/passage -type f", check=False)
    assert left.out == ""
