"""SSH to a host whose sshd froze after the connection was made: the kernel there still takes what we say, nobody answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from failover_kit import Controller
from lab_kit import eventually

from lab import Lab
from recoverd.connections import Connections, Reach, Ssh, reach_through
from recoverd.connections.tunnel import tunnel
from recoverd.errors import RecoverdError, TimedOut, Unreachable
from recoverd.inventory import load

pytestmark = pytest.mark.lab

LIMIT_S = 1.0
SOON_S = LIMIT_S + 1.5
HOST = "app-1"
BIG = "# " + "x" * (16 << 20)  # more than the buffers of both kernels and the channel's window take


@pytest.fixture
def connections(recoverd: Controller) -> Iterator[Connections]:
    with Connections(load(recoverd.inventory)) as opened:
        yield opened


@contextmanager
def frozen(lab: Lab) -> Iterator[None]:
    """Every sshd process of the host is stopped, those of open connections included."""
    lab.run(HOST, "pkill -STOP -x sshd")
    try:
        yield
    finally:
        lab.run(HOST, "pkill -CONT -x sshd")


def seconds_until(call: Callable[[], object], error: type[RecoverdError]) -> float:
    started = time.monotonic()
    with pytest.raises(error):
        call()
    return time.monotonic() - started


@pytest.mark.parametrize("warm", [True, False], ids=["on an open shell", "on a new shell"])
def test_a_script_ends_by_its_limit(connections: Connections, lab: Lab, warm: bool) -> None:
    ssh = connections.ssh(HOST)
    if warm:
        ssh.run(":", timeout_s=5)
    with frozen(lab):
        assert seconds_until(lambda: ssh.run(":", timeout_s=LIMIT_S), TimedOut) < SOON_S
        assert seconds_until(lambda: ssh.check(LIMIT_S), TimedOut) < SOON_S


def test_a_shell_whose_channel_is_open_but_never_started_ends_by_its_limit(connections: Connections, lab: Lab) -> None:
    ssh = connections.ssh(HOST)
    opened = ssh.transport().open_session

    def open_then_freeze(*args: object, **options: object) -> object:
        channel = opened(*args, **options)  # type: ignore[arg-type]
        lab.run(HOST, "pkill -STOP -x sshd")
        return channel

    ssh.transport().open_session = open_then_freeze  # type: ignore[method-assign,assignment]
    try:
        assert seconds_until(lambda: ssh.run(":", timeout_s=LIMIT_S), TimedOut) < SOON_S
    finally:
        lab.run(HOST, "pkill -CONT -x sshd")


def test_a_script_that_is_not_taken_off_our_hands_ends_by_its_limit(connections: Connections, lab: Lab) -> None:
    ssh = connections.ssh(HOST)
    ssh.run(":", timeout_s=5)
    with frozen(lab):
        assert seconds_until(lambda: ssh.run(BIG, timeout_s=LIMIT_S), TimedOut) < SOON_S
        started = time.monotonic()
        ssh.close()
        assert time.monotonic() - started < 1


def test_looking_from_the_host_ends_by_its_limit(connections: Connections, lab: Lab) -> None:
    ssh, address = connections.ssh(HOST), lab.host("db-1").address
    assert reach_through(ssh, address, 5432, timeout_s=LIMIT_S) is Reach.ANSWERS
    with frozen(lab):
        started = time.monotonic()
        assert not reach_through(ssh, address, 5432, timeout_s=LIMIT_S).alive
        with tunnel(ssh, address, 5432, timeout_s=LIMIT_S):
            pass
        assert time.monotonic() - started < 2 * SOON_S


def test_the_kept_connection_counts_as_unreachable_and_a_new_one_serves_once_the_host_is_back(
    connections: Connections, lab: Lab
) -> None:
    connections.ssh(HOST).run(":", timeout_s=5)
    with frozen(lab):
        time.sleep(0.6)  # long enough for the connection to be asked for a word before it is given out
        assert seconds_until(lambda: connections.ssh(HOST, timeout_s=LIMIT_S), Unreachable) < SOON_S
    assert eventually(lambda: connections.ssh(HOST).run("echo here", timeout_s=5).out.strip() == "here")


def test_everything_is_closed_in_time(lab: Lab, recoverd: Controller) -> None:
    ssh = Ssh(load(recoverd.inventory).host(HOST))
    ssh.run(":", timeout_s=5)
    with frozen(lab):
        started = time.monotonic()
        ssh.close()
        assert time.monotonic() - started < 1


@contextmanager
def slowed(address: str, each_s: float) -> Iterator[int]:
    """A way to a host's sshd that keeps each of its words for a while: the port on this machine."""

    def pump(source: socket.socket, sink: socket.socket, pause_s: float) -> None:
        while chunk := source.recv(65536):
            time.sleep(pause_s)  # the slowness itself
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)

    def serve(listener: socket.socket) -> None:
        near, far = listener.accept()[0], socket.create_connection((address, 22), timeout=5)
        far.settimeout(None)
        threading.Thread(target=pump, args=(near, far, 0.0), daemon=True).start()
        threading.Thread(target=pump, args=(far, near, each_s), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_a_host_that_is_there_but_slow_gets_more_time_for_the_handshake_than_a_dead_ones_silence(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    host, silence_s = load(recoverd.inventory).host(HOST), 0.3
    assert host.known_hosts is not None
    key = next(line.split(" ", 1)[1] for line in host.known_hosts.read_text().splitlines() if line.startswith(HOST))
    with slowed(host.address, 0.4) as port:
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
        near = host.model_copy(update={"address": "127.0.0.1", "port": port, "known_hosts": tmp_path / "known_hosts"})
        with Ssh(near, silence_s) as ssh:
            assert ssh.run("hostname", timeout_s=10).out.strip() == HOST
