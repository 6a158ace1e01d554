"""Real faults, and how each is undone.

    kill        kill -9 of the postmaster alone            mend: start PostgreSQL, unless another host is primary by now
    power-off   the power switch                           mend: boot the host; PostgreSQL stays stopped, S3 serves
    partition   the switch drops a host's frames, by hardware address: established connections, IPv4 and IPv6 alike,
                both ways, from all or from named peers    mend: the switch lets them pass
    freeze      SIGSTOP to every process of PostgreSQL, or of the S3 server      mend: SIGCONT
    full-disk   the data file system is filled, or that of the backups           mend: the filling is removed
    slow-link   a token bucket on both ends of the cable   mend: it is removed

Cuts and slow links belong to the cable: they outlast a power cycle.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from lab import cluster, machine, s3
from lab.layout import Host, Layout
from lab.processes import is_postmaster, send, server_pids, state
from lab.roles import carries, role, writers
from lab.shell import CommandFailed, call
from recoverd.errors import Invalid, Refused, TimedOut, Unsafe

FILLING = "lab-filling"
TITLES = {"postgres": "PostgreSQL", "weed": "the S3 server"}
FAST_KBIT = 10_000


def inject(layout: Layout, kind: str, host: Host, *, peers: tuple[str, ...] = (), rate_kbit: int = 256) -> str:
    """Break `host`; returns a sentence on what was done. Raises Invalid, Refused."""
    known(kind, host)
    if kind == "partition":
        return cut(layout, host, peers)
    if peers:
        raise Invalid(f"{kind} has no peers", "only a partition is from somebody")
    if kind == "slow-link":
        return slow(layout, host, rate_kbit)
    return BREAK[kind](layout, host)


def mend(layout: Layout, kind: str, host: Host) -> str:
    """Undo a fault; returns a sentence on what was done. Raises Invalid, Refused, Unsafe."""
    known(kind, host)
    return MEND[kind](layout, host)


def known(kind: str, host: Host) -> None:
    """Raises Invalid unless such a fault can happen to such a host."""
    if kind not in KINDS:
        raise Invalid(f"there is no fault {kind!r}", f"use one of {', '.join(KINDS)}")
    if kind == "kill" and not host.is_database:
        raise Invalid(f"{host.name} has no PostgreSQL to kill", "name a database host")
    if kind == "freeze" and host.server is None:
        raise Invalid(f"{host.name} has no server to freeze", "name a database host, or s3-1")
    if kind == "full-disk" and not host.disks:
        raise Invalid(f"{host.name} has no disk of its own", "name a database host, backup-1 or s3-1")


def present(host: Host) -> tuple[str, ...]:
    """The faults that a host suffers now."""
    found = {
        "power-off": machine.init_pid(host) is None,
        "partition": is_cut(host),
        "freeze": any(state(pid) == "T" for pid in server_pids(host)),
        "full-disk": is_full(host),
        "slow-link": (host.dir / "slow.tc").exists(),
    }
    return tuple(kind for kind, is_so in found.items() if is_so)


def kill_postmaster(_: Layout, host: Host) -> str:
    """kill -9 of the postmaster alone; its children notice by themselves."""
    pids = [pid for pid in server_pids(host) if is_postmaster(pid)]
    if not pids:
        raise Refused(f"PostgreSQL is not running on {host.name}", "recoverd lab status")
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return f"killed the postmaster of {host.name}"


def start_again(layout: Layout, host: Host) -> str:
    """Start PostgreSQL in place, and give a primary its address back. Raises Unsafe: it would be a second primary."""
    if any(is_postmaster(pid) for pid in server_pids(host)):
        return f"PostgreSQL runs on {host.name}"
    others = [name for name in writers(layout) if name != host.name]
    if others and not (host.dir / "postgresql/data/standby.signal").exists():
        raise Unsafe(f"{others[0]} is the primary by now", f"bring {host.name} back with `recoverd run rejoin`")
    cluster.start(layout, host)
    if role(host) == "primary" and not any(carries(layout, one) for one in layout.databases):
        cluster.take_virtual_address(layout, host)
    return f"started PostgreSQL on {host.name}"


def power_off(layout: Layout, host: Host) -> str:
    """The power switch."""
    machine.power(layout, host, "off")
    return f"cut the power of {host.name}"


def power_on(layout: Layout, host: Host) -> str:
    """Boot; wait for sshd where the cable lets us, and for S3 where it has room to start."""
    machine.power(layout, host, "on")
    if not is_cut(host):
        machine.wait_for_ssh(host)
    if not is_full(host):
        s3.wait_until_serving(layout, host)
    return f"booted {host.name}" + ("; its PostgreSQL is stopped" if host.is_database else "")


def cut(layout: Layout, host: Host, peers: tuple[str, ...]) -> str:
    """Let the switch drop the frames between a host and its peers (none: everybody), both ways."""
    unknown = [peer for peer in peers if peer == host.name or peer not in {*layout.hosts, "controller"}]
    if unknown:
        raise Invalid(f"{host.name} cannot be cut off from {unknown[0]!r}", "name other hosts, or controller")
    macs = [layout.controller_mac if peer == "controller" else layout.hosts[peer].mac for peer in peers]
    said, heard = "drop", "drop"
    if macs:
        said, heard = (f"ether {side} {{ {', '.join(macs)} }} drop" for side in ("daddr", "saddr"))
    table = f"rl_{layout.name}_{host.slot}"
    rules = host.dir / "cut.nft"
    hook = f'device "{host.device}" priority 0; policy accept;'
    rules.write_text(
        f"table netdev {table}\ndelete table netdev {table}\ntable netdev {table} {{\n"
        f" chain said {{\n  type filter hook ingress {hook}\n  {said}\n }}\n"
        f" chain heard {{\n  type filter hook egress {hook}\n  {heard}\n }}\n"
        "}\n"
    )
    apply(layout, ["nft", "-f", str(rules)], rules, "nftables chains at a device, both ways (Linux 5.16)")
    return f"cut {host.name} off from {', '.join(peers) or 'everybody'}"


def join(layout: Layout, host: Host) -> str:
    """Let the frames pass again."""
    (host.dir / "cut.nft").unlink(missing_ok=True)
    table = f"rl_{layout.name}_{host.slot}"
    rules = f"table netdev {table}\ndelete table netdev {table}\n"
    call(["nft", "-f", "-"], state=layout.state, stdin=rules)
    return f"{host.name} is joined to the network"


def is_cut(host: Host) -> bool:
    """Whether a host is cut off from anybody."""
    return (host.dir / "cut.nft").exists()


def freeze(_: Layout, host: Host) -> str:
    """SIGSTOP: a postmaster first, so that it starts no more children, then all until none moves."""
    if not server_pids(host):
        raise Refused(f"{title(host)} is not running on {host.name}", "recoverd lab status")
    deadline = time.monotonic() + 5
    while moving := [pid for pid in server_pids(host) if state(pid) not in "TZX"]:
        if time.monotonic() > deadline:
            raise TimedOut(f"processes {moving} of {host.name} do not stop", "recoverd lab status")
        for pid in sorted(moving, key=is_postmaster, reverse=True):
            send(pid, signal.SIGSTOP)
        time.sleep(0.01)
    return f"froze {title(host)} on {host.name}"


def thaw(_: Layout, host: Host) -> str:
    """SIGCONT to all of the server."""
    for pid in server_pids(host):
        send(pid, signal.SIGCONT)
    return f"{title(host)} moves again on {host.name}"


def title(host: Host) -> str:
    """What a host serves with, in words."""
    return TITLES.get(host.server or "", "nothing")


def fill_disk(_: Layout, host: Host) -> str:
    """Write into the host's disk until not one more byte goes in."""
    size = 1 << 20
    with filling(host).open("ab", buffering=0) as file:
        room = os.fstatvfs(file.fileno())
        os.posix_fallocate(file.fileno(), 0, max(room.f_bavail - 1024, 1) * room.f_frsize)
        while size:
            try:
                file.write(b"\xff" * size)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                size //= 2
        os.fsync(file.fileno())
    return f"filled the disk of {host.name}"


def empty_disk(layout: Layout, host: Host) -> str:
    """Remove the filling; an S3 server that could not start for want of room does so now."""
    filling(host).unlink(missing_ok=True)
    if machine.init_pid(host) is not None and "freeze" not in present(host):
        s3.wait_until_serving(layout, host)
    return f"the disk of {host.name} has room again"


def is_full(host: Host) -> bool:
    """Whether a host's disk is filled."""
    return bool(host.disks) and filling(host).exists()


def filling(host: Host) -> Path:
    """The file that fills a host's disk."""
    return host.dir / host.disks[-1] / FILLING


def slow(layout: Layout, host: Host, rate_kbit: int) -> str:
    """A token bucket at both ends of the cable."""
    if rate_kbit < 8:
        raise Invalid(f"a link of {rate_kbit} kbit/s is too slow to be one", "use 8 or more")
    queue_ms = 1000 if rate_kbit < FAST_KBIT else 50  # a second's worth of a fast link is more than a router keeps
    bucket = f"root tbf rate {rate_kbit}kbit burst 4kb latency {queue_ms}ms"
    script = host.dir / "slow.tc"
    script.write_text(
        f"tc qdisc replace dev {host.device} {bucket}\ntc -netns {host.namespace} qdisc replace dev eth0 {bucket}\n"
    )
    apply(layout, ["sh", "-e", str(script)], script, "the token bucket filter (sch_tbf)")
    return f"slowed the link of {host.name} to {rate_kbit} kbit/s"


def apply(layout: Layout, command: list[str], rules: Path, feature: str) -> None:
    """Run a file of rules, which stays for the next boot if the kernel takes it. Raises Refused."""
    try:
        call(command, state=layout.state)
    except CommandFailed as error:
        rules.unlink()
        raise Refused(f"this kernel does not have {feature}", error.message) from error


def speed_up(layout: Layout, host: Host) -> str:
    """Remove the token buckets."""
    if (host.dir / "slow.tc").exists():
        call(["tc", "qdisc", "delete", "dev", host.device, "root"], state=layout.state)
        call(["tc", "-netns", host.namespace, "qdisc", "delete", "dev", "eth0", "root"], state=layout.state)
        (host.dir / "slow.tc").unlink()
    return f"the link of {host.name} is as fast as ever"


Act = Callable[[Layout, Host], str]
BREAK: dict[str, Act] = {"kill": kill_postmaster, "power-off": power_off, "freeze": freeze, "full-disk": fill_disk}
MEND: dict[str, Act] = {
    "kill": start_again,
    "power-off": power_on,
    "partition": join,
    "freeze": thaw,
    "full-disk": empty_disk,
    "slow-link": speed_up,
}
KINDS = tuple(MEND)
