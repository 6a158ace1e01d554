"""Runbooks: procedures as documents to follow by hand, with the exact commands for an inventory.

Made from the inventory alone: no host is asked, and nothing of recoverd has to run when they are followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from flows.runbooks import failover, rejoin, switchover
from flows.runbooks.commands import Commands
from flows.runbooks.document import Document, hash_of
from recoverd import __version__
from recoverd.errors import Invalid
from recoverd.inventory import Inventory, Service
from recoverd.inventory.problems import nearest

MAKERS = {"failover": failover.chapters, "switchover": switchover.chapters, "rejoin": rejoin.chapters}
TITLES = {
    "failover": "Fail {service} over to a standby",
    "switchover": "Move the primary of {service} to a standby, as planned",
    "rejoin": "Bring a former primary of {service} back as a standby",
}

__all__ = ["MAKERS", "Document", "make"]


def make(procedure: str, target: str, inventory: Inventory, options: Mapping[str, Any] | None = None) -> Document:
    """The runbook of a procedure on a service.

    Args:
        procedure: failover, switchover or rejoin.
        target: Name of the service.
        inventory: What exists.
        options: `from` and `to`: members; leaves out what is about other ones.

    Raises:
        Invalid: There is no such runbook, service or member.
    """
    if procedure not in MAKERS:
        near = nearest(procedure, MAKERS)
        hint = f"did you mean {near}?" if near else f"there is one for {', '.join(MAKERS)}"
        raise Invalid(f"there is no runbook of {procedure!r}", hint)
    service = inventory.service(target)
    given = dict(options or {})
    away, to = _members(service, given.pop("from", None)), _members(service, given.pop("to", None))
    if given:
        raise Invalid(f"a runbook has no option {', '.join(sorted(given))}", "it has: from, to")
    if len(to) > 1 and len(away) == 1:
        to = tuple(host for host in to if host != away[0])
    to = tuple(host for host in to if not service.member(host).no_failover) or to
    return Document(
        title=TITLES[procedure].format(service=service.title or service.name),
        procedure=procedure,
        target=target,
        version=__version__,
        inventory=str(inventory.root),
        inventory_sha256=hash_of(inventory.root),
        printed_at=f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M UTC}",
        chapters=MAKERS[procedure](Commands(service, inventory), away, to),
    )


def _members(service: Service, given: Any) -> tuple[str, ...]:
    """The member that was named, else all of them, those that are promoted first at the front."""
    if given is not None:
        return (service.member(str(given)).host,)
    ranked = sorted(service.members, key=lambda member: (member.no_failover, -member.priority))
    return tuple(member.host for member in ranked)
