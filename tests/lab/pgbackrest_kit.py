"""A lab whose primary is backed up by pgBackRest to three repositories, as its administrator would have set it up."""

from __future__ import annotations

import time
from contextlib import closing

from backup_kit import fill, other_byte
from failover_kit import SERVICE, Controller
from lab_kit import connect, value

from lab import Lab
from lab.layout import BACKUP_HOST, BUCKET, S3_PORT
from lab.s3 import CA_IN_HOSTS

PRIMARY, DRILL = "db-1", BACKUP_HOST
STANZA, ACCOUNT = "orders", "postgres"
OWN, SECOND = "/var/lib/postgresql/pgbackrest", "/srv/backups/pgbackrest"
CONFIG = "/etc/pgbackrest.conf"
SITES = ("own", "second", "offsite")
PLACES = {"own": (PRIMARY, OWN), "second": (BACKUP_HOST, SECOND)}
HOME = "/var/lib/postgresql"
SSH_CONFIG = "Host *\n  BatchMode yes\n  ConnectTimeout 3\n  StrictHostKeyChecking yes\n"
COMMON = f"""\
repo1-path={OWN}
repo1-retention-full=9
repo2-path={SECOND}
repo2-retention-full=9
repo3-type=s3
repo3-path=/pgbackrest
repo3-retention-full=9
repo3-s3-bucket={BUCKET}
repo3-s3-endpoint=s3-1
repo3-s3-region=us-east-1
repo3-s3-uri-style=path
repo3-storage-port={S3_PORT}
repo3-storage-ca-file={CA_IN_HOSTS}
archive-async=y
spool-path={HOME}/pgbackrest-spool
lock-path={HOME}/pgbackrest-lock
log-level-file=off
start-fast=y
compress-type=zst
io-timeout=15
protocol-timeout=30
db-timeout=25
archive-timeout=30
"""
"""The S3 endpoint is given by name: up to 2.45 an address in a certificate is not compared with that of the server."""


def set_up(lab: Lab) -> None:
    """Let both hosts log in to each other as postgres, write pgBackRest's configuration, and begin to archive."""
    keys = {host: _key(lab, host) for host in (PRIMARY, DRILL)}
    for host, other in ((PRIMARY, DRILL), (DRILL, PRIMARY)):
        place = f"{HOME}/.ssh"
        lab.run(host, f"cat >{place}/authorized_keys; chmod 600 {place}/*", user=ACCOUNT, stdin=keys[other])
        host_key = lab.run(other, "cat /etc/ssh/ssh_host_ed25519_key.pub").out.split()[:2]
        known = f"{other},{lab.host(other).address} {' '.join(host_key)}\n"
        lab.run(host, f"cat >{place}/known_hosts", user=ACCOUNT, stdin=known)
        lab.run(host, f"cat >{place}/config", user=ACCOUNT, stdin=SSH_CONFIG)
        # sshd without PAM shuts an account out whose password is locked by "!", as useradd leaves it
        lab.run(host, "sed -i 's/^postgres:!*:/postgres:*:/' /etc/shadow")
        lab.run(host, f"cat >{CONFIG} && chown postgres {CONFIG} && chmod 600 {CONFIG}", stdin=configuration(lab, host))
    command = f"pgbackrest --config={CONFIG} --stanza={STANZA} archive-push %p"
    settings = f"archive_mode = on\narchive_command = '{command}'\n"
    lab.run(PRIMARY, f"cat >>{HOME}/data/postgresql.auto.conf", user=ACCOUNT, stdin=settings)
    binary = f"{HOME}/server/bin/pg_ctl -D {HOME}/data -l {HOME}/postgresql.log -s -w"
    lab.run(PRIMARY, f"{binary} -m fast restart", user=ACCOUNT, timeout_s=60)
    # up to 2.45 `stanza-create` reaches all repositories from the server's own host
    pgbackrest(lab, PRIMARY, "stanza-create")
    fill(lab)
    # a configuration that names both the server and another repository as remote is refused in a backup
    for host, repo, more in ((PRIMARY, 1, ()), (DRILL, 2, ("--reset-repo1-host",)), (PRIMARY, 3, ())):
        pgbackrest(lab, host, f"--repo={repo}", "--type=full", *more, "backup")


def configuration(lab: Lab, host: str) -> str:
    """pgBackRest's configuration: the other's repository is reached over SSH, as the account there."""
    access, secret = (lab.layout.secret(f"s3-{kind}-key").read_text().strip() for kind in ("access", "secret"))
    text = f"[global]\n{COMMON}repo3-s3-key={access}\nrepo3-s3-key-secret={secret}\n"
    other, number = (DRILL, 2) if host == PRIMARY else (PRIMARY, 1)
    text += f"repo{number}-host={other}\nrepo{number}-host-user={ACCOUNT}\nrepo{number}-host-config={CONFIG}\n"
    text += f"[{STANZA}]\npg1-path={HOME}/data\npg1-socket-path=/var/run/postgresql\n"
    if host == DRILL:
        text += f"pg1-host={PRIMARY}\npg1-host-user={ACCOUNT}\npg1-host-config={CONFIG}\n"
    return text


def pgbackrest(lab: Lab, host: str, *words: str, timeout_s: float = 90, check: bool = True) -> str:
    """What pgBackRest says to a command."""
    argv = ["pgbackrest", f"--config={CONFIG}", f"--stanza={STANZA}", *words]
    return lab.run(host, argv, user=ACCOUNT, timeout_s=timeout_s, check=check).out


def _key(lab: Lab, host: str) -> str:
    made = f"mkdir -p -m 700 {HOME}/.ssh; [ -e {HOME}/.ssh/id_ed25519 ] || "
    made += f"ssh-keygen -q -t ed25519 -N '' -f {HOME}/.ssh/id_ed25519; cat {HOME}/.ssh/id_ed25519.pub"
    return lab.run(host, made, user=ACCOUNT).out


def describe(recoverd: Controller, more: str = "") -> None:
    """The inventory of a controller with this engine, instead of the built-in one."""
    (recoverd.inventory / "backups.yaml").write_text(
        f"""\
backups:
  {SERVICE}:
    engine: pgbackrest
    stanza: {STANZA}
    config: {CONFIG}
    host: {PRIMARY}
    sites:
      - {{name: own, repo: 1, host: {PRIMARY}}}
      - {{name: second, repo: 2, host: {BACKUP_HOST}}}
      - {{name: offsite, repo: 3, endpoint: "{recoverd.lab.layout.s3_endpoint}"}}
    restore:
      drill_host: {DRILL}
{more}"""
    )


def archive_now(lab: Lab, *, timeout_s: float = 60) -> str:
    """End the current WAL segment and wait until every repository has it; its name."""
    with closing(connect(lab, lab.host(PRIMARY).address)) as session:  # in one transaction statistics stand still
        name = str(value(session, "select pg_walfile_name(pg_switch_wal())"))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if str(value(session, "select last_archived_wal from pg_stat_archiver")) >= name:
                return name
            time.sleep(0.1)
    seen = f"tail -n 20 {HOME}/postgresql.log; ps ax | grep '[p]gbackrest'; find {HOME}/pgbackrest-spool -type f | tail -n 5"
    raise AssertionError(f"{name} was not archived: {lab.run(PRIMARY, seen).out}")


def file_of(lab: Lab, site: str, pattern: str) -> str:
    """The path of the one file in a repository on a host whose path fits."""
    host, path = PLACES[site]
    found = lab.run(host, f"find {path} -path '{pattern}' -type f | sort").out.split()
    assert found, pattern
    return found[0]


def flip_in(lab: Lab, site: str, path: str) -> None:
    """Change one byte of a file, as a bad disk does."""
    lab.run(PLACES[site][0], other_byte(path, 400))


def add_row(lab: Lab, words: str) -> None:
    """A row that a restore must have, or must not have."""
    with connect(lab, lab.host(PRIMARY).address, database="orders") as orders, orders.cursor() as cursor:
        cursor.execute("create table if not exists marks (words text, at timestamptz default clock_timestamp())")
        cursor.execute("insert into marks (words) values (%s)", (words,))
