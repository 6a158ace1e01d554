"""How many hosts one run may take off the network: the limits of their zones, those that stand isolated counted in. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from recoverd.words import counted

if TYPE_CHECKING:
    from recoverd.inventory import Inventory


def over_limits(inventory: Inventory, hosts: Sequence[str], isolated: Collection[str]) -> tuple[str, ...]:
    """Why so many hosts must not go at once, a sentence a zone; empty where they may. One host of a zone always may.

    Args:
        inventory: What exists.
        hosts: To be isolated now.
        isolated: That stand isolated already, of any zone.
    """
    zones = {inventory.zone_of(host).name: inventory.zone_of(host) for host in hosts}
    members: dict[str, list[str]] = {name: [] for name in zones}
    for host in inventory.hosts:
        if (name := inventory.zone_of(host).name) in members:
            members[name].append(host)
    reasons = []
    for name, zone in zones.items():
        gone = [host for host in members[name] if host in isolated or host in hosts]
        if len(gone) <= 1:
            continue
        share = max(1, len(members[name]) * zone.limit.percent // 100)
        most = min(zone.limit.hosts, share)
        if len(gone) > most:
            already = sum(host in isolated for host in gone)
            said = f", {already} of them already" if already else ""
            rule = f"{zone.limit.hosts} hosts and {zone.limit.percent} % of {len(members[name])}"
            reasons.append(
                f"{counted(len(gone), 'host')} of zone {name} would be isolated{said}, and its limit is {most} ({rule})"
            )
    return tuple(reasons)
