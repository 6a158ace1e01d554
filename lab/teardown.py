"""Taking a lab away, to the last trace, whatever state it is in."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from lab.layout import MARK, Layout, base_dir, checked_name
from lab.needs import cgroups, check_machine
from lab.network import CLAIM_LOCK, locked
from lab.processes import state
from lab.shell import call
from recoverd.errors import Unproven

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


def down(name: str) -> None:
    """Take a lab away, also what a killed `up` left of it. Does nothing where there is none. Raises Unproven."""
    check_machine()
    base = base_dir()
    with locked(base / f".{checked_name(name)}.lock"):
        remove(name, base)
    if base.exists() and not any(base.iterdir()):
        base.rmdir()


def remove(name: str, base: Path) -> None:
    """Remove processes, wires, mounts, disks and files, again until nothing is found. Raises Unproven."""
    layout = Layout(name=name, base=base, number=0)
    for _ in range(20):
        sweep(layout)
        if not (left := traces(layout)):
            return
        time.sleep(0.1)
    raise Unproven(f"the lab {name} could not be removed: {', '.join(left)} remain", "see who uses them, then again")


def sweep(layout: Layout) -> None:
    """One pass of removal; each part looks for itself at what is there."""
    directory = layout.state
    kill(processes(layout))
    for device in devices(layout):
        call(["ip", "link", "delete", device], state=directory, check=False)
    for namespace in namespaces(layout):
        call(["ip", "netns", "delete", namespace], state=directory, check=False)
    for group in groups(layout):
        with contextlib.suppress(OSError):  # a process of it has not ended yet: it is among the traces
            group.rmdir()
    for table in tables(layout):
        call(["nft", "delete", "table", "netdev", table], state=directory, check=False)
    for point in (points := mounts(layout)):
        forget_writes(point)
    if points:
        call(["umount", "-l", *points], state=directory, check=False)
    for device in loops(layout):
        call(["losetup", "-d", device], state=directory, check=False)
    if not mounts(layout):
        shutil.rmtree(directory, ignore_errors=True)  # what resists is among the traces
    if CLAIM_LOCK.exists():
        with locked(CLAIM_LOCK):
            pass  # one that a killed `up` left is removed with this


def traces(layout: Layout) -> list[str]:
    """Everything on the machine that still belongs to the lab, in words."""
    found = [f"process {pid}" for pid in processes(layout)]
    for kind, names in (("interface", devices), ("namespace", namespaces), ("mount", mounts), ("disk", loops)):
        found += [f"{kind} {name}" for name in names(layout)]
    found += [f"control group {group}" for group in groups(layout)]
    return found + ([f"directory {layout.state}"] if layout.state.exists() else [])


def processes(layout: Layout) -> Iterator[int]:
    """Living processes that carry the lab's mark in their environment, or live in a network of the lab."""
    networks = {os.stat(f"/run/netns/{name}").st_ino for name in namespaces(layout)}
    mark = f"{MARK}={layout.state}\0".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            ours = mark in (entry / "environ").read_bytes() or os.stat(entry / "ns/net").st_ino in networks
            if ours and state(int(entry.name)) not in "ZX":
                yield int(entry.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or belongs to a sandbox around this machine


def kill(pids: Iterator[int]) -> None:
    """Kill processes that are known to be the lab's."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def devices(layout: Layout) -> list[str]:
    """The lab's network interfaces in the root namespace."""
    names = sorted(path.name for path in Path("/sys/class/net").iterdir())
    return [name for name in names if name == layout.bridge or name.startswith(f"{layout.bridge}-")]


def namespaces(layout: Layout) -> list[str]:
    """The lab's named network namespaces."""
    return sorted(path.name for path in Path("/run/netns").glob(f"rl.{layout.name}.*"))


def groups(layout: Layout) -> list[Path]:
    """The control groups of the lab's hosts with systemd, the innermost first."""
    root = cgroups()
    hosts = [] if root is None else [path for path in root.glob(f"rl.{layout.name}.*") if path.is_dir()]
    return [Path(place) for host in hosts for place, _, _ in os.walk(host, topdown=False)]


def tables(layout: Layout) -> list[str]:
    """The lab's packet filter tables in the root namespace."""
    words = [line.split() for line in call(["nft", "list", "tables"], state=layout.state, check=False).out.splitlines()]
    return [line[2] for line in words if line[1] == "netdev" and line[2].startswith(f"rl_{layout.name}_")]


def mounts(layout: Layout) -> list[str]:
    """Mounts below the lab's directory, the last one first."""
    points = [line.split()[4] for line in mount_lines()]
    return [point for point in reversed(points) if point.startswith(f"{layout.state}/")]


def forget_writes(point: str) -> None:
    """Stop a disk image's file system where it stands: what it still has to write will never be read."""
    kinds = [line.split(" - ")[1].split() for line in mount_lines() if line.split()[4] == point]
    if not kinds or kinds[-1][0] != "ext4" or not kinds[-1][1].startswith("/dev/loop"):
        return
    descriptor = os.open(point, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
    except OSError:
        return  # an older kernel: then unmounting takes its time
    finally:
        os.close(descriptor)


def mount_lines() -> list[str]:
    """The machine's mounts, in the kernel's words."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


def loops(layout: Layout) -> list[str]:
    """Loop devices on the lab's disk images."""
    listed = call(["losetup", "-l", "-n", "-O", "NAME,BACK-FILE"], state=layout.state, check=False).out
    lines = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [line[0] for line in lines if len(line) == 2 and line[1].startswith(f"{layout.state}/")]
