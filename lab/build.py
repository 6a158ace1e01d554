"""Raising a lab."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import cluster, inventory, keys, machine, network, s3
from lab.layout import BACKUP_OCTETS, MOST_PLAIN_HOSTS, OCTETS, Host, Layout, base_dir, checked_name
from lab.needs import check_machine, check_systemd, find_postgres
from lab.network import CLAIM_LOCK, choose_number, has_ipv6, locked, make_bridge
from lab.shell import call
from lab.teardown import remove
from recoverd.errors import Invalid, Refused

Say = Callable[[str], None]


def build(
    name: str, plain_hosts: Sequence[str], say: Say, *, databases: bool, sync: bool, supervisor: bool, systemd: bool,
    wal_level: str, disk_mb: int, version: int | None, backups: bool, backup_disk_mb: int,
) -> Layout:  # fmt: skip
    """Raise a lab. What a failed or killed attempt left is taken away first. Raises Refused if it is up already."""
    check_machine(backups=backups)
    if systemd:
        check_systemd()
    os.umask(0o022)  # hosts share this machine's accounts: what they must read is readable
    base, name, plain = base_dir(), checked_name(name), checked_hosts(plain_hosts)
    if not databases:
        check_plain(plain, systemd=systemd, backups=backups)
    server_dir, server_version = find_postgres(version) if databases else (Path("/nonexistent"), 0)
    with locked(base / f".{name}.lock"):
        if (base / name / "ready").exists():
            raise Refused(f"the lab {name} is up already", f"recoverd lab down --name {name}")
        remove(name, base)
        options = {"sync": sync, "supervisor": supervisor, "systemd": systemd, "disk_mb": disk_mb}
        options |= {"backups": backups, "backup_disk_mb": backup_disk_mb}
        layout = Layout(
            name=name, base=base, number=0, plain_hosts=plain, cluster=databases, server_dir=server_dir, server_version=server_version,
            ipv6=has_ipv6(), wal_level=wal_level, disk="loop" if Path("/dev/loop-control").exists() else "tmpfs", **options,
        )  # fmt: skip
        try:
            return raise_lab(layout, say)
        except BaseException:
            remove(name, base)
            raise


def raise_lab(layout: Layout, say: Say) -> Layout:
    """The steps of `up`, on a machine without a trace of this lab."""
    layout.state.mkdir(parents=True)
    layout.state.chmod(0o700)
    make_account(layout, say)
    with locked(CLAIM_LOCK):  # two labs that start at once must not choose one subnet
        layout = layout.model_copy(update={"number": choose_number(layout.name, layout.state)})
        (layout.state / "lab.json").write_text(layout.model_dump_json(indent=2))
        make_bridge(layout)
    machine.make_keys(layout)
    if layout.backups:
        keys.make_backup_keys(layout)
    hosts = list(layout.hosts.values())
    named = ", ".join(layout.hosts) if len(hosts) <= 12 else f"{len(hosts)} hosts"
    say(f"starting {named} on {layout.subnet}")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda host: boot(layout, host), hosts))
    machine.write_known_hosts(layout)
    inventory.write(layout)
    network.check_switch(layout)
    if layout.cluster:
        say(
            f"creating the PostgreSQL {layout.server_version} cluster: primary {layout.databases[0].name}, two standbys"
        )
        cluster.create(layout)
    for host in hosts:
        machine.wait_for_ssh(host)
    if layout.backups:
        say(f"waiting for S3 on {layout.s3_endpoint}")
        s3.make_bucket(layout)
    (layout.state / "ready").touch()
    return layout


def boot(layout: Layout, host: Host) -> None:
    """Prepare a host and switch it on."""
    machine.prepare(layout, host)
    if layout.backups:
        s3.prepare(layout, host)
    machine.power(layout, host, "on")


def make_account(layout: Layout, say: Say) -> None:
    """The operating-system user that owns PostgreSQL, and the places where hosts mount their own directories."""
    if call(["id", "postgres"], state=layout.state, check=False).code != 0:
        say("creating the operating-system user postgres")
        call(["useradd", "--system", "--home-dir", cluster.HOME, "--shell", "/bin/sh", "postgres"], state=layout.state)
    for path in (Path("/var/lib/recoverd"), Path(cluster.HOME), Path("/mnt"), Path("/srv")):
        path.mkdir(exist_ok=True)


def check_plain(hosts: Sequence[str], *, systemd: bool, backups: bool) -> None:
    """Raises Invalid if a lab without databases cannot be as it is asked for."""
    if not hosts:
        raise Invalid(
            "a lab without databases has the hosts that are named, and none is", "name some, as with --hosts 5"
        )
    if systemd or backups:
        raise Invalid("systemd and backups belong to the database hosts", "leave them out, or have databases")


def checked_hosts(names: Sequence[str]) -> tuple[str, ...]:
    """`names` if hosts may be called so. Raises Invalid."""
    taken = {*OCTETS, *BACKUP_OCTETS, "controller"}
    for name in names:
        if not re.fullmatch(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", name) or name in taken:
            raise Invalid(f"{name!r} is no name for another host", "use small letters, digits and dashes")
    if len(names) > MOST_PLAIN_HOSTS or len(set(names)) < len(names):
        raise Invalid(f"a lab has at most {MOST_PLAIN_HOSTS} more hosts, each once", "name fewer")
    return tuple(names)
