"""A TCP connection that leaves from another host: what a program on that host would reach, without a program there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import paramiko

from recoverd.connections.ssh import Ssh
from recoverd.errors import RecoverdError

_CHUNK_BYTES = 65536
_ACCEPTS = 8  # libpq may connect twice to one server: with TLS, then without


@contextmanager
def tunnel(ssh: Ssh, address: str, port: int, *, timeout_s: float) -> Iterator[int]:
    """Listen on a loopback port whose connections go out from `ssh`'s host to `address:port`.

    Args:
        ssh: The host to leave from; its sshd must allow TCP forwarding.
        address: Where to.
        port: Where to.
        timeout_s: Limit for opening one connection from there; one that fails is closed, as a refusing server would.

    Yields:
        The loopback port.
    """
    with ExitStack() as open_things:
        listener = open_things.enter_context(socket.create_server(("127.0.0.1", 0)))
        over = threading.Event()
        acceptor = threading.Thread(
            target=_accept,
            args=(listener, ssh, (address, port), timeout_s, open_things, over),
            name="tunnel",
            daemon=True,
        )
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(timeout=timeout_s + 1)


def _accept(
    listener: socket.socket,
    ssh: Ssh,
    to: tuple[str, int],
    timeout_s: float,
    open_things: ExitStack,
    over: threading.Event,
) -> None:
    for _ in range(_ACCEPTS):
        try:
            near, _peer = listener.accept()
        except OSError:
            return  # closed: the tunnel is over
        open_things.callback(near.close)
        if over.is_set():
            return
        try:
            far = ssh.transport().open_channel("direct-tcpip", to, near.getpeername(), timeout=timeout_s)
        except (paramiko.SSHException, RecoverdError, OSError, EOFError):
            near.close()
            continue
        open_things.callback(far.close)
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, sink), name="tunnel", daemon=True).start()


def _pump(source: socket.socket | paramiko.Channel, sink: socket.socket | paramiko.Channel) -> None:
    try:
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    except OSError:
        pass  # either side closed: so is the other, below
    finally:
        with contextlib.suppress(OSError, EOFError):
            sink.shutdown(1)
