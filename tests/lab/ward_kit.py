"""Peers, flows, guests and raw frames of a lab, for what cuts hosts off; and one layer by itself, as a run has it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from failover_kit import Controller
from lab_kit import eventually

from flows.layers import firewall
from lab import Lab
from recoverd.execution import execution

PORT = 8080
SERVE = """
import socket, threading
listener = socket.create_server(("::", %d), family=socket.AF_INET6, dualstack_ipv6=True)
def echo(one):
    while data := one.recv(100):
        one.sendall(data)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""
FLOW = """
import socket, sys, time, pathlib
one = socket.create_connection((sys.argv[1], %d), 5)
one.settimeout(1)
asked, told = pathlib.Path("/tmp/flow.ask"), pathlib.Path("/tmp/flow.told")
for turn in range(6000):
    if asked.exists():
        asked.unlink()
        try:
            one.sendall(b"x")
            told.write_text("passes" if one.recv(1) else "ended")
        except TimeoutError:
            told.write_text("silent")
        except OSError:
            told.write_text("ended")
    time.sleep(0.02)
"""
FRAMES = """
import contextlib, socket
one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
one.bind(("eth0", 0))
for _ in range(20):
    with contextlib.suppress(OSError):  # what the filter drops on its way out is an error here
        one.send(bytes.fromhex("%s") + bytes.fromhex("%s") + b"\\x88\\xb5" + bytes(40) + b"recoverd-raw")
"""
HEAR = """
import socket, sys, time
one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
one.settimeout(0.2)
print("hears", flush=True)
until, seen = time.monotonic() + 1.5, 0
while time.monotonic() < until:
    try:
        seen += b"recoverd-raw" in one.recv(2048)
    except TimeoutError:
        pass
print(seen)
"""


def ruleset(lab: Lab, host: str) -> str:
    """The whole packet filter, without counters."""
    return lab.run(host, "nft -s list ruleset").out


@dataclass
class Flow:
    """A connection of a peer to the host, which stands."""

    lab: Lab
    address: str

    def opens(self, from_: str) -> None:
        self.lab.run(from_, "rm -f /tmp/flow.ask /tmp/flow.told; cat >/tmp/flow.py", stdin=FLOW % PORT)
        self.lab.run(from_, f"setsid --fork python3 /tmp/flow.py {self.address} >/dev/null 2>&1")

    def passes(self, from_: str) -> bool:
        """Whether a byte goes there and comes back."""
        self.lab.run(from_, "rm -f /tmp/flow.told; touch /tmp/flow.ask")
        assert eventually(lambda: bool(self._told(from_)))
        return self._told(from_) == "passes"

    def _told(self, host: str) -> str:
        return self.lab.run(host, "cat /tmp/flow.told 2>/dev/null", check=False).out


@contextmanager
def listens(lab: Lab, host: str, peer: str = "web-2") -> Iterator[Flow]:
    """A server on the host that echoes, and a flow to it from a peer."""
    lab.run(host, "cat >/tmp/serve.py", stdin=SERVE % PORT)
    lab.run(host, "setsid --fork sh -c 'echo $$ >/tmp/serve.pid; exec python3 /tmp/serve.py' >/dev/null 2>&1")
    assert eventually(lambda: bool(lab.run(host, f"ss -Htln sport = :{PORT}").out))
    flow = Flow(lab, lab.host(host).address)
    flow.opens(peer)
    try:
        yield flow
    finally:
        lab.run(host, "kill $(cat /tmp/serve.pid)", check=False)
        lab.run(peer, "kill $(ps -eo pid=,args= | awk '/flow.py/ && !/awk/ { print $1 }')", check=False)


def raw_frames(lab: Lab, from_: str, to: str) -> int:
    """How many of 20 raw frames of one host reach another."""
    lab.run(to, "cat >/tmp/hear.py; rm -f /tmp/heard", stdin=HEAR)
    lab.run(to, "setsid --fork python3 /tmp/hear.py >/tmp/heard 2>&1")
    assert eventually(lambda: "hears" in lab.run(to, "cat /tmp/heard").out)
    target, own = (lab.host(one).mac.replace(":", "") for one in (to, from_))
    lab.run(from_, "python3 -c " + shlex.quote(FRAMES % (target, own)))
    assert eventually(lambda: len(lab.run(to, "cat /tmp/heard").out.split()) == 2)
    return int(lab.run(to, "cat /tmp/heard").out.split()[1])


class Layer:
    """The layer of packet filters, within a run of its own; faults are what it gives."""

    def __init__(self, hosts: list[str], run: str) -> None:
        self.hosts, self.run = hosts, run

    def apply(self) -> dict[str, str]:
        return {host: fault.message for host, fault in firewall.apply(self.hosts).faults.items()}

    def verify(self) -> dict[str, str]:
        return firewall.verify(self.hosts).faults

    def release(self) -> dict[str, str]:
        return {host: fault.message for host, fault in firewall.release(self.hosts, self.run).faults.items()}


@contextmanager
def layer_alone(recoverd: Controller, *hosts: str) -> Iterator[Layer]:
    """A run that has the layer in hand, with locks and a journal."""
    recoverd.target = ",".join(hosts)
    row = recoverd.request("isolate")
    with execution("isolate", recoverd.target, row.id, row.reason, row.options):
        yield Layer([*hosts], row.id)
