"""repmgr with its daemon repmgrd on every database host, from Debian's package for the lab's PostgreSQL."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.contestant import NEW, OLD, Contestant
from lab import Host, Lab
from lab.cluster import BIN, DATA, wait_for_standbys
from lab.cluster import HOME as POSTGRES_HOME
from lab.sql import ask, connected, inside
from recoverd.errors import TimedOut, Unreachable

HOME = f"{POSTGRES_HOME}/repmgr"
CONF = f"{HOME}/repmgr.conf"
REPMGR = f"{BIN}/repmgr -f {CONF}"
INSTALL_TIMEOUT_S = 300
START_TIMEOUT_S = 30
SWITCH_TIMEOUT_S = 120
DEFAULTS: Mapping[str, float] = {"monitor_interval_secs": 2, "reconnect_attempts": 6, "reconnect_interval": 10}
"""repmgrd's own settings; seconds, but for the attempts."""
AGREED: Mapping[str, float] = {"monitor_interval_secs": 1, "reconnect_attempts": 3, "reconnect_interval": 1}
"""As many looks as recoverd's sentinel takes, and the standbys asked when they last saw the primary."""
QUICKEST: Mapping[str, float] = {"monitor_interval_secs": 1, "reconnect_attempts": 1, "reconnect_interval": 1}
"""One failed look, and one more try."""


class Repmgr(Contestant):
    """repmgrd with one set of settings.

    Args:
        kind: The settings, in a word.
        changed: Settings that differ from repmgrd's own; nothing else is written into its file.
        consensus: Whether a standby asks the others when they last saw the primary (not so by default).
    """

    peer = "repmgr"
    fences = "no: whatever starts the old primary again has two that take writes"

    def __init__(self, kind: str, changed: Mapping[str, float], *, consensus: bool = False) -> None:
        self.name = f"repmgrd, {kind}"
        self.settings = {**DEFAULTS, **changed}
        self.rhythm_s = self.settings["monitor_interval_secs"]
        own = "the standby's own view, with more than half of the standbys in sight"
        self.confirms = f"{own}, and no other standby saw it lately" if consensus else own
        words = {name: f"{value:g}" for name, value in changed.items()}
        self._changed = words | ({"primary_visibility_consensus": "true"} if consensus else {})

    def prepare(self, lab: Lab) -> str:
        """Install Debian's package where it is not there yet; it stays, and starts nothing by itself."""
        version, server = lab.layout.server_version, lab.layout.server_dir
        if not (server / "bin/repmgrd").exists():
            if server != Path(f"/usr/lib/postgresql/{version}") or shutil.which("apt-get") is None:
                raise Unreachable(
                    f"repmgr is to be had for Debian's PostgreSQL only, and the lab runs {server}",
                    "apt-get install postgresql",
                )
            install(f"postgresql-{version}-repmgr")
        return lab.run(OLD, [f"{BIN}/repmgrd", "--version"], user="postgres").out.split()[-1]

    @contextmanager
    def watching(self, lab: Lab, directory: Path) -> Iterator[None]:
        """Make repmgr's own database, register the members, start its daemons."""
        word = secrets.token_urlsafe(24)
        load_library(lab)
        make_database(lab, word)
        for number, host in enumerate(lab.layout.databases, 1):
            write(lab, host, configuration(host, number, self._changed), word)
            role = "primary" if host.name == OLD else "standby"
            lab.run(host.name, f"{REPMGR} {role} register", user="postgres", timeout_s=START_TIMEOUT_S)
        let_each_other_in(lab)
        for host in lab.layout.databases:
            start = (
                f"cd {HOME} && setsid --fork {BIN}/repmgrd -f {CONF} --daemonize=false </dev/null >>repmgrd.log 2>&1"
            )
            lab.run(host.name, start, user="postgres")
        wait_for_daemons(lab)
        yield

    def switch_over(self, lab: Lab) -> None:
        """What its administrator does on the standby; it goes over SSH to the old primary."""
        command = f"{REPMGR} standby switchover --siblings-follow"
        lab.run(NEW, command, user="postgres", timeout_s=SWITCH_TIMEOUT_S)


def configuration(host: Host, number: int, changed: Mapping[str, str]) -> str:
    """A node's repmgr.conf, as repmgr's manual has it, and the settings that are changed."""
    settings = {
        "node_id": f"{number}",
        "node_name": host.name,
        "conninfo": f"host={host.address} user=repmgr dbname=repmgr connect_timeout=2 passfile={HOME}/pgpass",
        "data_directory": DATA,
        "pg_bindir": BIN,
        "passfile": f"{HOME}/pgpass",
        "replication_user": "replicator",
        "failover": "automatic",
        "promote_command": f"{REPMGR} standby promote",
        "follow_command": f"{REPMGR} standby follow --upstream-node-id=%n",
        "ssh_options": f"-q -o ConnectTimeout=10 -o BatchMode=yes -o UserKnownHostsFile={HOME}/known_hosts",
        **changed,
    }
    return "".join(f"{name}='{value}'\n" for name, value in settings.items())


def install(package: str) -> None:
    """Let apt install a package of Debian's, and change no other. Raises Unreachable with apt's last words."""
    options = ["-o", "DPkg::Lock::Timeout=120", "-qq"]
    get = ["apt-get", *options, "install", "-y", "--no-install-recommends", "--no-upgrade", package]
    words = "it said nothing"
    for command in (get, ["apt-get", *options, "update"], get):  # lists of packages may be missing, or old
        try:
            ran = subprocess.run(
                ["env", "DEBIAN_FRONTEND=noninteractive", *command],
                capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unreachable(f"apt did not install {package} within {INSTALL_TIMEOUT_S} s") from None
        if command is get and ran.returncode == 0:
            return
        words = (ran.stderr.strip() or ran.stdout.strip() or words).splitlines()[-1]
    raise Unreachable(f"{package} cannot be installed here: {words}", "let apt reach Debian's packages")


def load_library(lab: Lab) -> None:
    """repmgr keeps what its daemons know in PostgreSQL's shared memory. It makes no use of the lab's slots."""
    for host in lab.layout.databases:
        library = f"echo \"shared_preload_libraries = 'repmgr'\" >> {DATA}/postgresql.conf"
        no_slot = f"sed -i /^primary_slot_name/d {DATA}/postgresql.auto.conf"
        restart = f"{BIN}/pg_ctl -s -w -t 30 -m fast -D {DATA} -l {POSTGRES_HOME}/postgresql.log restart"
        lab.run(host.name, f"{library} && {no_slot} && {restart}", user="postgres", timeout_s=40)
    primary, *standbys = lab.layout.databases
    wait_for_standbys(primary, len(standbys))
    with connected(inside(primary)) as connection:
        ask(connection, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", timeout_s=5)


def make_database(lab: Lab, word: str) -> None:
    """repmgr's role and database, as its manual has them."""
    with connected(inside(lab.host(OLD))) as connection:
        ask(connection, f"CREATE ROLE repmgr SUPERUSER LOGIN PASSWORD '{word}'", timeout_s=5)
        ask(connection, "CREATE DATABASE repmgr OWNER repmgr", timeout_s=20)


def write(lab: Lab, host: Host, text: str, word: str) -> None:
    """Put a node's settings and passwords on its host."""
    replicator = lab.layout.secret("replicator").read_text().strip()
    passwords = f"*:*:*:repmgr:{word}\n*:*:*:replicator:{replicator}\n"
    lab.run(host.name, f"mkdir -p {HOME} && cat > {CONF}", user="postgres", stdin=text)
    lab.run(host.name, f"umask 077; cat > {HOME}/pgpass", user="postgres", stdin=passwords)


def let_each_other_in(lab: Lab) -> None:
    """A key with which the members' database users reach each other over SSH, for repmgr's switchover."""
    known = (lab.state / "known_hosts").read_text()
    ssh = f"{POSTGRES_HOME}/.ssh"
    make = (
        f"umask 077; mkdir -p {ssh} && ssh-keygen -q -t ed25519 -N '' -f {ssh}/id_ed25519 && cat {ssh}/id_ed25519.pub"
    )
    keys = "".join(lab.run(host.name, make, user="postgres").out for host in lab.layout.databases)
    for host in lab.layout.databases:
        lab.run(host.name, f"umask 077; cat > {ssh}/authorized_keys", user="postgres", stdin=keys)
        lab.run(host.name, f"cat > {HOME}/known_hosts", user="postgres", stdin=known)
        lab.run(host.name, "sed -i 's/^postgres:!/postgres:*/' /etc/shadow")  # or sshd calls the account locked


def wait_for_daemons(lab: Lab) -> None:
    """Wait until every node's PostgreSQL knows its repmgrd. Raises TimedOut."""
    deadline = time.monotonic() + START_TIMEOUT_S
    for host in lab.layout.databases:
        while True:
            with connected(inside(host, "repmgr")) as connection:
                if ask(connection, "SELECT repmgr.repmgrd_is_running()") == [(True,)]:
                    break
            if time.monotonic() > deadline:
                said = lab.run(host.name, f"tail -n 3 {HOME}/repmgrd.log", check=False).out.strip()
                raise TimedOut(f"repmgrd does not start on {host.name}: {said}")
            time.sleep(0.1)
