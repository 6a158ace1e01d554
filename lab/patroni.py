"""A real Patroni on the hosts of a lab, for tests and benchmarks: it takes over the lab's running PostgreSQL.

The keeper of its leader lock is a Raft voter of its own on app-1, which no fault of a database host touches. Patroni is
no dependency of the project: it is installed, with hashes, into a directory of its own that is kept for the next time.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from lab.cluster import BIN, DATA
from lab.lab import Lab
from lab.layout import Host
from recoverd.errors import TimedOut, Unreachable

LOCK = Path(__file__).with_name("patroni-requirements.lock")
CACHE = Path("/var/cache/recoverd-lab")  # seen from inside the lab's hosts, unlike a home directory or /tmp
HOME = "/var/lib/postgresql/patroni"
USER, PASSWORD = "recoverd", "only-in-the-lab"
DEFAULTS = {"ttl": 30, "loop_wait": 10, "retry_timeout": 10}
"""Patroni's own times, in seconds."""
QUICKEST = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
"""The least that Patroni lets one choose, in seconds."""


def command(lab: Lab) -> str:
    """A Python for the hosts of the lab that has Patroni, which is installed where it is not there yet.

    Raises:
        Unreachable: It cannot be installed here; the message says why.
    """
    python = interpreter(lab)
    version = lab.run("db-1", [python, "-VV"], user="postgres").out
    home = CACHE / f"patroni-{hashlib.sha256(LOCK.read_bytes() + version.encode()).hexdigest()[:12]}"
    if not (home / "complete").exists():
        home.mkdir(parents=True, exist_ok=True)
        options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--upgrade", "--target", str(home)]
        pip = [sys.executable, "-m", "pip", "--python", python, "install", *options, "-r", str(LOCK)]
        ran = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
        if ran.returncode != 0:
            words = (ran.stderr.strip() or ran.stdout.strip() or "it said nothing").splitlines()[-1]
            raise Unreachable(f"Patroni cannot be installed here: {words}", "let pip reach a package index")
        (home / "complete").touch()
    return f"env PYTHONPATH={home} {python}"


def interpreter(lab: Lab) -> str:
    """A Python that the database's user can run inside the hosts: one below somebody's home directory is not there.

    Raises:
        Unreachable: There is none.
    """
    here = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")
    for python in (here, "/usr/bin/python3"):
        if lab.run("db-1", [python, "-c", "import ctypes, ssl"], user="postgres", check=False).ok:
            return python
    raise Unreachable("no Python is to be seen from inside the lab's hosts", "apt-get install python3")


def build(lab: Lab, times: Mapping[str, int] = QUICKEST) -> None:
    """Put the lab's running cluster under Patroni: the primary first, so that it is the one to lead.

    Args:
        times: `ttl`, `loop_wait` and `retry_timeout` in seconds.

    Raises:
        Unreachable: Patroni cannot be installed here.
        TimedOut: It does not take the cluster over in time.
    """
    limit_s = 30 + 3 * times["loop_wait"]
    keeper = {"raft": {"data_dir": f"{HOME}/raft", "self_addr": voter(lab), "partner_addrs": []}}
    run_in_background(lab, "app-1", "patroni.raft_controller", keeper)
    for host in lab.layout.databases:
        run_in_background(lab, host.name, "patroni.__main__", configuration(lab, host, times))
        if host.name == "db-1":
            wait_for(lab, {"db-1": ("leader", "running")}, by="db-1", timeout_s=limit_s)
    wait_for_leader(lab, "db-1", timeout_s=limit_s)


def run_in_background(lab: Lab, host: str, module: str, settings: dict[str, Any]) -> None:
    """Start a program of Patroni on a host with a file of settings."""
    lab.run(host, f"mkdir -p {HOME} && chown postgres: {HOME} && chmod 700 {HOME}")
    lab.run(host, f"cat > {HOME}/settings.json", user="postgres", stdin=json.dumps(settings))
    start = f"cd {HOME} && setsid --fork {command(lab)} -c 'import {module} as it; it.main()' settings.json </dev/null >>log 2>&1"
    lab.run(host, start, user="postgres")


def voter(lab: Lab) -> str:
    """Where the one keeper of Patroni's leader lock listens."""
    return f"{lab.host('app-1').address}:2222"


def raft(lab: Lab) -> dict[str, Any]:
    """Settings of the lock's keeper for a host that only asks it."""
    return {"data_dir": f"{HOME}/raft", "partner_addrs": [voter(lab)]}


def common(times: Mapping[str, int]) -> dict[str, Any]:
    """What all members agree on: the times, and PostgreSQL as the lab's own cluster has it."""
    parameters = {"max_wal_senders": 12, "max_replication_slots": 12}
    return {**times, "postgresql": {"use_pg_rewind": True, "parameters": parameters}}


def configuration(lab: Lab, host: Host, times: Mapping[str, int]) -> dict[str, Any]:
    """Patroni's own file for a host: nothing about the data that is there."""
    secret = {name: lab.layout.secret(name).read_text().strip() for name in ("postgres", "replicator")}
    return {
        "scope": "orders-db",
        "name": host.name,
        "restapi": {
            "listen": f"{host.address}:8008",
            "connect_address": f"{host.address}:8008",
            "authentication": {"username": USER, "password": PASSWORD},
        },
        "raft": raft(lab),
        "bootstrap": {"dcs": common(times)},
        "postgresql": {
            "listen": "*:5432",
            "connect_address": f"{host.address}:5432",
            "data_dir": DATA,
            "bin_dir": BIN,
            "pgpass": f"{HOME}/pgpass",
            "authentication": {
                "superuser": {"username": "postgres", "password": secret["postgres"]},
                "replication": {"username": "replicator", "password": secret["replicator"]},
            },
            "parameters": {"unix_socket_directories": "/var/run/postgresql", "wal_retrieve_retry_interval": "100ms"},
        },
        "watchdog": {"mode": "off"},
    }


def cluster(lab: Lab, host: str = "db-2") -> dict[str, Any]:
    """What Patroni on a host says of the cluster; empty while it does not answer."""
    try:
        answer = httpx.get(f"http://{lab.host(host).address}:8008/cluster", timeout=1.0, trust_env=False)
    except httpx.HTTPError:
        return {}
    return dict(answer.json()) if answer.is_success else {}


def roles(lab: Lab, host: str = "db-2") -> dict[str, tuple[str, str]]:
    """Role and state of every member, as Patroni on a host has them."""
    return {member["name"]: (member["role"], member["state"]) for member in cluster(lab, host).get("members", ())}


def wait_for_leader(lab: Lab, leader: str, *, timeout_s: float = 90) -> None:
    """Wait until Patroni has that leader and every other member streams from it: told once a loop of 10 s. Raises TimedOut."""
    wanted = {host.name: ("replica", "streaming") for host in lab.layout.databases} | {leader: ("leader", "running")}
    wait_for(lab, wanted, by=leader, timeout_s=timeout_s)


def wait_for(lab: Lab, wanted: dict[str, tuple[str, str]], *, by: str, timeout_s: float = 90) -> None:
    """Wait until Patroni on the host `by` shows these roles and states. Raises TimedOut."""
    deadline = time.monotonic() + timeout_s
    while roles(lab, by) != wanted:
        if time.monotonic() > deadline:
            raise TimedOut(f"Patroni has {roles(lab, by)}, not {wanted}", f"see {HOME}/log on the hosts")
        time.sleep(0.1)


def pause(lab: Lab, *, paused: bool) -> None:
    """Set or end Patroni's maintenance mode, and wait until every member knows."""
    address = f"http://{lab.host('db-1').address}:8008/config"
    change = {"pause": True if paused else None}
    httpx.patch(address, json=change, auth=(USER, PASSWORD), timeout=5, trust_env=False).raise_for_status()
    deadline = time.monotonic() + 10
    while any(bool(cluster(lab, host.name).get("pause")) is not paused for host in lab.layout.databases):
        if time.monotonic() > deadline:
            raise TimedOut("Patroni does not follow its maintenance mode", f"see {HOME}/log on the hosts")
        time.sleep(0.05)


def leader(lab: Lab, host: str = "db-3") -> str:
    """The leader, as Patroni on a host has it; empty when there is none."""
    return next((name for name, (role, _state) in roles(lab, host).items() if role == "leader"), "")


def switch_over(lab: Lab, old: str, to: str) -> None:
    """What an administrator does with patronictl, without a word to anybody."""
    address = f"http://{lab.host(to).address}:8008/switchover"
    answer = httpx.post(
        address, json={"leader": old, "candidate": to}, auth=(USER, PASSWORD), timeout=30, trust_env=False
    )
    answer.raise_for_status()
    wait_for_leader(lab, to)


def tell(inventory: Path, home: Path) -> None:
    """Write into an inventory that Patroni manages the service, and how to log in."""
    secret = home / "patroni-password"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    services = inventory / "services.yaml"
    api = f"      patroni: {{user: {USER}, password: {{file: {secret}}}}}\n"
    services.write_text(services.read_text().replace("      slots: true\n", f"      slots: true\n{api}"))
