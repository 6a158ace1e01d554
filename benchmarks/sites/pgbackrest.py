"""pgBackRest for comparison: one repository on the second site's host, reached over SSH, packed and encrypted like ours.

    archive-push from db-1, the backup on the repository's host; the restore on the host that restores, with two processes

zstd level 3 and its own cipher (AES-256-CBC), for recoverd's sets are packed so and encrypted too. The restored server is
started, isolated, until it is out of recovery: only then is it worth as much as what recoverd hands over.
"""

from __future__ import annotations

import secrets
import shutil
import time

from benchmarks.peers.repmgr import install
from benchmarks.sites.kit import RESTORE_HOST, SITES
from lab import Lab
from lab.cluster import BIN, DATA, HOME, wait_for_standbys
from recoverd.errors import TimedOut

REPO_HOST = SITES["second"]
REPO = "/srv/backups/pgbackrest"
PLACE = "/var/lib/recoverd/pgbackrest"
COMMAND = "pgbackrest --stanza=orders --log-level-console=warn --log-level-file=off"
PROCESSES = 2
LIMIT_S = 300.0


def prepare(lab: Lab) -> str:
    """Install it where it is missing (it stays), make the repository and a full backup; its version. Raises Unreachable."""
    if shutil.which("pgbackrest") is None:
        install("pgbackrest")
    _let_in(lab)
    word = secrets.token_urlsafe(32)
    there = ("repo1-host=" + REPO_HOST, "repo1-host-user=postgres")
    configure(lab, "db-1", word, *there, "[orders]", f"pg1-path={DATA}")
    configure(lab, RESTORE_HOST, word, *there, "[orders]", f"pg1-path={PLACE}/data")
    configure(lab, REPO_HOST, word, "[orders]", "pg1-host=db-1", "pg1-host-user=postgres", f"pg1-path={DATA}")
    lab.run(REPO_HOST, f"install -d -o postgres -m 0700 {REPO}")
    lab.run(REPO_HOST, f"{COMMAND} stanza-create", user="postgres", timeout_s=60)
    archive = f"archive_mode = on\narchive_command = '{COMMAND} archive-push %p'\n"
    restart = f"{BIN}/pg_ctl -s -w -t 60 -m fast -D {DATA} -l {HOME}/postgresql.log restart"
    lab.run("db-1", f"cat >> {DATA}/postgresql.conf && {restart}", user="postgres", stdin=archive, timeout_s=80)
    wait_for_standbys(lab.host("db-1"), 1)
    lab.run(REPO_HOST, f"{COMMAND} --type=full --start-fast backup", user="postgres", timeout_s=LIMIT_S)
    return lab.run("db-1", ["pgbackrest", "version"]).out.split()[-1]


def configure(lab: Lab, host: str, word: str, *own: str) -> None:
    """A host's pgbackrest.conf."""
    lines = (
        "[global]", f"repo1-path={REPO}", "repo1-cipher-type=aes-256-cbc", f"repo1-cipher-pass={word}",
        "repo1-retention-full=9", "compress-type=zst", "compress-level=3", f"process-max={PROCESSES}",
        "lock-path=/tmp/pgbackrest", *own, "pg1-socket-path=/var/run/postgresql",
    )  # fmt: skip
    name = "/etc/pgbackrest.conf"
    lab.run(host, f"umask 077; cat > {name} && chown postgres {name}", stdin="\n".join(lines) + "\n")


def restore(lab: Lab) -> dict[str, float]:
    """Restore and start; seconds of both. The copy stays until `clear`."""
    clear(lab)
    lab.run(RESTORE_HOST, f"install -d -o postgres -m 0700 {PLACE}/data")
    began = time.monotonic()
    options = "--type=immediate --target-action=promote --archive-mode=off"
    lab.run(RESTORE_HOST, f"{COMMAND} {options} restore", user="postgres", timeout_s=LIMIT_S)
    restored = time.monotonic()
    settings = f"-c listen_addresses='' -c archive_mode=off -c unix_socket_directories={PLACE}"
    start = f'{BIN}/pg_ctl -D {PLACE}/data -l {PLACE}/log -s -W -o "{settings}" start'
    lab.run(RESTORE_HOST, f"chown postgres {PLACE} && setpriv --reuid=postgres --regid=postgres --init-groups {start}")
    asked = f"{BIN}/psql -XAtq -h {PLACE} -c 'select pg_is_in_recovery()' postgres 2>/dev/null"
    deadline = time.monotonic() + LIMIT_S
    while lab.run(RESTORE_HOST, asked, user="postgres", check=False).out.strip() != "f":
        if time.monotonic() > deadline:
            raise TimedOut(f"what pgBackRest restored does not start: see {PLACE}/log on {RESTORE_HOST}")
        time.sleep(0.1)
    ended = time.monotonic()
    return {"restore": restored - began, "start": ended - restored}


def clear(lab: Lab) -> None:
    """Stop and remove what was restored."""
    stop = f"[ ! -f {PLACE}/data/postmaster.pid ] || {BIN}/pg_ctl -D {PLACE}/data -s -w -m immediate stop"
    lab.run(RESTORE_HOST, stop, user="postgres", timeout_s=60)
    lab.run(RESTORE_HOST, f"rm -rf {PLACE}", timeout_s=60)


def _let_in(lab: Lab) -> None:
    """Keys with which the account postgres of these hosts gets from one to the other."""
    ssh, known, hosts = f"{HOME}/.ssh", (lab.state / "known_hosts").read_text(), ("db-1", RESTORE_HOST, REPO_HOST)
    make = (
        f"umask 077; mkdir -p {ssh} && ssh-keygen -q -t ed25519 -N '' -f {ssh}/id_ed25519 && cat {ssh}/id_ed25519.pub"
    )
    keys = ""
    for host in hosts:
        lab.run(host, f"chown postgres {HOME}")
        keys += lab.run(host, make, user="postgres").out
    for host in hosts:
        lab.run(host, f"umask 077; cat > {ssh}/known_hosts", user="postgres", stdin=known)
        lab.run(host, f"umask 077; cat > {ssh}/authorized_keys", user="postgres", stdin=keys)
        lab.run(host, "sed -i 's/^postgres:!/postgres:*/' /etc/shadow")  # or sshd calls the account locked
