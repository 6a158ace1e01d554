"""What a run is about to touch, said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.cli.output import note

if TYPE_CHECKING:
    from recoverd.inventory import Inventory


def say_blast_radius(inventory: Inventory, target: str) -> None:
    """Name the hosts behind a target, and the ways in to it."""
    from recoverd.inventory import Selection
    from recoverd.words import counted

    if target in inventory.files:
        files = inventory.files[target]
        hosts = ", ".join(f"{host} ({inventory.host(host).address})" for host in inventory.hosts_of(files))
        note(f"{files.name}: {', '.join(files.paths)} of {hosts}")
        return
    found = inventory.anything(target)
    if isinstance(found, Selection):
        hosts = ", ".join(f"{host} ({inventory.host(host).address})" for host in found.hosts)
        note(f"{counted(len(found.hosts), 'host')}: {hosts}")
        return
    service = inventory.service(target)
    hosts = ", ".join(f"{host} ({inventory.host(host).address})" for host in service.hosts)
    ways = ", ".join(entry.name for entry in service.entry_points) or "none"
    note(f"{service.name} ({service.criticality}): servers {hosts}; entry points {ways}")
