"""Can a place be reached from here, or from another host? The answer is a value, never an exception.

A TCP handshake alone is answered by the kernel even while every process of PostgreSQL is frozen, so the probe says
the first words of PostgreSQL's protocol (SSLRequest) and waits for the one byte that a living postmaster answers.
Source: PostgreSQL documentation, "Message Formats", SSLRequest.
"""

from __future__ import annotations

import socket
import struct
import time
from enum import Enum
from typing import Protocol

import paramiko

from recoverd.connections.ssh import Ssh
from recoverd.errors import RecoverdError

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_CONNECT_FAILED = 2  # RFC 4254, 5.1; every other reason is the vantage point's own: forbidden, not supported, too busy


class Reach(str, Enum):
    """What a vantage point saw of a server."""

    ANSWERS = "answers"  # a postmaster spoke
    SILENT = "silent"  # connected, but nobody speaks: frozen, or not PostgreSQL
    REFUSED = "refused"  # the host is there, nobody listens
    LOST = "lost"  # no answer: host down, or cut off
    UNKNOWN = "unknown"  # the vantage point itself could not look

    @property
    def alive(self) -> bool:
        """Whether a living postmaster was heard."""
        return self is Reach.ANSWERS


class _Stream(Protocol):
    def settimeout(self, value: float | None, /) -> None: ...
    def sendall(self, data: bytes, /) -> None: ...
    def recv(self, nbytes: int, /) -> bytes: ...


def reach_from_here(address: str, port: int, *, timeout_s: float) -> Reach:
    """Probe from the machine that recoverd runs on."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((address, port), timeout=timeout_s) as stream:
            return _greet(stream, deadline)
    except ConnectionRefusedError:
        return Reach.REFUSED
    except OSError:
        return Reach.LOST


def reach_through(ssh: Ssh, address: str, port: int, *, timeout_s: float) -> Reach:
    """Probe from another host: its sshd opens the connection for us, so that nothing has to be installed there.

    UNKNOWN when that sshd forbids forwarding, does not know it, has no room for it, or cannot be spoken to.
    """
    deadline = time.monotonic() + timeout_s
    try:
        channel = ssh.transport().open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout_s)
    except paramiko.ChannelException as error:
        if error.code != _CONNECT_FAILED:
            return Reach.UNKNOWN
        # OpenSSH says "Connect failed" for refused and for unreachable alike; only the time it took tells them apart.
        return Reach.REFUSED if time.monotonic() < deadline - timeout_s * 0.2 else Reach.LOST
    except paramiko.SSHException:
        return Reach.LOST if ssh.alive else Reach.UNKNOWN
    except (RecoverdError, OSError, EOFError):
        return Reach.UNKNOWN
    try:
        return _greet(channel, deadline)
    finally:
        channel.close()


def _greet(stream: _Stream, deadline: float) -> Reach:
    try:
        stream.settimeout(max(0.01, deadline - time.monotonic()))
        stream.sendall(_SSL_REQUEST)
        answer = stream.recv(1)
    except OSError:
        return Reach.SILENT
    return Reach.ANSWERS if answer in (b"S", b"N", b"E") else Reach.SILENT
