"""SSH to one host: a kept transport, and shells on it that run one script after the other.

A fresh `exec` costs about 45 ms on a small machine (fork, login shell, start-up files); a script fed to a shell that is
already there costs 2-3 ms. Scripts and their variables travel on standard input, never in the process list.
"""

from __future__ import annotations

import logging
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

import paramiko

from recoverd.connections.ssh_errors import explain, no_shell
from recoverd.errors import RecoverdError, TimedOut, Unreachable

if TYPE_CHECKING:
    from recoverd.inventory import Host

CONNECT_TIMEOUT_S = 5.0

# A host that is gone is noticed by the TCP handshake; one that is there, but busy, gets this long for SSH's own.
HANDSHAKE_TIMEOUT_S = 5.0

# How a shell ended is told right after the end of its output, or not at all.
_STATUS_TIMEOUT_S = 1.0

# A refused forwarding is an answer that reach.py asks for, not an error; what fails here is raised, never only logged.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Completed:
    """A script that ran to its end on a host."""

    code: int
    out: str
    err: str
    seconds: float

    def facts(self) -> dict[str, str]:
        """The `key=value` lines of the output; the last one of a key counts."""
        pairs = (line.partition("=") for line in self.out.splitlines())
        return {key: value for key, sep, value in pairs if sep}


class Ssh:
    """One host over SSH. Safe to use from several threads: each call has a shell of its own.

    The host's key must stand in its known_hosts file; an unknown or a changed key is refused.
    """

    def __init__(self, host: Host, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.host = host
        self._client = paramiko.SSHClient()
        self._idle: list[_Shell] = []
        self._lock = threading.Lock()
        self._connect(connect_timeout_s)
        self.heard_at = time.monotonic()

    def run(self, script: str, variables: Mapping[str, str] | None = None, *, timeout_s: float) -> Completed:
        """Run a POSIX shell script, as root where the inventory says `become`.

        Args:
            script: The text of the script; it sees `variables` as shell variables and has no standard input.
            variables: Values, quoted here.
            timeout_s: Limit for the whole script.

        Raises:
            TimedOut: It did not end in time, or could not even begin; what it did is unknown.
            Unreachable: The connection broke.
            NotAllowed: sudo, or the login shell, refuses to run anything; nothing was done.
        """
        shell = self._take(timeout_s)
        try:
            done = shell.run(script, variables or {}, timeout_s)
        except BaseException:
            shell.close()
            raise
        with self._lock:
            self._idle.append(shell)
        self.heard_at = time.monotonic()
        return done

    def check(self, timeout_s: float) -> None:
        """Have the other end say a word.

        Raises:
            TimedOut: It is silent.
            Unreachable: The connection is broken; a new one may do.
        """
        self.run(":", timeout_s=timeout_s)

    def transport(self) -> paramiko.Transport:
        """The transport, for channels that are not shells.

        Raises:
            Unreachable: The connection is gone.
        """
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise Unreachable(
                f"the SSH connection to {self.host.name} is gone", "run `recoverd check` on the inventory"
            )
        return transport

    @property
    def alive(self) -> bool:
        """Whether the transport still believes in itself (a dead peer shows only when it is spoken to)."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def close(self) -> None:
        """End every shell and the connection."""
        self._client.close()

    def __enter__(self) -> Ssh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, timeout_s: float) -> _Shell:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Shell(self, min(timeout_s, CONNECT_TIMEOUT_S))

    def _connect(self, timeout_s: float) -> None:
        host = self.host
        self._client.set_missing_host_key_policy(paramiko.RejectPolicy())
        try:
            if host.known_hosts is None:
                self._client.load_system_host_keys()
            else:
                self._client.load_host_keys(str(host.known_hosts))
            # paramiko would give the key exchange the limit of the TCP handshake, which is that of a dead host's silence.
            handshake_s = max(timeout_s, HANDSHAKE_TIMEOUT_S)
            self._client.connect(
                host.address,
                port=host.port,
                username=host.user,
                key_filename=str(host.key_file) if host.key_file else None,
                look_for_keys=host.key_file is None,
                allow_agent=host.key_file is None,
                sock=socket.create_connection((host.address, host.port), timeout=timeout_s),
                timeout=handshake_s,
                banner_timeout=handshake_s,
                auth_timeout=handshake_s,
                channel_timeout=handshake_s,
            )
            self.transport().clear_to_send_timeout = (
                HANDSHAKE_TIMEOUT_S  # how long a change of keys may hold all else up
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._client.close()
            raise explain(host, error) from error


class _Shell:
    """A remote `/bin/sh` that reads one script after the other from its standard input."""

    def __init__(self, ssh: Ssh, timeout_s: float) -> None:
        self._ssh, self._name = ssh, ssh.host.name
        self._proven = False  # whether it has ever run a script: before that, sudo may have refused it
        self._err = bytearray()
        deadline = time.monotonic() + timeout_s
        try:
            self._channel = ssh.transport().open_session(timeout=timeout_s)
            with _unless_done_by(deadline, self._channel.close):
                self._channel.exec_command("exec sudo -n /bin/sh" if ssh.host.become else "exec /bin/sh")
        except (paramiko.SSHException, OSError, EOFError) as error:
            if time.monotonic() < deadline or not ssh.alive:
                raise explain(ssh.host, error) from error
            raise TimedOut(
                f"{self._name} gives no shell within {timeout_s:g} s", "check power, network and load of that host"
            ) from error

    def run(self, script: str, variables: Mapping[str, str], timeout_s: float) -> Completed:
        mark = f"recoverd-{secrets.token_hex(8)}"
        started = time.monotonic()
        self._err.clear()
        try:
            self._channel.settimeout(timeout_s)
            with _unless_done_by(started + timeout_s, self._ssh.close):
                self._channel.sendall(_framed(script, variables, mark).encode())
            out, err = self._collect(mark, started + timeout_s)
        except TimeoutError as error:
            raise self._late(timeout_s) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            if time.monotonic() >= started + timeout_s:
                raise self._late(timeout_s) from error
            raise self._ended(error) from error
        self._proven = True
        body, _, code = out.rpartition(f"\n{mark} ")
        return Completed(int(code), body, err.rpartition(f"\n{mark}")[0], time.monotonic() - started)

    def _late(self, timeout_s: float) -> TimedOut:
        return TimedOut(
            f"a command on {self._name} did not end within {timeout_s:g} s",
            f"it may still be running there: look at {self._name} before repeating it",
        )

    def _ended(self, error: BaseException) -> RecoverdError:
        """What it means that the shell is gone: one that says how it ended, and never ran a script, was refused."""
        if not self._proven and self._ssh.alive:
            self._channel.status_event.wait(_STATUS_TIMEOUT_S)
            if self._channel.exit_status > 0:
                return no_shell(self._ssh.host, self._rest().decode(errors="replace"))
        said = self._rest().decode(errors="replace").strip()
        return Unreachable(f"the SSH connection to {self._name} broke: {said or error}", "run it again")

    def _rest(self) -> bytearray:
        """All that standard error has said during this script."""
        while self._channel.recv_stderr_ready():
            self._err += self._channel.recv_stderr(_CHUNK_BYTES)
        return self._err

    def _collect(self, mark: str, deadline: float) -> tuple[str, str]:
        out, err = bytearray(), self._err
        end = f"\n{mark}".encode()
        while not (end in out and out.endswith(b"\n") and end in err):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._channel.recv_stderr_ready():
                err += self._channel.recv_stderr(_CHUNK_BYTES)
                continue
            if end in out and out.endswith(b"\n"):
                self._channel.settimeout(left)
                err += self._channel.recv_stderr(_CHUNK_BYTES)
                continue
            self._channel.settimeout(min(left, 0.05))
            try:
                chunk = self._channel.recv(_CHUNK_BYTES)
            except TimeoutError:
                continue  # standard error may have something in the meantime
            if not chunk:
                raise EOFError("the shell ended")
            out += chunk
        return out.decode(errors="replace"), err.decode(errors="replace")

    def close(self) -> None:
        with suppress(paramiko.SSHException, OSError, EOFError):  # what ended it is told already
            self._channel.close()


@contextmanager
def _unless_done_by(deadline: float, give_up: Callable[[], None]) -> Iterator[None]:
    """Close what a call hangs on: paramiko waits without limit for the answer to a request, and for room to send."""
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), give_up)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def _framed(script: str, variables: Mapping[str, str], mark: str) -> str:
    """The script as a here-document: parsed whole before it runs, with an end mark on both outputs."""
    settings = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    body = f"{settings}main() {{\n:\n{script}\n}}\nmain </dev/null\n"
    return f"/bin/sh -s <<'{mark}'\n{body}{mark}\nprintf '\\n%s %d\\n' '{mark}' $?; printf '\\n%s' '{mark}' >&2\n"
