"""Guests: networks behind a host or beside it on its cable, as containers and virtual machines have them.

routed    a veth pair into the host, which forwards for it and hides it behind its own addresses: a container
macvlan   an own hardware address on the host's cable: its frames never pass the host's IP stack
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lab.layout import PLAIN_OCTETS, Host, Layout
from lab.machine import init_pid
from lab.shell import Ran, call
from recoverd.errors import Invalid, Refused

GuestKind = Literal["routed", "macvlan"]
MOST_GUEST_OCTETS = 254 - PLAIN_OCTETS[-1]
NAT = """
table inet lab_guest
delete table inet lab_guest
table inet lab_guest {
 chain out {
  type nat hook postrouting priority srcnat
  oifname "eth0" masquerade
 }
}
"""


class Guest(BaseModel):
    """A guest of a host.

    Attributes:
        host: The host's name.
        namespace: Its network (`ip netns`).
        address: Its IPv4 address; of a routed one, nobody but its host knows the way to it.
        address6: Its IPv6 address, likewise; empty where the lab has none.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    kind: GuestKind
    namespace: str
    address: str
    address6: str


def add(layout: Layout, host: Host, kind: GuestKind) -> Guest:
    """Give a host that is on a guest, anew if it has one of that kind. Its network is taken away with the lab.

    Raises:
        Invalid: There is no address left for a macvlan guest of this host.
        CommandFailed: The kernel does not have what it takes, or the host is off.
    """
    guest = describe(layout, host, kind)
    pids = call(["ip", "netns", "pids", guest.namespace], state=layout.state, check=False).out.split()
    if pids:  # they would keep the old one alive
        call(["kill", "-KILL", *pids], state=layout.state, check=False)
    call(["ip", "netns", "delete", guest.namespace], state=layout.state, check=False)
    call(["ip", "netns", "add", guest.namespace], state=layout.state)
    if kind == "routed":
        route(layout, host, guest)
    else:
        ride(layout, host, guest)
    return guest


def describe(layout: Layout, host: Host, kind: GuestKind) -> Guest:
    """The names and addresses of a host's guest. Raises Invalid."""
    if kind == "routed":
        address, address6 = f"172.29.{host.octet}.2", f"fd78:0:0:{host.octet:x}::2"
    else:
        offset = [*layout.hosts].index(host.name) + 1
        if offset > MOST_GUEST_OCTETS:
            raise Invalid(f"there is no address for a macvlan guest of {host.name}", "take one of the first hosts")
        octet = PLAIN_OCTETS[-1] + offset
        address, address6 = f"{layout.prefix}.{octet}", f"fd77:0:0:{layout.number:x}::{octet:x}"
    return Guest(
        host=host.name, kind=kind, namespace=f"{host.namespace}+{kind}", address=address,
        address6=address6 if layout.ipv6 else "",
    )  # fmt: skip


def route(layout: Layout, host: Host, guest: Guest) -> None:
    """Plug a guest into its host, which forwards for it from behind its own addresses."""
    call(["ip", "-netns", host.namespace, "link", "delete", "guest0"], state=layout.state, check=False)
    near, near6 = guest.address[:-1] + "1", guest.address6[:-1] + "1"
    ipv6 = bool(guest.address6)
    batch(layout, host.namespace, [
        f"link add guest0 type veth peer name eth0 netns {guest.namespace}",
        f"address add {near}/24 dev guest0",
        *([f"address add {near6}/64 dev guest0 nodad"] if ipv6 else []),
        "link set guest0 up",
    ])  # fmt: skip
    wake(layout, guest, 64)
    batch(layout, guest.namespace, [
        f"route add default via {near}", *([f"route add ::/0 via {near6}"] if ipv6 else [])
    ])  # fmt: skip
    switches = ["net.ipv4.ip_forward=1", *(["net.ipv6.conf.all.forwarding=1"] if ipv6 else [])]
    inside(layout, host.namespace, ["sysctl", "-q", "-w", *switches])
    call(["ip", "netns", "exec", host.namespace, "nft", "-f", "-"], state=layout.state, stdin=NAT)


def ride(layout: Layout, host: Host, guest: Guest) -> None:
    """Give a guest an own hardware address on its host's cable."""
    batch(layout, host.namespace, [
        "link add link eth0 name guest1 type macvlan mode bridge",
        f"link set guest1 netns {guest.namespace} name eth0",
    ])  # fmt: skip
    wake(layout, guest, 64)


def wake(layout: Layout, guest: Guest, prefix6: int) -> None:
    """Give a guest's own end its addresses."""
    batch(layout, guest.namespace, [
        "link set lo up",
        f"address add {guest.address}/24 dev eth0",
        *([f"address add {guest.address6}/{prefix6} dev eth0 nodad"] if guest.address6 else []),
        "link set eth0 up",
    ])  # fmt: skip


def batch(layout: Layout, namespace: str, lines: Sequence[str]) -> None:
    """Run lines of `ip` in a network."""
    call(["ip", "-netns", namespace, "-batch", "-"], state=layout.state, stdin="\n".join(lines) + "\n")


def inside(layout: Layout, namespace: str, command: Sequence[str]) -> None:
    """Run a command in a network."""
    call(["ip", "netns", "exec", namespace, *command], state=layout.state)


def run(layout: Layout, guest: Guest, command: Sequence[str] | str, *, timeout_s: float, check: bool) -> Ran:
    """Run an argument list, or a script for `sh`, in a guest's network, as a process that its host sees, as that of a container is.

    Raises:
        Refused: The host is off.
        CommandFailed, TimedOut: As `machine.run`.
    """
    pid = init_pid(layout.hosts[guest.host])
    if pid is None:
        raise Refused(f"{guest.host} is off", f"recoverd lab mend power-off {guest.host}")
    argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
    spaces = ["nsenter", f"--target={pid}", "--pid", f"--net=/run/netns/{guest.namespace}"]
    return call([*spaces, "--", *argv], state=layout.state, timeout_s=timeout_s, check=check)
