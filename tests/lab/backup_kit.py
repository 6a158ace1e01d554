"""What the tests of backups and restores share: a database that fills some parts, and ways to spoil what a site holds."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from failover_kit import SERVICE, Controller
from lab_kit import connect, value

from lab import Lab
from lab.layout import BUCKET
from recoverd.backup.archive import Entry, Index, hour_of
from recoverd.backup.keys import index_key
from recoverd.backup.manifest import Manifest
from recoverd.execution import rehearsal
from recoverd.inventory import load
from recoverd.journal import RunRow
from tasks.sets import Survey, survey

CHILD = Path(__file__).with_name("kill_child.py")
PATHS = {"own": ("db-2", "/var/lib/postgresql/backups"), "second": ("backup-1", "/srv/backups")}
ROWS = 120_000


def fill(lab: Lab) -> str:
    """A table that fills several parts even when it is packed; its fingerprint."""
    with connect(lab, lab.layout.virtual_address, database="orders") as orders, orders.cursor() as cursor:
        cursor.execute("create extension if not exists amcheck")
        cursor.execute("create table goods (id int primary key, words text)")
        cursor.execute(
            "insert into goods select i, md5(i::text) || md5((i * 7)::text) from generate_series(1, %s) i", (ROWS,)
        )
        return str(value(orders, FINGERPRINT))


FINGERPRINT = "select md5(string_agg(id || words, ',' order by id)) from goods"


def held(lab: Lab, site: str, key: str) -> bytes:
    """The bytes of a file on a site."""
    if site == "offsite":
        return lab.s3_client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    host, path = PATHS[site]
    return bytes.fromhex(lab.run(host, f"od -An -v -tx1 {path}/{key} | tr -d ' \n'", timeout_s=30).out.strip())


def flip(lab: Lab, site: str, key: str) -> None:
    """Change one byte in the middle of a file, as a bad disk does; its size stays."""
    host, path = PATHS[site]
    lab.run(host, other_byte(f"{path}/{key}", 1000))


def other_byte(path: str, at: int) -> str:
    """A command that makes a byte of a file another one, whatever it is: of encrypted bytes nobody knows any."""
    byte = f"$(dd if={path} bs=1 skip={at} count=1 status=none | od -An -tu1)"
    other = f'printf "\\\\$(printf %o $((({byte} + 1) % 256)))"'
    return f"{other} | dd of={path} bs=1 seek={at} conv=notrunc status=none"


def lose(lab: Lab, site: str, key: str) -> None:
    """Remove a file."""
    if site == "offsite":
        lab.s3_client().delete_object(Bucket=BUCKET, Key=key)
    else:
        host, path = PATHS[site]
        lab.run(host, f"rm {path}/{key}")


def destroy(lab: Lab, site: str, key: str) -> None:
    """Remove a file with all that a bucket keeps of it."""
    if site != "offsite":
        lose(lab, site, key)
        return
    client = lab.s3_client()
    for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=key):
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])


# A receiver outlives the recoverd that began it, also that of another test: all of it hold the lock of its job.
END_RECEIVERS = """
for turn in $(seq 50); do
    holders=$(find /proc/[0-9]*/fd -maxdepth 1 -lname '/var/lib/recoverd/wal/*' 2>/dev/null | cut -d/ -f3 | sort -u)
    [ -n "$holders" ] || break
    kill -KILL $holders 2>/dev/null
    sleep 0.1
done
"""


def empty_sites(lab: Lab) -> None:
    """Nothing on any site and nobody who writes there, and a database that fills several parts."""
    for host, path in PATHS.values():
        lab.run(host, f"{END_RECEIVERS}rm -rf {path}/* /var/lib/recoverd/* /dev/shm/recoverd")
    destroy(lab, "offsite", "")
    with connect(lab, lab.layout.virtual_address, database="orders") as orders:
        there = value(orders, "select to_regclass('goods') is not null")
    if not there:
        fill(lab)


def looked(recoverd: Controller, *, read: bool = True, archive: str = SERVICE) -> Survey:
    """What the sites hold now."""
    with rehearsal("sites", archive, load(recoverd.inventory)):
        return survey(archive, read=read)


def killed(run: RunRow, step: str, when: str = "before") -> bool:
    """Whether a process that executes the run was killed right before, or after, it wrote the outcome of a step down."""
    argv = [sys.executable, str(CHILD), run.id, when, "step.done", step]
    done = subprocess.run(argv, timeout=120, capture_output=True, text=True, check=False)
    return done.returncode == -signal.SIGKILL


RECEIVED = "/var/lib/postgresql/received"
BINARIES = "/var/lib/postgresql/server/bin"
SITES = ("own", "second", "offsite")


def begin_archiving(lab: Lab, primary: str = "db-1") -> None:
    """From now on the primary keeps all WAL for `archive_wal`."""
    lab.run("backup-1", f"rm -rf {RECEIVED}; install -d -o postgres -m 0700 {RECEIVED}")
    with connect(lab, lab.host(primary).address) as connection:
        value(
            connection,
            "select count(pg_drop_replication_slot(slot_name)) from pg_replication_slots where slot_name = 'archiver'",
        )
        value(connection, "select pg_create_physical_replication_slot('archiver', true)")


def archive_wal(
    lab: Lab, *, primary: str = "db-1", seq: int = 1, sites: Sequence[str] = SITES, sign: bool = True
) -> Index:
    """Bring all WAL that there is by now to the sites, as a receiver does: packed, encrypted, with a signed index.

    Received is all of it now, says the index; the last segment is there as far as it has come. What was brought before is not
    brought again.
    """
    with connect(lab, lab.host(primary).address) as connection:
        value(connection, "select pg_switch_wal()")
        end = str(value(connection, "select pg_logical_emit_message(true, 'lab', 'the end')"))
        value(connection, "select pg_logical_emit_message(true, 'lab', 'past the end')")
        system = str(value(connection, "select system_identifier from pg_control_system()"))
    source = f"host={primary} user=replicator passfile=/var/lib/postgresql/.pgpass"
    receive = f"{BINARIES}/pg_receivewal -w -D {RECEIVED} -d '{source}' -S archiver --no-loop --endpos={end}"
    lab.run("backup-1", receive, user="postgres", timeout_s=60)
    high, _, low = end.partition("/")
    position = (int(high, 16) << 32) + int(low, 16)
    recipient = lab.layout.secret("age-recipient").read_text().strip()
    at, entries = datetime.now(timezone.utc), []
    sent = set(lab.run("backup-1", f"cat {RECEIVED}/.sent", check=False).out.split())
    for name in sorted(set(lab.run("backup-1", f"ls {RECEIVED}").out.split()) - sent):
        segment, growing = name.removesuffix(".partial"), name.endswith(".partial")
        seal = f"cd {RECEIVED} && zstd -q -c {name} | age -e -r {recipient} | base64 -w 0"
        content = _bytes(lab.run("backup-1", seal, timeout_s=60).out)
        entries.append(
            Entry(
                name=segment, partial_end=position if growing else 0, size=len(content), first_at=at, last_at=at,
                sha256=hashlib.sha256(content).hexdigest(), md5=hashlib.md5(content).hexdigest(),  # noqa: S324
            )
        )  # fmt: skip
        for site in sites:
            store(lab, site, entries[-1].key(SERVICE), content)
        lab.run("backup-1", f"[ {growing:d} = 1 ] || echo {name} >>{RECEIVED}/.sent")
    page = Index(service=SERVICE, hour=hour_of(at), seq=seq, system_identifier=system, entries=tuple(entries))
    document, signature = page.signed(lab.layout.secret("backup-signing.pem").read_text())
    for site in sites if sign else ():
        store(lab, site, index_key(SERVICE, page.hour, seq), document)
        store(lab, site, index_key(SERVICE, page.hour, seq, "sig"), signature)
    return page


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)


def store(lab: Lab, site: str, key: str, content: bytes) -> None:
    """Put a file on a site."""
    if site == "offsite":
        lab.s3_client().put_object(Bucket=BUCKET, Key=key, Body=content)
        return
    host, path = PATHS[site]
    put = f"mkdir -p $(dirname {path}/{key}) && base64 -d >{path}/{key}"
    lab.run(host, put, stdin=base64.b64encode(content).decode(), timeout_s=30)


def part_keys(manifest: Manifest) -> list[str]:
    """The keys of a set's parts."""
    return [f"{manifest.service}/sets/{manifest.set}/{part.name}" for part in manifest.parts]


def rewrite(lab: Lab, site: str, keys: list[str]) -> None:
    """Other bytes of the same size in each file, as ransomware that keeps the listing intact leaves them."""
    if site != "offsite":
        host, path = PATHS[site]
        for key in keys:
            lab.run(host, f"f={path}/{key}; n=$(stat -c %s $f); head -c $n /dev/urandom >$f")
        return
    client = lab.s3_client()
    for key in keys:
        size = client.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
        client.put_object(Bucket=BUCKET, Key=key, Body=os.urandom(size))


def put_file(lab: Lab, site: str, key: str, content: bytes) -> None:
    """Bytes of ours in the place of a file."""
    if site == "offsite":
        lab.s3_client().put_object(Bucket=BUCKET, Key=key, Body=content)
        return
    host, path = PATHS[site]
    lab.run(
        host, f"mkdir -p $(dirname {path}/{key}); base64 -d >{path}/{key}", stdin=base64.b64encode(content).decode()
    )


def stop_scratch(lab: Lab, run: RunRow, host: str = "backup-1") -> None:
    """End what a restore left running; a test's own sweep, whatever the test did."""
    work = f"/var/lib/recoverd/restore/{SERVICE}/{run.id}"
    pid = f"{work}/data/postmaster.pid"
    lab.run(
        host,
        f"[ ! -f {pid} ] || kill -INT $(head -1 {pid}); "
        f"for i in $(seq 100); do [ -f {pid} ] || break; sleep 0.1; done; rm -rf {work}",
        check=False,
    )
