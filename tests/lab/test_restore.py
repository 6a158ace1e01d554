"""A restore puts the data together from whichever sites still hold good bytes, beside everything that is there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from backup_kit import FINGERPRINT, destroy, empty_sites, flip, killed, looked, lose, part_keys, stop_scratch
from failover_kit import SERVICE, Controller, controller, name
from lab_kit import connect, value

from gateway.cli.main import run as recoverd_command
from lab import Lab
from recoverd.backup.manifest import Manifest
from recoverd.inventory import load
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(300)]
SCRATCH = "/var/lib/recoverd/restore"
BY_HAND = Path(__file__).parents[2] / "docs" / "procedures" / "restore.md"


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd with one good backup of a database that fills several parts."""
    empty_sites(backup_lab)
    with controller(backup_lab, tmp_path / "home") as made:
        run = made.run("backup")
        assert run.state == "succeeded", run.summary
        yield made
        for row in made.journal.list_runs(procedure="restore"):
            stop_scratch(backup_lab, row)


@pytest.fixture
def manifest(recoverd: Controller) -> Manifest:
    return looked(recoverd, read=False).manifests[-1]


def ask(lab: Lab, run: RunRow, sql: str) -> str:
    """What the scratch server of a restore answers."""
    socket = f"{SCRATCH}/{SERVICE}/{run.id}/server"
    argv = ["psql", "-X", "-A", "-t", "-h", socket, "-p", "54329", "-d", "orders", "-c", sql]
    return lab.run("backup-1", argv, user="postgres").out.strip()


def expected(lab: Lab) -> str:
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        return str(value(orders, FINGERPRINT))


def test_from_a_mix_of_damaged_sites_every_row_comes_back(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    parts = part_keys(manifest)
    flip(backup_lab, "own", parts[0])
    lose(backup_lab, "offsite", parts[1])
    flip(backup_lab, "second", parts[2])
    run = recoverd.run("restore")
    assert run.state == "succeeded", run.summary
    assert ask(backup_lab, run, FINGERPRINT) == expected(backup_lab)
    bad = {site: names for entry in recoverd.entries(run, "site.bad") for site, names in entry.body["bad"].items()}
    assert {site: set(names) for site, names in bad.items()}.items() <= {
        "own": {manifest.parts[0].name},
        "offsite": {manifest.parts[1].name},
        "second": {manifest.parts[2].name},
    }.items()
    assert "the indexes of orders" in run.summary


@pytest.mark.parametrize("site", ["own", "second", "offsite"])
def test_from_each_site_alone_every_row_comes_back(recoverd: Controller, backup_lab: Lab, site: str) -> None:
    run = recoverd.run("restore", site=site)
    assert run.state == "succeeded", run.summary
    assert ask(backup_lab, run, FINGERPRINT) == expected(backup_lab)


def test_a_restored_copy_listens_on_no_network_and_archives_nothing(recoverd: Controller, backup_lab: Lab) -> None:
    run = recoverd.run("restore")
    assert "54329" not in backup_lab.run("backup-1", "cat /proc/net/tcp /proc/net/tcp6 | awk '{print $2}'").out
    assert ask(backup_lab, run, "show listen_addresses") == ""
    assert ask(backup_lab, run, "show archive_mode") == "off"
    assert ask(backup_lab, run, "show primary_conninfo") == ""
    assert backup_lab.run("backup-1", f"stat -c %a {SCRATCH}/{SERVICE}/{run.id}/server").out.strip() == "700"


def test_a_part_that_is_good_nowhere_ends_it_before_anything_is_touched(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    part = part_keys(manifest)[1]
    flip(backup_lab, "own", part)
    flip(backup_lab, "second", part)
    destroy(backup_lab, "offsite", part)
    run = recoverd.run("restore")
    assert run.state in {"refused", "failed"}
    assert f"no site that is left has {manifest.parts[1].name}" in run.summary
    assert "own: " in run.summary
    assert "second: " in run.summary


def test_a_site_that_freezes_in_the_middle_delays_nobody(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import fetching

    real, once = fetching.get, threading.Lock()
    frozen: list[str] = []

    def get(*arguments: object, **more: object) -> None:
        with once:
            if not frozen:
                frozen.append(backup_lab.break_("freeze", "s3-1"))
        real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fetching, "get", get)
    try:
        run = recoverd.run("restore")
    finally:
        backup_lab.mend("freeze", "s3-1")
    assert (run.state, len(frozen)) == ("succeeded", 1), run.summary
    assert ask(backup_lab, run, FINGERPRINT) == expected(backup_lab)


def test_killed_in_the_middle_it_goes_on_with_what_it_has(recoverd: Controller, backup_lab: Lab) -> None:
    run = recoverd.request("restore")
    steps = (
        "begin_unpacking(orders-db,backup-1,{n})",
        "fetch_parts(orders-db,backup-1)",
        "recover(orders-db,backup-1,consistent)",
    )
    count = len(looked(recoverd, read=False).manifests[-1].parts)
    for step in steps:
        assert killed(run, step.format(n=count)), step
    assert recoverd.execute(run).state == "succeeded"
    assert ask(backup_lab, run, FINGERPRINT) == expected(backup_lab)
    assert [name(entry) for entry in recoverd.entries(run, "step.done")].count("fetch_parts") == 1


def test_what_died_with_its_host_meanwhile_is_made_again(recoverd: Controller, backup_lab: Lab) -> None:
    """Of the whole host, what works for the run: in the middle of unpacking, and once the copy has recovered."""
    run = recoverd.request("restore")
    work = f"{SCRATCH}/{SERVICE}/{run.id}"
    count = len(looked(recoverd, read=False).manifests[-1].parts)
    holders = f"find /proc/[0-9]*/fd -maxdepth 1 -lname {work}/unpack/lock 2>/dev/null | cut -d/ -f3 | sort -u"
    assert killed(run, f"begin_unpacking(orders-db,backup-1,{count})", "after")
    assert backup_lab.run("backup-1", f"pids=$({holders}); kill -9 $pids; echo $pids").out.strip()
    assert killed(run, "recover(orders-db,backup-1,consistent)")
    server = f"kill -9 $(head -n 1 {work}/data/postmaster.pid)"
    backup_lab.run("backup-1", server)
    assert killed(run, "recover(orders-db,backup-1,consistent)", "after")
    backup_lab.run("backup-1", server)
    done = recoverd.execute(run)
    assert done.state == "succeeded", done.summary
    assert ask(backup_lab, run, FINGERPRINT) == expected(backup_lab)
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert backup_lab.run("backup-1", f"ls -A {SCRATCH}/{SERVICE}").out.strip() == ""


def test_a_restore_is_taken_back_to_the_last_trace(recoverd: Controller, backup_lab: Lab) -> None:
    run = recoverd.run("restore")
    assert run.state == "succeeded"
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert backup_lab.run("backup-1", f"ls -A {SCRATCH}/{SERVICE}").out.strip() == ""


def test_without_room_nothing_is_begun(recoverd: Controller, backup_lab: Lab) -> None:
    file = recoverd.inventory / "backups.yaml"
    file.write_text(file.read_text().replace("restore:\n", "restore:\n      scratch_dir: /srv/backups/restore\n"))
    backup_lab.break_("full-disk", "backup-1")
    try:
        run = recoverd.run("restore")
    finally:
        backup_lab.mend("full-disk", "backup-1")
    assert (run.state, recoverd.changed_nothing(run)) == ("refused", True)
    assert "there is no room" in run.summary


def test_without_the_identity_nobody_restores(recoverd: Controller, backup_lab: Lab) -> None:
    file = recoverd.inventory / "backups.yaml"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if "identity" not in line))
    run = recoverd.run("restore")
    assert run.state == "refused"
    assert "age identity" in run.summary


def test_the_command_says_what_a_restore_would_do(recoverd: Controller) -> None:
    assert recoverd_command(["plan", "restore", SERVICE]) == 0
    assert recoverd_command(["plan", "backup", SERVICE]) == 0


def test_by_hand_with_standard_tools_every_row_comes_back(
    recoverd: Controller, manifest: Manifest, backup_lab: Lab
) -> None:
    unpack, _, begin = by_hand()
    with restored_by_hand(recoverd, backup_lab, manifest, unpack + begin) as socket:
        argv = ["psql", "-X", "-A", "-t", "-h", socket, "-d", "orders", "-c", FINGERPRINT]
        assert backup_lab.run("backup-1", argv, user="postgres").out.strip() == expected(backup_lab)


def by_hand() -> list[str]:
    """The blocks of the document: the set, the WAL, the start."""
    return re.findall(r"^```sh\n(.*?)^```$", BY_HAND.read_text(), flags=re.MULTILINE | re.DOTALL)


@contextmanager
def restored_by_hand(
    recoverd: Controller, backup_lab: Lab, manifest: Manifest, block: str, moment: str = ""
) -> Iterator[str]:
    """The lines of the document as a person would run them; gives the directory of the server's socket."""
    work, service = "/var/lib/postgresql/by-hand", recoverd.inventory
    backup_lab.run("backup-1", f"rm -rf {work}; install -d -o postgres -m 0700 {work}")
    for file, secret in (("identity", "age-identity"), ("trusted.pem", "backup-signing.pub.pem")):
        content = backup_lab.layout.secret(secret).read_text()
        backup_lab.run("backup-1", f"cat >{work}/{file} && chown postgres {work}/{file}", stdin=content)
    backup_lab.run("backup-1", "chown -R postgres /srv/backups/orders-db")  # as a person would who is not root
    bin_dir = load(service).service(SERVICE).postgresql.bin_dir
    known = f"SET=/srv/backups/{SERVICE}/sets/{manifest.set} WORK={work} DATA={work}/data BIN={bin_dir} "
    known += f"IDENTITY={work}/identity TRUSTED={work}/trusted.pem PATH={bin_dir}:$PATH "
    known += f"WAL=/srv/backups/{SERVICE}/wal MOMENT='{moment}'"
    ran = backup_lab.run("backup-1", f"cd {work}; {known}; {block}", user="postgres", timeout_s=90, check=False)
    try:
        assert ran.ok, ran.err
        yield work
    finally:
        stop = f"{bin_dir}/pg_ctl -D {work}/data -m fast -w stop; rm -rf {work}/data"
        backup_lab.run("backup-1", stop, user="postgres", timeout_s=60, check=False)
