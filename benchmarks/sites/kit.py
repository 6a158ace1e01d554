"""A lab with three sites and one more host to restore on, a database of a given size, links of a given rate, timed runs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.kit import SERVICE, Controller
from lab import Lab, up
from lab.cluster import BIN, DATA
from lab.sql import ask, connected, inside
from recoverd.journal import Entry, RunRow

NAME = f"bs{os.getpid()}"
RESTORE_HOST = "restore-1"
"""Where restores stand. It holds no site, so that every byte comes over a link."""
SITES: Mapping[str, str] = {"own": "db-2", "second": "backup-1", "offsite": "s3-1"}
"""The host of each site."""
RATE_KBIT = 200_000
LOAD_TIMEOUT_S = 600.0
# Some 900 bytes a row: 400 that nothing packs, and text made of the same two thousand pieces again and again.
_TABLES = """
create extension pgcrypto; create extension amcheck;
create table pieces as select array_agg(words) as made from (
  select (select string_agg(substr(md5((i * 17 + j)::text), 1, 2 + j % 7), ' ') from generate_series(1, 18) j) as words
  from generate_series(1, 2000) i) each;
create table events (id bigint, at timestamptz not null, customer int not null, note text, payload bytea);
"""
_INDEXES = "alter table events add primary key (id); create index on events (customer)"
_ROWS = """
insert into events select i, now() - i * interval '1 s', i %% 50000,
  made[1 + (random() * 1999)::int] || made[1 + (random() * 1999)::int] ||
  made[1 + (random() * 1999)::int] || made[1 + (random() * 1999)::int], gen_random_bytes(400)
from pieces, generate_series(%s::bigint, %s) i
"""
_BYTES_A_ROW = 980
"""With the indexes; measured."""
_TAKE = """
import socket, sys, time
peer, size = socket.create_server((sys.argv[1], 9009)).accept()[0], 0
peer.settimeout(60)
began = time.monotonic()
while got := peer.recv(1 << 16):
    size += len(got)
print(size * 8e-6 / (time.monotonic() - began))
"""
_GIVE = """
import socket, sys, time
for turn in range(100):
    try:
        peer = socket.create_connection((sys.argv[1], 9009), timeout=60)
        break
    except OSError:
        time.sleep(0.1)
peer.sendall(bytes(int(sys.argv[2])))
peer.close()
"""
_LAG = "select coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::bigint, count(*) from pg_stat_replication"


@contextmanager
def lab_with_sites(directory: Path, size_mb: int, say: Callable[[str], None]) -> Iterator[Lab]:
    """A lab of our own with a database of some size, taken away at the end."""
    os.environ["RECOVERD_LAB_DIR"] = str(directory)
    room = 4 * size_mb + 2048  # the images are sparse: only what is written takes room
    try:
        lab = up(NAME, hosts=(RESTORE_HOST,), backups=True, disk_mb=room, backup_disk_mb=room)
        _settle(lab.inventory)
        began = time.monotonic()
        fill(lab, size_mb)
        say(f"a database of {size_mb} MiB on two servers: {time.monotonic() - began:.0f} s")
        yield lab
    finally:
        Lab.remove(NAME)


def _settle(inventory: Path) -> None:
    """Parts as large as they are by default, restores on a host without a site, and sets alone: no WAL beside them."""
    path = inventory / "backups.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.strip().startswith("part_bytes:")]
    text = "\n".join(lines).replace("drill_host: backup-1", f"drill_host: {RESTORE_HOST}")
    path.write_text(f"{text}\n    wal: {{enabled: false}}\n")
    policies = inventory / "policies.yaml"
    policies.write_text(policies.read_text().replace("cooldown_s: 600", "cooldown_s: 0"))


def fill(lab: Lab, size_mb: int) -> None:
    """Rows until the database is about that large, on db-1 and db-2; db-3 is stopped, for nothing here needs it.

    Without fsync meanwhile, which would be most of the time; all is on disk at the end.
    """
    primary = lab.host("db-1")
    rows = (size_mb << 20) // _BYTES_A_ROW
    lab.run("db-3", f"{BIN}/pg_ctl -s -w -m fast -D {DATA} stop", user="postgres", timeout_s=60)
    _set(lab, max_wal_size="4GB", max_slot_wal_keep_size="-1", fsync="off")
    with connected(inside(primary, "orders"), timeout_s=5) as orders:
        ask(orders, "select pg_drop_replication_slot('db_3')", timeout_s=30)
        for statement in filter(str.strip, _TABLES.split(";")):
            ask(orders, statement, timeout_s=30)
        for first in range(1, rows, 100_000):
            ask(orders, _ROWS, (first, min(rows, first + 99_999)), timeout_s=LOAD_TIMEOUT_S)
        for statement in (*filter(str.strip, _INDEXES.split(";")), "vacuum analyze events", "checkpoint"):
            ask(orders, statement, timeout_s=LOAD_TIMEOUT_S)
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while ask(orders, _LAG) != [(0, 1)]:
            if time.monotonic() > deadline:
                raise TimeoutError("the standby does not come up to the primary")
            time.sleep(0.2)
    with connected(inside(lab.host("db-2")), timeout_s=5) as standby:
        ask(standby, "checkpoint", timeout_s=LOAD_TIMEOUT_S)  # not in the middle of what is measured
    _set(lab, fsync="on")
    os.sync()


def _set(lab: Lab, **settings: str) -> None:
    for host in ("db-1", "db-2"):
        with connected(inside(lab.host(host)), timeout_s=5) as server:
            for name, value in settings.items():
                ask(server, f"alter system set {name} = '{value}'", timeout_s=10)
            ask(server, "select pg_reload_conf()", timeout_s=10)


@contextmanager
def limited(lab: Lab, rate_kbit: int = RATE_KBIT) -> Iterator[None]:
    """Each site's own link is slow, each way; that of the host that restores is as fast as ever."""
    try:
        for host in SITES.values():
            lab.break_("slow-link", host, rate_kbit=rate_kbit)
        yield
    finally:
        for host in SITES.values():
            lab.mend("slow-link", host)


def link_mbit(lab: Lab, host: str, megabytes: int = 40) -> float:
    """What really passes from a host to the one that restores, in one TCP stream; Mbit/s."""
    to, at = lab.host(RESTORE_HOST), lab.host(host)
    prefix = ["ip", "netns", "exec"]
    with subprocess.Popen(
        [*prefix, to.namespace, sys.executable, "-c", _TAKE, to.address], stdout=subprocess.PIPE, text=True
    ) as taking:
        try:
            give = [*prefix, at.namespace, sys.executable, "-c", _GIVE, to.address, str(megabytes << 20)]
            subprocess.run(give, timeout=60, check=True)
            out, _ = taking.communicate(timeout=10)
        finally:
            taking.kill()
    return float(out)


@dataclass(frozen=True)
class Timed:
    """How long something took and where its time went, in seconds."""

    total_s: float
    phases: Mapping[str, float]
    said: str = ""


def timed_run(recoverd: Controller, procedure: str, *options: str) -> tuple[RunRow, list[Entry]]:
    """Start a run as a person does, and wait for its end. Raises AssertionError when it did not succeed."""
    recoverd.command("run", procedure, SERVICE, "--reason", "a benchmark", "--wait", *options, check=False)
    journal = recoverd.journal()
    try:
        run = journal.list_runs(procedure=procedure, limit=1)[0]
        assert run.state == "succeeded", run.summary
        return run, list(journal.entries(run=run.id))
    finally:
        journal.close()


def seconds_of(run: RunRow) -> float:
    """From the request on disk to the end."""
    assert run.ended_at is not None
    return (run.ended_at - run.created_at).total_seconds()


def first(entries: Sequence[Entry], kind: str, step: str) -> float | None:
    """When a step was first written down as such; seconds since the epoch."""
    return next(
        (one.at.timestamp() for one in entries if one.kind == kind and (one.step or "").startswith(f"{step}(")), None
    )


def median_of(each: Sequence[Timed]) -> dict[str, Any]:
    """Median, least, greatest, and the median of each phase."""
    totals = [one.total_s for one in each]
    names = dict.fromkeys(name for one in each for name in one.phases)
    return {
        "median_s": round(statistics.median(totals), 2), "min_s": round(min(totals), 2), "max_s": round(max(totals), 2),
        "phases_s": {name: round(statistics.median(one.phases.get(name, 0.0) for one in each), 2) for name in names},
        "said": each[-1].said,
    }  # fmt: skip
