"""A script whose output is bytes, passed on as they come: memory here does not grow with them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import paramiko

from recoverd.connections.ssh_errors import explain
from recoverd.errors import Look, RecoverdError, TimedOut

if TYPE_CHECKING:
    from recoverd.connections.ssh import Ssh

_CHUNK_BYTES = 65536
_MOST_WORDS = 4096


def stream(
    ssh: Ssh,
    script: str,
    variables: Mapping[str, str],
    sink: Callable[[bytes], object],
    *,
    timeout_s: float,
    most_bytes: int,
) -> int:
    """Run a POSIX shell script in a shell of its own, as root where the inventory says `become`.

    Args:
        ssh: The host.
        script: Its text; it has no standard input.
        variables: Values, quoted here; they travel on standard input, as the script does.
        sink: Told the bytes of standard output, in order.
        timeout_s: Limit for the whole script.
        most_bytes: More than that is refused.

    Returns:
        How many bytes came.

    Raises:
        TimedOut: It did not end in time.
        Look: It failed, or gave too much.
        Unreachable: The connection broke.
    """
    name, deadline = ssh.host.name, time.monotonic() + timeout_s
    settings = "".join(f"{key}={shlex.quote(value)}\n" for key, value in variables.items())
    text = f"{settings}main() {{\n:\n{script}\n}}\nmain </dev/null\nexit $?\n"
    said = bytearray()
    try:
        with ssh.transport().open_session(timeout=min(timeout_s, 10)) as channel:
            channel.settimeout(min(timeout_s, 10))
            channel.exec_command("exec sudo -n /bin/sh -s" if ssh.host.become else "exec /bin/sh -s")
            channel.sendall(text.encode())
            channel.shutdown_write()
            size = _pass_on(channel, sink, said, deadline, most_bytes, name)
            channel.settimeout(max(0.1, deadline - time.monotonic()))
            code = channel.recv_exit_status() if channel.exit_status_ready() or channel.status_event.wait(5) else -1
    except TimeoutError as error:
        raise _late(name, timeout_s) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise explain(ssh.host, error) from error
    if code != 0:
        words = (said.decode(errors="replace").strip().splitlines() or [f"exit {code}"])[-1]
        raise Look(f"a script on {name} failed: {words}", f"log in to {name} and look; then resume the run")
    return size


def _pass_on(
    channel: paramiko.Channel, sink: Callable[[bytes], object], said: bytearray, deadline: float, most: int, name: str
) -> int:
    size = 0
    while True:
        while channel.recv_stderr_ready():
            said += channel.recv_stderr(_CHUNK_BYTES)
            del said[:-_MOST_WORDS]
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        channel.settimeout(min(left, 0.5))
        try:
            chunk = channel.recv(_CHUNK_BYTES)
        except TimeoutError:
            continue  # what standard error has in the meantime is read above
        if not chunk:
            return size
        size += len(chunk)
        if size > most:
            raise Look(f"a script on {name} gives more than {most} bytes", f"look what it reads on {name}")
        sink(chunk)


def _late(name: str, timeout_s: float) -> RecoverdError:
    return TimedOut(
        f"a command on {name} did not end within {timeout_s:g} s", f"it may still be running there: look at {name}"
    )
