"""The lab's PostgreSQL: one primary and two streaming standbys, set up as a careful administrator would."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from psycopg2 import sql

from lab.layout import BACKUP_HOST, DATABASE, Host, Layout
from lab.machine import run
from lab.sql import ask, connected, inside
from recoverd.errors import TimedOut

HOME = "/var/lib/postgresql"
DATA = f"{HOME}/data"
BIN = f"{HOME}/server/bin"
LOG = f"{HOME}/postgresql.log"
IDENTITIES = "local root postgres\nlocal postgres postgres\n"


def create(layout: Layout) -> None:
    """Build the cluster on booted hosts: initialise the first, copy it to the others, wait until they stream."""
    primary, *standbys = layout.databases
    initialise(layout, primary)
    start(layout, primary)
    fill(layout, primary)
    if layout.backups:
        write_pgpass(layout, layout.hosts[BACKUP_HOST])
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: clone(layout, host, primary), standbys))
    wait_for_standbys(primary, len(standbys))
    take_virtual_address(layout, primary)


def initialise(layout: Layout, host: Host) -> None:
    """Make an empty cluster on a host and write its configuration."""
    password = layout.secret("postgres").read_text()
    run(layout, host, f"umask 077; cat > {HOME}/initial-password", user="postgres", stdin=password)
    options = "--data-checksums --no-sync --locale=C.UTF-8 --encoding=UTF8 --username=postgres --auth=scram-sha-256"
    script = f"{BIN}/initdb {options} --pwfile={HOME}/initial-password -D {DATA} && rm {HOME}/initial-password"
    run(layout, host, script, user="postgres", timeout_s=60)
    write_pgpass(layout, host)
    run(layout, host, f"cat >> {DATA}/postgresql.conf", user="postgres", stdin=configuration(layout))
    run(layout, host, f"cat > {DATA}/pg_hba.conf", user="postgres", stdin=access(layout))
    run(layout, host, f"cat >> {DATA}/pg_ident.conf", user="postgres", stdin=IDENTITIES)


def configuration(layout: Layout) -> str:
    """The same on every host, so that any of them may become the primary."""
    names = ", ".join(f'"{host.name}"' for host in layout.databases)
    synchronous = f"synchronous_standby_names = 'ANY 1 ({names})'\n" if layout.sync else ""
    return f"""
listen_addresses = '*'
unix_socket_directories = '/var/run/postgresql'
wal_level = {layout.wal_level}
wal_log_hints = on
hot_standby = on
max_wal_senders = 12
max_replication_slots = 12
wal_keep_size = 64MB
max_slot_wal_keep_size = 256MB
max_wal_size = 256MB
wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
wal_receiver_timeout = 5s
wal_sender_timeout = 5s
shared_buffers = 32MB
max_connections = 100
fsync = on
log_line_prefix = '%m [%p] %q%u@%d '
{synchronous}"""


def access(layout: Layout) -> str:
    """pg_hba.conf: passwords from the lab's subnet, the operating system's word inside the host."""
    return f"""\
local  all          postgres                          peer map=local
local  all          all                               scram-sha-256
host   all          all         127.0.0.1/32          scram-sha-256
host   all          all         ::1/128               scram-sha-256
host   all          all         {layout.subnet:<21} scram-sha-256
host   replication  replicator  {layout.subnet:<21} scram-sha-256
"""


def write_pgpass(layout: Layout, host: Host) -> None:
    """The replication password, for `pg_basebackup`, `pg_receivewal` and the walreceiver."""
    password = layout.secret("replicator").read_text().strip()
    line = f"*:*:*:replicator:{password}\n"
    run(layout, host, f"umask 077; cat > {HOME}/.pgpass", user="postgres", stdin=line)


def fill(layout: Layout, primary: Host) -> None:
    """Roles, the application's database, a slot for every other member."""
    replicator, app = (layout.secret(name).read_text().strip() for name in ("replicator", "app"))
    statements = [
        sql.SQL("SET synchronous_commit = local"),  # there is no standby yet that could confirm
        sql.SQL("CREATE ROLE replicator LOGIN REPLICATION PASSWORD {}").format(sql.Literal(replicator)),
        sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(sql.Literal(app)),
        sql.SQL("CREATE DATABASE {} OWNER app").format(sql.Identifier(DATABASE)),
    ]
    slot = sql.SQL("SELECT pg_create_physical_replication_slot({}, true)")
    statements += [slot.format(sql.Literal(host.slot)) for host in layout.databases if host != primary]
    with connected(inside(primary), timeout_s=5) as connection:
        for statement in statements:
            ask(connection, statement.as_string(connection), timeout_s=20)


def clone(layout: Layout, host: Host, primary: Host) -> None:
    """Make `host` a streaming standby of `primary` from a base backup, and start it."""
    write_pgpass(layout, host)
    where = f"host={primary.address} port=5432 user=replicator application_name={host.name} passfile={HOME}/.pgpass"
    backup = f"{BIN}/pg_basebackup -d '{where}' -D {DATA} -X stream -S {host.slot} -c fast --no-sync"
    run(layout, host, backup, user="postgres", timeout_s=60)
    settings = f"primary_conninfo = '{where}'\nprimary_slot_name = '{host.slot}'\n"
    script = f"cat >> {DATA}/postgresql.auto.conf && touch {DATA}/standby.signal"
    run(layout, host, script, user="postgres", stdin=settings)
    start(layout, host)


def start(layout: Layout, host: Host) -> None:
    """Start PostgreSQL on a host, by its unit where it has one, and wait until it answers."""
    if layout.systemd:
        run(layout, host, ["systemctl", "start", layout.unit], timeout_s=40)
        return
    run(layout, host, f"{BIN}/pg_ctl -s -w -t 30 -D {DATA} -l {LOG} start", user="postgres", timeout_s=40)


def wait_for_standbys(primary: Host, count: int, *, timeout_s: float = 20) -> None:
    """Wait until `count` standbys stream from the primary. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    with connected(inside(primary)) as connection:
        while time.monotonic() < deadline:
            rows = ask(connection, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
            if rows[0][0] >= count:
                return
            time.sleep(0.05)
    raise TimedOut(f"the standbys do not stream from {primary.name}", f"see postgresql.log below {primary.dir.parent}")


def take_virtual_address(layout: Layout, host: Host) -> None:
    """Put the service's address on a host and tell the neighbours; the frame leaves at once, arping then waits a second."""
    address = layout.virtual_address
    tell = f"(arping -q -U -c 1 -I eth0 {address} </dev/null >/dev/null 2>&1 &)"
    run(layout, host, f"ip address add {address}/24 dev eth0 && {tell}")
