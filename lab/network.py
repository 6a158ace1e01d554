"""The lab's wires: one bridge, one cable a host, a subnet that nobody else uses."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from lab.layout import DEFAULT_NAME, DEFAULT_NUMBER, Host, Layout
from lab.shell import call
from recoverd.errors import Busy, Refused

CLAIM_LOCK = Path("/run/recoverd-lab.lock")


def choose_number(name: str, state: Path) -> int:
    """A free third byte for the subnet 10.77.<number>.0/24; always 0 for the default lab. Raises Refused."""
    taken = networks_in_use(state)
    start = zlib.crc32(name.encode()) % 254 + 1
    numbers = [DEFAULT_NUMBER] if name == DEFAULT_NAME else [(start + i - 1) % 254 + 1 for i in range(254)]
    for number in numbers:
        subnet = ipaddress.ip_network(f"10.77.{number}.0/24")
        if not any(subnet.overlaps(other) for other in taken):
            return number
    where = f"10.77.{numbers[0]}.0/24" if len(numbers) == 1 else "10.77.0.0/16"
    raise Refused(f"the lab's network {where} is in use on this machine", "see `ip route`; another lab name may do")


def networks_in_use(state: Path) -> list[ipaddress.IPv4Network]:
    """The networks that the machine has addresses in or routes to, the default route aside."""
    addresses = json.loads(call(["ip", "-4", "-json", "address"], state=state).out or "[]")
    routes = json.loads(call(["ip", "-4", "-json", "route"], state=state).out or "[]")
    texts = [f"{entry['local']}/{entry['prefixlen']}" for link in addresses for entry in link.get("addr_info", ())]
    texts += [route["dst"] for route in routes if route["dst"] != "default"]
    return [ipaddress.IPv4Network(text, strict=False) for text in texts]


def make_bridge(layout: Layout) -> None:
    """Create the bridge with the controller's addresses."""
    lines = [
        f"link add {layout.bridge} address {layout.controller_mac} type bridge",
        f"address add {layout.controller}/24 dev {layout.bridge}",
        *([f"address add fd77:0:0:{layout.number:x}::1/64 dev {layout.bridge} nodad"] if layout.ipv6 else []),
        f"link set {layout.bridge} up",
    ]
    call(["ip", "-batch", "-"], state=layout.state, stdin="\n".join(lines) + "\n")


def write_cable(layout: Layout, host: Host) -> None:
    """Write the two `ip -batch` files with which the power switch plugs a host in at every boot."""
    (host.dir / "cable").write_text(
        f"link add {host.device} type veth peer name eth0 address {host.mac} netns {host.namespace}\n"
        f"link set {host.device} master {layout.bridge} up\n"
    )
    ipv6 = f"address add {host.address6}/64 dev eth0 nodad\n" if layout.ipv6 else ""
    (host.dir / "interface").write_text(
        f"link set lo up\naddress add {host.address}/24 dev eth0\n{ipv6}link set eth0 up\n"
    )


def check_switch(layout: Layout) -> None:
    """Raises Refused if the machine's packet filter stands between the hosts, as it does where Docker runs."""
    filters = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    first, *_, second = [*layout.hosts.values()] * 2
    probe = ["ip", "netns", "exec", first.namespace, "bash", "-c", f": </dev/tcp/{second.address}/22"]
    for _attempt in range(20):
        if call(["timeout", "2", *probe], state=layout.state, check=False).ok:
            return
        time.sleep(0.1)
    blamed = filters.exists() and filters.read_text().strip() == "1"
    raise Refused(
        f"{first.name} cannot reach {second.name} although both are up",
        "sysctl -w net.bridge.bridge-nf-call-iptables=0"
        if blamed
        else "see the machine's packet filter: `nft list ruleset`",
    )


def has_ipv6() -> bool:
    """Whether new network namespaces can carry IPv6 addresses."""
    switch = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    return switch.exists() and switch.read_text().strip() == "0"


@contextlib.contextmanager
def locked(path: Path, *, timeout_s: float = 60) -> Iterator[None]:
    """Hold the lock file `path`, which exists only while somebody holds it. Raises Busy.

    The file is removed by its holder, so a waiter may win the lock of a file that is no longer there: then it tries
    again with the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    while (descriptor := take(path)) is None:
        if time.monotonic() > deadline:
            raise Busy(f"another command is at work on this lab ({path})", "try again when it has ended")
        time.sleep(0.05)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def take(path: Path) -> int | None:
    """The descriptor of the lock file, locked, or None while another process holds it."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass  # held by another, or just removed by the one who held it
    os.close(descriptor)
    return None
