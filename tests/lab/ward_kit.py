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

PORT = 8090
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


BEACON = """
HOME = 8091
import socket, sys, time
name, places = sys.argv[1], sys.argv[2:]
for turn in range(3000):
    for number, address in enumerate(places):
        try:
            with socket.create_connection((address, HOME), 0.3) as one:
                one.sendall((name if name != "host" else "46"[number]).encode() + b" ")
        except OSError:
            pass
    time.sleep(0.1)
"""
HEARD = """
HOME = 8091
import socket, threading, pathlib
listener = socket.create_server(("::", HOME), family=socket.AF_INET6, dualstack_ipv6=True)
def take(one):
    one.settimeout(2)
    try:
        word = one.recv(20)
    except OSError:
        return
    with open("/tmp/heard.log", "ab", 0) as log:
        log.write(word)
while True:
    threading.Thread(target=take, args=(listener.accept()[0],), daemon=True).start()
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


class Beacons:
    """Processes of a host, and of a guest behind it, that call home to another one all the time."""

    def __init__(self, lab: Lab, home: str) -> None:
        self.lab, self.home = lab, home

    def heard(self) -> set[str]:
        """From whom something came within some turns of theirs, from now on: `4`, `6`, `guest`."""
        self.lab.run(self.home, "rm -f /tmp/heard.log")
        eventually(lambda: self._words() >= {"4", "6", "guest"}, timeout_s=4)
        return self._words()

    def _words(self) -> set[str]:
        return set(self.lab.run(self.home, "cat /tmp/heard.log 2>/dev/null", check=False).out.split())


@contextmanager
def beacons(lab: Lab, host: str, home: str) -> Iterator[Beacons]:
    """A beaconing process on a host over both families, and one in a routed guest behind it."""
    there, guest = lab.host(home), lab.add_guest(host, "routed")
    lab.run(home, "cat >/tmp/heard.py; rm -f /tmp/heard.log", stdin=HEARD)
    lab.run(home, "setsid --fork sh -c 'echo $$ >/tmp/heard.pid; exec python3 /tmp/heard.py' >/dev/null 2>&1")
    lab.run(host, "cat >/dev/shm/beacon.py", stdin=BEACON)
    run = "setsid --fork python3 /dev/shm/beacon.py %s %s >/dev/null 2>&1"
    lab.run(host, run % ("host", f"{there.address} {there.address6}"))
    (lab.state / "beacon.py").write_text(BEACON)
    lab.run_in(guest, f"setsid --fork timeout 300 python3 {lab.state}/beacon.py guest {there.address} >/dev/null 2>&1")
    try:
        yield Beacons(lab, home)
    finally:
        lab.run(home, "kill $(cat /tmp/heard.pid)", check=False)
        lab.run(host, "kill $(ps -eo pid=,args= | awk '/beacon.py/ && !/awk/ { print $1 }')", check=False)
