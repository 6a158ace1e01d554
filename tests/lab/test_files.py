"""Files of a host stand on three sites like the data of a service, and come back whole, one by one, or into their places."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from backup_kit import destroy, killed, looked, other_byte
from failover_kit import Controller, controller, name

from gateway.cli.main import run as recoverd_command
from lab import Lab
from lab.layout import BUCKET
from recoverd.backup import keys
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]
NAME, ARCHIVE, HOST = "web-config", "web-config.app-1", "app-1"
SITES = ("own", "second", "offsite")
PATHS = {"own": (HOST, "/var/backups/recoverd"), "second": ("backup-1", "/srv/backups")}
TREE, ALONE = "/etc/web", "/etc/web.conf"
BY_HAND = Path(__file__).parents[2] / "docs" / "procedures" / "files.md"

FILL = rf"""
rm -rf {TREE} {ALONE} /var/lib/recoverd/* /var/backups/recoverd /tmp/elsewhere
mkdir -p '{TREE}/sites enabled' {TREE}/conf.d /var/backups/recoverd && cd {TREE}
echo 'listen 80' > main.conf; echo 'alone' > {ALONE}
printf 'a' > "$(printf 'new\nline')"; printf 'b' > 'quo"te\'; printf 'c' > 'sites enabled/ünï -> cødé'; printf 'd' > -- ; : > empty
ln -s ../main.conf 'sites enabled/main'; ln -s /etc/shadow outside; ln main.conf twin.conf
cp /bin/true setuid && chown 1234:4321 setuid && chmod 4750 setuid; chmod 2770 conf.d && chown 33:33 conf.d
head -c 3000000 /dev/urandom > conf.d/random; truncate -s 300M holes && echo end >> holes
mkfifo pipe; touch -d '2020-02-02 02:02:02.123456789 UTC' main.conf conf.d/random
python3 -c 'import os; os.setxattr("setuid", "user.note", b"kept")'
"""
SHOW = r"""cd "$1" && find . \( -type p -o -type d -printf '%p|%y|%m|%U:%G|%T@\n' -o -printf '%p|%y|%m|%U:%G|%s|%l|%T@\n' \) |
    grep -v '^./pipe' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum"""


@pytest.fixture
def recoverd(backup_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd whose inventory has the files of app-1, on sites that are empty."""
    backup_lab.run(HOST, FILL, timeout_s=60)
    backup_lab.run("backup-1", f"rm -rf /srv/backups/{NAME}.* /var/lib/recoverd/*")
    destroy(backup_lab, "offsite", NAME)
    with controller(backup_lab, tmp_path / "home") as made:
        made.target = NAME
        file = made.inventory / "backups.yaml"
        file.write_text(file.read_text() + files_of(file.read_text()))
        yield made
    backup_lab.run("backup-1", "rm -rf /var/lib/recoverd/restore/web-config.*")


def files_of(text: str) -> str:
    """The section `files`: the sites and keys of the database's backup, but that the first site is on app-1."""
    body = text.partition("  orders-db:\n")[2].partition("    restore:")[0]
    body = body.replace("host: db-2, path: /var/lib/postgresql/backups", f"host: {HOST}, path: {PATHS['own'][1]}")
    more = f"    hosts: [{HOST}]\n    paths: [{TREE}, {ALONE}]\n    exclude: ['*.tmp']\n    restore: {{consent: act}}\n"
    return f"files:\n  {NAME}:\n{body}{more}"


def edited(recoverd: Controller, old: str, new: str) -> None:
    file = recoverd.inventory / "backups.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def backed_up(recoverd: Controller) -> Manifest:
    run = recoverd.run("backup")
    assert run.state == "succeeded", run.summary
    return looked(recoverd, read=False, archive=ARCHIVE).manifests[-1]


def sums(lab: Lab, site: str, manifest: Manifest) -> dict[str, str]:
    """SHA-256 by file of a set, as the site has it."""
    key = keys.set_key(ARCHIVE, manifest.set)
    if site == "offsite":
        found = lab.s3_client().list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]
        bodies = {one["Key"]: lab.s3_client().get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found}
        return {path.rpartition("/")[2]: hashlib.sha256(body).hexdigest() for path, body in bodies.items()}
    host, path = PATHS[site]
    lines = lab.run(host, f"cd {path}/{key} && sha256sum *").out.splitlines()
    return {line.split()[1]: line.split()[0] for line in lines}


def shown(lab: Lab, host: str, tree: str) -> str:
    """All that counts of a tree, in words."""
    return lab.run(host, ["sh", "-c", SHOW, "sh", tree], timeout_s=60).out


def content(lab: Lab, path: str, host: str = HOST) -> str:
    return lab.run(host, f"cat {path}", check=False).out


def work_of(run: str) -> str:
    return f"/var/lib/recoverd/restore/{ARCHIVE}/{run}/data"


def test_files_are_the_same_bytes_on_three_sites_and_come_back_from_each_alone(
    recoverd: Controller, backup_lab: Lab
) -> None:
    manifest = backed_up(recoverd)
    assert (manifest.kind, manifest.source, manifest.files, manifest.missing) == ("files", HOST, 10, 0)
    assert keys.LIST in {part.name for part in manifest.parts}
    first = sums(backup_lab, "own", manifest)
    assert len(first) == len(manifest.parts) + 2 > 5
    assert all(sums(backup_lab, site, manifest) == first for site in SITES)
    found = looked(recoverd, archive=ARCHIVE)
    assert [found.health(site, manifest.set) for site in SITES] == [Health.GOOD] * 3
    assert recoverd_command(["sites", NAME]) == recoverd_command(["sites", "verify", NAME]) == 0
    before = shown(backup_lab, HOST, TREE)
    for site in SITES:
        run = recoverd.run("restore", site=site, host="backup-1")
        assert run.state == "succeeded", run.summary
        assert shown(backup_lab, "backup-1", work_of(run.id) + TREE) == before
        note = 'import os,sys; print(os.getxattr(sys.argv[1], "user.note"))'
        assert backup_lab.run("backup-1", ["python3", "-c", note, f"{work_of(run.id)}{TREE}/setuid"]).out == "b'kept'\n"
        assert recoverd.run("undo", run=run.id).state == "succeeded"
        assert backup_lab.run("backup-1", f"ls /var/lib/recoverd/restore/{ARCHIVE}").out == ""
    left = backup_lab.run(HOST, "find /var/lib/recoverd -type f ! -name '*.lock' ! -name '*.epoch'").out
    assert left == ""


def test_one_file_is_put_in_its_place_and_what_was_there_comes_back(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    backup_lab.run(HOST, f"echo 'listen 8080 # mistake' > {TREE}/main.conf; chmod 0600 {TREE}/main.conf; rm {ALONE}")
    run = recoverd.run("restore", path=[f"{TREE}/main.conf", ALONE], into="replace")
    assert run.state == "succeeded", run.summary
    assert "1 files are replaced and 1 are new" in run.summary
    assert content(backup_lab, f"{TREE}/main.conf") == "listen 80\n"
    assert backup_lab.run(HOST, f"stat -c '%a %Y' {TREE}/main.conf").out == "644 1580608922\n"
    assert content(backup_lab, ALONE) == "alone\n"
    kept = f"/var/lib/recoverd/kept/{ARCHIVE}/{run.id}/files{TREE}/main.conf"
    assert content(backup_lab, kept) == "listen 8080 # mistake\n"
    assert [name(entry) for entry in recoverd.entries(run, "step.done") if "kept" in entry.body["data"]] == [
        "put_in_places"
    ]
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "succeeded", undo.summary
    assert content(backup_lab, f"{TREE}/main.conf") == "listen 8080 # mistake\n"
    assert backup_lab.run(HOST, f"stat -c %a {TREE}/main.conf; ls {ALONE}", check=False).out == "600\n"
    assert backup_lab.run(HOST, f"ls -A /etc {TREE} | grep recoverd-", check=False).out == ""


def test_a_whole_tree_is_put_back_and_what_the_set_does_not_have_is_said(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    before = shown(backup_lab, HOST, TREE)
    backup_lab.run(
        HOST, f"cd {TREE} && rm -rf conf.d 'sites enabled' twin.conf setuid && echo bad > main.conf && chmod 700 ."
    )
    broken = shown(backup_lab, HOST, TREE)
    backup_lab.run(HOST, f"echo 'load evil' > {TREE}/extra.conf; touch -d 2020-01-01 {TREE}")
    run = recoverd.run("restore", into="replace")
    assert run.state == "succeeded", run.summary
    assert f"the set does not have, and so they stay: {TREE}/extra.conf" in run.summary
    backup_lab.run(HOST, f"rm {TREE}/extra.conf")
    backup_lab.run(HOST, f"touch -r {TREE}/main.conf {TREE}")
    times = lambda text: re.sub(r"(?m)^(\.\|.*)\|[0-9.]+$", r"\1", text)  # noqa: E731  # the tree's own time has just changed
    assert times(shown(backup_lab, HOST, TREE)) == times(before)
    assert backup_lab.run(HOST, f"stat -c %h {TREE}/twin.conf").out == "2\n"
    assert recoverd.run("undo", run=run.id).state == "succeeded"
    dirs = lambda text: re.sub(r"(?m)^(\S+\|d\|.*)\|[0-9]+\|\|[0-9.]+$", r"\1", times(text))  # noqa: E731
    assert dirs(shown(backup_lab, HOST, TREE)) == dirs(broken)


def test_an_undo_does_not_write_over_what_somebody_has_changed_since(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    run = recoverd.run("restore", path=ALONE, into="replace")
    assert run.state == "succeeded", run.summary
    backup_lab.run(HOST, f"echo 'changed by hand' > {ALONE}")
    undo = recoverd.run("undo", run=run.id)
    assert undo.state == "refused"
    assert "the world has moved on" in undo.summary
    assert content(backup_lab, ALONE) == "changed by hand\n"


def test_replacing_waits_for_consent_where_the_inventory_asks_for_it(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    edited(recoverd, "{consent: act}", "{consent: ask}")
    backup_lab.run(HOST, f"echo other > {ALONE}")
    run = recoverd.run("restore", path=ALONE, into="replace")
    assert run.state == "waiting"
    assert content(backup_lab, ALONE) == "other\n"


@pytest.mark.parametrize(
    ("procedure", "step", "when"),
    [
        ("backup", "begin_stream(web-config.app-1,app-1,{set})", "before"),
        ("backup", "ship(web-config.app-1,app-1,{set},second)", "before"),
        ("backup", "seal(web-config.app-1,{set},own)", "after"),
        ("restore", "fetch_parts(web-config.app-1,app-1)", "before"),
        ("restore", "put_in_places(web-config.app-1,app-1)", "before"),
    ],
)
def test_killed_in_the_middle_it_goes_on(
    recoverd: Controller, backup_lab: Lab, procedure: str, step: str, when: str
) -> None:
    if procedure == "restore":
        backed_up(recoverd)
        backup_lab.run(HOST, f"echo bad > {ALONE}")
    run = recoverd.request(procedure, **({"path": ALONE, "into": "replace"} if procedure == "restore" else {}))
    made = keys.set_id(run.created_at, run.id)
    assert killed(run, step.format(set=made), when)
    run = recoverd.execute(run)
    assert run.state == "succeeded", run.summary
    if procedure == "backup":
        found = looked(recoverd, archive=ARCHIVE)
        assert [one.set for one in found.manifests] == [made]
        assert [found.health(site, made) for site in SITES] == [Health.GOOD] * 3
    else:
        assert content(backup_lab, ALONE) == "alone\n"
        kept = f"/var/lib/recoverd/kept/{ARCHIVE}/{run.id}/files{ALONE}"
        assert content(backup_lab, kept) == "bad\n", "what was there was kept once, not what was put there"


def test_an_unpacking_that_was_killed_on_its_host_begins_anew(recoverd: Controller, backup_lab: Lab) -> None:
    count = len(backed_up(recoverd).stream)
    run = recoverd.request("restore")
    assert killed(run, f"begin_unpacking(web-config.app-1,app-1,{count})", "after")
    holders = "find /proc/[0-9]*/fd -lname '*/unpack/lock' 2>/dev/null | cut -d/ -f3 | sort -u"
    assert backup_lab.run(HOST, f"{holders} | xargs kill -9; {holders}").out == ""
    run = recoverd.execute(run)
    assert run.state == "succeeded", run.summary
    assert shown(backup_lab, HOST, work_of(run.id) + TREE) == shown(backup_lab, HOST, TREE)


def test_a_damaged_site_is_passed_over_and_healed(recoverd: Controller, backup_lab: Lab) -> None:
    manifest = backed_up(recoverd)
    for site, part in (("own", manifest.parts[0].name), ("second", keys.LIST)):
        host, path = PATHS[site]
        file = f"{path}/{keys.set_key(ARCHIVE, manifest.set, part)}"
        backup_lab.run(host, other_byte(file, 100))
    run = recoverd.run("restore", site="own,second")
    assert run.state == "succeeded", run.summary
    assert shown(backup_lab, HOST, work_of(run.id) + TREE) == shown(backup_lab, HOST, TREE)
    healed = recoverd.run("heal")
    assert healed.state == "succeeded", healed.summary
    found = looked(recoverd, archive=ARCHIVE)
    assert [found.health(site, manifest.set) for site in SITES] == [Health.GOOD] * 3


def test_of_several_hosts_one_that_fails_keeps_no_other_from_its_backup(recoverd: Controller, backup_lab: Lab) -> None:
    edited(recoverd, "    hosts: [app-1]", "    hosts: [app-1, db-3]")
    run = recoverd.run("backup")
    assert run.state == "failed"
    assert "1 of 2 hosts are not backed up: db-3: " in run.summary
    assert len(looked(recoverd, archive=ARCHIVE).manifests) == 1
    backup_lab.run("db-3", f"mkdir -p {TREE} && echo three > {TREE}/main.conf")
    try:
        run = recoverd.run("backup", host="db-3")
        assert run.state == "succeeded", run.summary
        assert [one.source for one in looked(recoverd, archive=f"{NAME}.db-3").manifests] == ["db-3"]
        assert recoverd.run("restore").state == "refused", "nobody says whose files"
        run = recoverd.run("restore", host="backup-1", of="db-3")
        assert run.state == "succeeded", run.summary
        work = f"/var/lib/recoverd/restore/{NAME}.db-3/{run.id}/data"
        assert content(backup_lab, f"{work}{TREE}/main.conf", "backup-1") == "three\n"
    finally:
        backup_lab.run("db-3", f"rm -rf {TREE}")


def test_a_path_that_is_not_there_is_said_and_no_older_set_goes(recoverd: Controller, backup_lab: Lab) -> None:
    edited(recoverd, "    hosts: [app-1]", "    retention: {sets: 1}\n    hosts: [app-1]")
    first = backed_up(recoverd)
    backup_lab.run(HOST, f"rm {ALONE}")
    run = recoverd.run("backup")
    assert run.state == "succeeded"
    assert f"NOT THERE: {ALONE}" in run.summary
    found = looked(recoverd, read=False, archive=ARCHIVE)
    assert [one.missing for one in found.manifests] == [0, 1]
    back = recoverd.run("restore", to=f"set={first.set}", path=ALONE, into="replace")
    assert back.state == "succeeded", back.summary
    assert content(backup_lab, ALONE) == "alone\n"
    backup_lab.run(HOST, f"rm -rf {TREE} {ALONE}")
    run = recoverd.run("backup")
    assert run.state == "failed"
    assert f"none of its paths is there: {TREE} {ALONE}" in run.summary


def test_what_the_set_does_not_have_or_a_link_would_lead_away_is_refused(recoverd: Controller, backup_lab: Lab) -> None:
    backed_up(recoverd)
    run = recoverd.run("restore", path=[ALONE, "/etc/web/no such file"])
    assert (run.state, recoverd.changed_nothing(run)) == ("refused", True)
    assert "does not have /etc/web/no such file" in run.summary
    backup_lab.run(
        HOST, f"mv {TREE}/conf.d /tmp/elsewhere; ln -s /tmp/elsewhere {TREE}/conf.d; echo x > /tmp/elsewhere/random"
    )
    run = recoverd.run("restore", path=f"{TREE}/conf.d/random", into="replace")
    assert run.state in {"refused", "failed"}
    assert f"{TREE}/conf.d/random would be written through the link {TREE}/conf.d" in run.summary
    assert content(backup_lab, "/tmp/elsewhere/random") == "x\n"


def test_the_commands_know_files_and_say_where_they_do_not_fit(
    recoverd: Controller, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recoverd_command(["plan", "backup", NAME]) == 0
    assert recoverd_command(["plan", "failover", NAME]) == 2
    backed_up(recoverd)
    assert recoverd_command(["plan", "restore", NAME, "--path", ALONE, "--into", "replace"]) == 0
    assert recoverd_command(["check", NAME]) == 0
    capsys.readouterr()
    assert recoverd_command(["sites", "files", NAME, "--path", f"{TREE}/sites enabled", "-o", "json"]) == 0
    shown = {one["path"]: one for one in json.loads(capsys.readouterr().out)}
    assert shown[f"{TREE}/sites enabled/ünï -> cødé"]["sha256"] == hashlib.sha256(b"c").hexdigest()
    assert shown[f"{TREE}/sites enabled/main"]["target"] == "../main.conf"
    assert recoverd_command(["plan", "restore", NAME, "--table", "orders"]) == 2
    assert recoverd_command(["plan", "restore", NAME, "--to", "2020-01-01 00:00Z"]) == 3


def test_by_hand_with_standard_tools_one_file_and_all_files_come_back(recoverd: Controller, backup_lab: Lab) -> None:
    manifest = backed_up(recoverd)
    work = "/var/lib/recoverd/by-hand"
    backup_lab.run("backup-1", f"rm -rf {work}; install -d -m 0700 {work}")
    for file, secret in (("identity", "age-identity"), ("trusted.pem", "backup-signing.pub.pem")):
        backup_lab.run("backup-1", f"cat >{work}/{file}", stdin=backup_lab.layout.secret(secret).read_text())
    known = f"SET=/srv/backups/{ARCHIVE}/sets/{manifest.set} WORK={work} INTO={work}/all FILE=etc/web/main.conf "
    known += f"IDENTITY={work}/identity TRUSTED={work}/trusted.pem"
    whole, one = re.findall(r"^```sh\n(.*?)^```$", BY_HAND.read_text(), flags=re.MULTILINE | re.DOTALL)
    ran = backup_lab.run("backup-1", f"cd {work}; {known}; {whole}", timeout_s=60, check=False)
    assert ran.ok, ran.err
    assert shown(backup_lab, "backup-1", f"{work}/all{TREE}") == shown(backup_lab, HOST, TREE)
    ran = backup_lab.run("backup-1", f"cd {work}; {known}; INTO={work}/one; {one}", timeout_s=60, check=False)
    assert ran.ok, ran.err
    assert backup_lab.run("backup-1", f"cd {work}/one && find . -type f").out == "./etc/web/main.conf\n"
    assert content(backup_lab, f"{work}/one{TREE}/main.conf", "backup-1") == "listen 80\n"
