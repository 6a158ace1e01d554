"""The server processes of a host, as the machine sees them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lab.layout import Host
from lab.machine import init_pid


def server_pids(host: Host) -> list[int]:
    """The machine's pids of what a host serves with, PostgreSQL or S3: the processes that run its server's program."""
    init = init_pid(host)
    if init is None or host.server is None:
        return []
    try:
        home = os.readlink(f"/proc/{init}/ns/pid")
        return [int(entry.name) for entry in Path("/proc").iterdir() if runs(entry, host.server, home)]
    except FileNotFoundError:
        return []


def runs(entry: Path, program: str, pid_namespace: str) -> bool:
    """Whether a directory of /proc is that of a process of one pid namespace that runs a program."""
    try:
        return (
            entry.name.isdigit()
            and os.readlink(entry / "ns/pid") == pid_namespace
            and os.path.basename(os.readlink(entry / "exe")) == program
        )
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False  # it ended, or is not ours to look at


def is_postmaster(pid: int) -> bool:
    """Whether a PostgreSQL process is the postmaster: its children rename themselves `postgres: …`."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"postgres:")
    except (FileNotFoundError, ProcessLookupError):
        return False


def state(pid: int) -> str:
    """The state letter of a process; X if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
