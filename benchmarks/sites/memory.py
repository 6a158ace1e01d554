"""What memory a backup and a restore take: of the controller's processes, and of what they start on the hosts.

Peaks are the kernel's own (VmHWM), read every 0.2 s from /proc while a run goes on; a process that lived for less is not seen.
PostgreSQL itself and the S3 server are left out: their memory is settings of theirs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.kit import Controller
from benchmarks.sites.kit import lab_with_sites, timed_run
from benchmarks.sites.restore import restore
from lab import Lab
from lab.machine import init_pid

SIZES_MB = (512, 4096)
EVERY_S = 0.2
GROWTH = 1.25
"""So much more for a database eight times as large still counts as independent of size."""
_NOT_OURS = {"postgres", "weed"}


@dataclass
class Peaks:
    """The peaks while the block lasts, in MiB.

    Attributes:
        controller: The largest process of the controller.
        controllers: All of them together.
        hosts: The largest process of each command on the hosts.
    """

    lab: Lab
    pid: int
    controller: float = 0.0
    controllers: float = 0.0
    hosts: dict[str, float] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Peaks:
        self._spaces = {_space(pid) for host in self.lab.hosts if (pid := init_pid(host)) is not None}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            parents, seen = {}, {}
            for entry in os.listdir("/proc"):
                if entry.isdigit() and (status := _status(int(entry))) is not None:
                    parents[int(entry)], seen[int(entry)] = status.pop("PPid"), status
            mine = [pid for pid in seen if _descends(pid, self.pid, parents)]
            self.controller = max([self.controller, *(seen[pid]["VmHWM"] for pid in mine)])
            self.controllers = max(self.controllers, sum(seen[pid]["VmRSS"] for pid in mine))
            for pid in seen:
                if pid not in mine and _space(pid) in self._spaces and (name := _name(pid)) not in _NOT_OURS:
                    self.hosts[name] = max(self.hosts.get(name, 0.0), seen[pid]["VmHWM"])

    def facts(self) -> dict[str, Any]:
        """In MiB; of the hosts' processes the largest six."""
        most = sorted(self.hosts.items(), key=lambda one: -one[1])[:6]
        return {
            "controller_mib": round(self.controller), "controllers_mib": round(self.controllers),
            "hosts_mib": {name: round(value) for name, value in most},
        }  # fmt: skip


def _status(pid: int) -> dict[str, Any] | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    found = {key: value.split()[0] for key, _, value in (line.partition(":") for line in lines) if value.split()}
    if "VmHWM" not in found:  # a kernel thread, or a zombie
        return None
    return {"PPid": int(found["PPid"]), "VmHWM": int(found["VmHWM"]) / 1024, "VmRSS": int(found["VmRSS"]) / 1024}


def _descends(pid: int, root: int, parents: Mapping[int, int]) -> bool:
    while pid > 1:
        if pid == root:
            return True
        pid = parents.get(pid, 0)
    return False


def _space(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def measure(directory: Path, _runs: int, say: Callable[[str], None], only: Iterable[str] = ()) -> dict[str, Any]:
    """The peaks of a backup and of a restore, by size. `only` names other sizes, in MiB; each has a lab of its own."""
    found: dict[str, Any] = {}
    for size in tuple(int(one) for one in only) or SIZES_MB:
        place = directory / str(size)
        place.mkdir()
        with lab_with_sites(place / "labs", size, say) as lab, Controller(lab, place / "home") as recoverd:
            time.sleep(2)
            with Peaks(lab, recoverd.pid) as idle:
                time.sleep(1)
            with Peaks(lab, recoverd.pid) as backing:
                timed_run(recoverd, "backup")
            with Peaks(lab, recoverd.pid) as restoring:
                restore(lab, recoverd)
        found[str(size)] = {"idle": idle.facts(), "backup": backing.facts(), "restore": restoring.facts()}
        say(f"  {size} MiB: {found[str(size)]}")
    return found


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """The table: the peaks of each size, and whether they grew with it."""
    lines = []
    for procedure in ("backup", "restore"):
        of = {size: one[procedure] for size, one in found.items()}
        for size, one in of.items():
            hosts = ", ".join(f"{name} {value}" for name, value in one["hosts_mib"].items())
            words = f"controller {one['controller_mib']} MiB (all of it {one['controllers_mib']}); on hosts: {hosts}"
            lines.append((f"memory of a {procedure} of {size} MiB", words, "–", "–"))
        if len(of) > 1:
            least, most = of[min(of, key=int)], of[max(of, key=int)]
            grown = {
                "controller": most["controller_mib"] / least["controller_mib"],
                "hosts": max(most["hosts_mib"].values()) / max(least["hosts_mib"].values()),
            }
            words = ", ".join(f"{name} {ratio:.2f} ×" for name, ratio in grown.items())
            reached = "yes" if max(grown.values()) <= GROWTH else "no"
            lines.append((f"memory of a {procedure}, largest / smallest database", words, f"≤ {GROWTH:g} ×", reached))
    return lines
