"""Many hosts cut off and confirmed over new connections: recoverd, beside bare paramiko threads and an Ansible playbook.

All three put on the same two tables of nftables behind the same timer, and take the timer away over a new connection. They take turns on
the same hosts, on one machine: what sshd costs there is in all of them.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko

from benchmarks.kit import figures
from deployments.start import start
from flows.layers import firewall
from lab import Lab, up
from recoverd.execution import execution
from recoverd.inventory import Inventory, load
from recoverd.journal import Journal
from recoverd.settings import settings
from tasks.hosts import script

SIZES = (10, 50, 100, 200)
THREADS = 32
TIMER_S = 600
TARGET_RATIO, TARGET_ANSIBLE = 2.0, 8.0
ANSIBLE_LOCK = Path(__file__).with_name("ansible-requirements.lock")
ANSIBLE_SIZE = 50
CLEAR = (
    "nft flush ruleset; rm -rf /var/lib/recoverd/* /etc/rcS.d/S??recoverd-* /etc/systemd/system/recoverd-* "
    "/etc/systemd/system/*.wants/recoverd-*"
)
PLAYBOOK = """
- hosts: cut
  gather_facts: false
  tasks:
    - command: {cmd: nft -f -, stdin: "{{ lookup('file', cut) }}"}
    - command: {cmd: nft -f -, stdin: "{{ lookup('file', confirm) }}"}
"""
Say = Callable[[str], None]


def measure(directory: Path, turns: int, say: Say, only: Sequence[str] = ()) -> dict[str, Any]:
    """Seconds for each number of hosts; `only` names those that are wanted (`50 hosts`, `ansible`)."""
    os.environ["RECOVERD_LAB_DIR"] = str(directory / "labs")
    sizes = [size for size in SIZES if not only or any(word in f"{size} hosts" for word in only)]
    wants_ansible = not only or "ansible" in only
    hosts = tuple(f"web-{number}" for number in range(1, max([*sizes, ANSIBLE_SIZE]) + 1))
    lab = up("cut", hosts=hosts, databases=False)
    try:
        with _home(directory / "home", lab):
            inventory, journal = load(lab.inventory), Journal.open()
            cut, confirm = rules(inventory, lab)
            found: dict[str, Any] = {}
            for size in sizes:
                found[f"{size} hosts"] = _size(hosts[:size], turns, inventory, journal, lab, cut, confirm, say)
            if wants_ansible:
                found["ansible"] = ansible(directory, hosts[:ANSIBLE_SIZE], lab, cut, confirm, say)
            journal.close()
            return found
    finally:
        Lab.remove("cut")


def _size(
    hosts: Sequence[str], turns: int, inventory: Inventory, journal: Journal, lab: Lab, cut: str, confirm: str, say: Say
) -> dict[str, Any]:
    floor, ours = [], []
    for _ in range(turns):
        clear(lab, hosts)
        floor.append(bare(hosts, inventory, cut, confirm))
        clear(lab, hosts)
        ours.append(recoverd(hosts, journal))
        say(f"  {len(hosts)} hosts: floor {floor[-1]:.2f} s, recoverd {ours[-1]:.2f} s")
    clear(lab, hosts)
    one = {"floor": figures(floor), "recoverd": figures(ours)}
    ratio = one["recoverd"]["median_s"] / one["floor"]["median_s"]
    return {**one, "ratio": round(ratio, 2), "ms_a_host": round(one["recoverd"]["median_s"] * 1000 / len(hosts), 1)}


def recoverd(hosts: Sequence[str], journal: Journal) -> float:
    """The layer within a run: asked, intended, cut, confirmed over a new connection, kept across boots, asked again, written down."""
    target = ",".join(hosts)
    row = start("isolate", target, trigger="hand", requester="bench", reason="bench", journal=journal)
    began = time.monotonic()
    with execution("isolate", target, row.id, row.reason, {}):
        done = firewall.apply(hosts)
        took = time.monotonic() - began
    assert not done.faults, next(iter(done.faults.values())).message
    assert len(done.outcomes) == len(hosts)
    return took


def bare(hosts: Sequence[str], inventory: Inventory, cut: str, confirm: str) -> float:
    """The same commands by threads: connect, cut, connect anew, confirm. Nothing is asked, and nothing is written down."""

    def one(host: str) -> None:
        for rules_ in (cut, confirm):
            with connected(inventory, host) as client:
                stdin, stdout, _ = client.exec_command("exec nft -f -", timeout=30)
                stdin.write(rules_)
                stdin.channel.shutdown_write()
                assert stdout.channel.recv_exit_status() == 0

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(one, hosts))
    return time.monotonic() - began


@contextlib.contextmanager
def connected(inventory: Inventory, host: str) -> Iterator[paramiko.SSHClient]:
    known = inventory.host(host)
    client = paramiko.SSHClient()
    client.load_host_keys(str(known.known_hosts))
    client.connect(
        known.address, username=known.user, key_filename=str(known.key_file), look_for_keys=False, allow_agent=False,
        timeout=30, banner_timeout=30, auth_timeout=30,
    )  # fmt: skip
    try:
        yield client
    finally:
        client.close()


def ansible(directory: Path, hosts: Sequence[str], lab: Lab, cut: str, confirm: str, say: Say) -> dict[str, Any]:
    """The same by a playbook: pipelining, 50 forks, connections that a first play has opened and that are kept.

    It confirms over the connection that it has: less than the others do.
    """
    play = installed(directory / "ansible")
    places = directory / "play"
    places.mkdir()
    for name, text in {"cut.nft": cut, "confirm.nft": confirm, "play.yaml": PLAYBOOK}.items():
        (places / name).write_text(text)
    lines = "".join(f"    {host}: {{ansible_host: {lab.host(host).address}}}\n" for host in hosts)
    (places / "hosts.yaml").write_text(
        f"cut:\n  vars: {{ansible_python_interpreter: /usr/bin/python3}}\n  hosts:\n{lines}"
    )
    settings_ = {
        "ANSIBLE_PIPELINING": "1", "ANSIBLE_FORKS": "50", "ANSIBLE_HOME": str(places), "LC_ALL": "C.UTF-8",
        "ANSIBLE_SSH_ARGS": f"-F {lab.state}/ssh_config -o ControlMaster=auto -o ControlPersist=300s",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(places / "c"),
    }  # fmt: skip
    given = ["-i", str(places / "hosts.yaml"), "-e", f"cut={places}/cut.nft", "-e", f"confirm={places}/confirm.nft"]

    def played() -> float:
        clear(lab, hosts)
        began = time.monotonic()
        ran = subprocess.run(
            [play, *given, str(places / "play.yaml")], env={**os.environ, **settings_}, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (ran.stdout + ran.stderr)[-2000:]
        return time.monotonic() - began

    say(f"  {len(hosts)} hosts: Ansible, cold: {played():.1f} s")
    warm = [played(), played()]
    say(f"  {len(hosts)} hosts: Ansible, warm: {', '.join(f'{one:.1f}' for one in warm)} s")
    clear(lab, hosts)
    return figures(warm)


def installed(home: Path) -> str:
    """ansible-playbook, in a place of its own; it is no dependency of the project."""
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, timeout=120)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(ANSIBLE_LOCK)]
    subprocess.run(pip, check=True, timeout=300)
    return str(home / "bin" / "ansible-playbook")


def rules(inventory: Inventory, lab: Lab) -> tuple[str, str]:
    """The two transactions that recoverd's own script makes, for whoever else puts them on."""
    text = script("came_from+cut").rpartition('case "$VERB" in')[0]
    given = (
        f"SERVICE=host PGDATA=/nonexistent MANAGEMENT={lab.layout.prefix}.1 DHCP= PORT=22\n{text}\n"
        f"inet_table ' timeout {TIMER_S}s'; l2_table ' timeout {TIMER_S}s' 'ingress egress' eth0\n"
    )
    made = lab.run(next(iter(inventory.hosts)), f"main() {{\n{given}}}\nmain").out
    sets = {"inet recoverd_quarantine": "ipv4, ipv6", "netdev recoverd_quarantine_l2": '"eth0"'}
    confirm = [
        f"{verb} element {table} armed {{ {held} }}" for table, held in sets.items() for verb in ("delete", "add")
    ]
    return made, "\n".join(confirm) + "\n"


def clear(lab: Lab, hosts: Sequence[str]) -> None:
    """Nobody is cut off, and nothing is left that would."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda host: lab.run(host, CLEAR, check=False), hosts))


@contextlib.contextmanager
def _home(home: Path, lab: Lab) -> Iterator[None]:
    (lab.inventory / "isolation.yaml").write_text(
        f'zones:\n  all: {{hosts: "group:web", timer_s: {TIMER_S}, limit: {{hosts: 1000, percent: 100}}}}\n'
    )
    os.environ |= {"RECOVERD_HOME": str(home), "RECOVERD_INVENTORY": str(lab.inventory)}
    settings.cache_clear()
    try:
        yield
    finally:
        settings.cache_clear()


def rows(found: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """For people: what, measured, wanted, reached."""
    lines = []
    for name, one in found.items():
        if name == "ansible":
            continue
        took, floor, reached = one["recoverd"]["median_s"], one["floor"]["median_s"], one["ratio"] <= TARGET_RATIO
        words = f"{took:.2f} s, {one['ms_a_host']} ms a host; floor {floor:.2f} s: {one['ratio']} ×"
        lines.append(
            (f"cut off and confirmed, {name}", words, f"≤ {TARGET_RATIO:g} × floor", "yes" if reached else "no")
        )
    ours = found.get(f"{ANSIBLE_SIZE} hosts")
    if "ansible" in found and ours:
        ratio = found["ansible"]["median_s"] / ours["recoverd"]["median_s"]
        words = f"{found['ansible']['median_s']:.1f} s: {ratio:.1f} × recoverd's"
        lines.append(
            (
                "the same by Ansible, 50 hosts",
                words,
                f"≥ {TARGET_ANSIBLE:g} ×",
                "yes" if ratio >= TARGET_ANSIBLE else "no",
            )
        )
    return lines
