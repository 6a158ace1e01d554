"""What the tests of the lab ask of it."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable

import psycopg2

from lab import Lab
from lab.ledger import Connection
from lab.shell import Ran


def lab_name(letter: str) -> str:
    """A name that no other session on this machine uses."""
    return f"{letter}{os.getpid():x}"[:8]


def connect(lab: Lab, address: str, *, user: str = "postgres", database: str = "postgres") -> Connection:
    """A connection from the controller, with a password."""
    password = lab.layout.secret(user).read_text().strip()
    connection = psycopg2.connect(host=address, user=user, dbname=database, password=password, connect_timeout=3)
    connection.autocommit = True
    return connection


def value(connection: Connection, sql: str) -> object:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    assert row is not None
    return row[0]


def ssh(lab: Lab, host: str, command: str, *options: str) -> Ran:
    """OpenSSH's own client, with strict checking of the host key."""
    argv = ["ssh", "-F", str(lab.state / "ssh_config"), "-o", "BatchMode=yes", *options, host, command]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def leave_lock(lab: Lab, host: str, *, booted: bool = False) -> Callable[[], bool]:
    """Leave the lock file of a server that died, whose process id a living process of the same user has by now.

    Args:
        lab: The lab.
        host: Its host.
        booted: The host was booted since, which took the lock file of the server's socket away.

    Returns:
        Whether that process still lives.
    """
    data, sockets = "/var/lib/postgresql/data", "/var/run/postgresql"
    lab.run(
        host, "cd / && setsid --fork sh -c 'echo $$ >/tmp/bystander; exec sleep 600' >/dev/null 2>&1", user="postgres"
    )
    assert eventually(lambda: lab.run(host, "cat /tmp/bystander", check=False).ok)
    pid = lab.run(host, "cat /tmp/bystander; rm /tmp/bystander").out.strip()
    lines = f"{pid}\n{data}\n1700000000\n5432\n{sockets}\n*\n  1700000    999999\nready\n"
    for place in (f"{data}/postmaster.pid", *([] if booted else [f"{sockets}/.s.PGSQL.5432.lock"])):
        lab.run(host, f"cat >{place}", user="postgres", stdin=lines)
    return lambda: lab.run(host, ["kill", "-0", pid], check=False).ok


def reaches(lab: Lab, host: str, address: str, port: int = 22) -> bool:
    """Whether `host` can open a connection."""
    return lab.run(host, ["timeout", "1", "bash", "-c", f": </dev/tcp/{address}/{port}"], check=False).ok


def knock(address: str, port: int, timeout_s: float = 1.0) -> str:
    """What the controller meets at a port: open, refused or silence."""
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silence"
    return "open"


def eventually(condition: Callable[[], bool], *, timeout_s: float = 10) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()
