"""What is doubtful about an inventory that loads: each finding with what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from recoverd.inventory.inventory import Inventory
from recoverd.inventory.secret import SecretRef
from recoverd.inventory.services import Service, VirtualAddress


@dataclass(frozen=True)
class Finding:
    """A doubt about the inventory.

    Attributes:
        subject: What it is about, such as `service shop`.
        what: A lowercase sentence.
        hint: The operator's next move.
    """

    subject: str
    what: str
    hint: str


def findings(inventory: Inventory) -> tuple[Finding, ...]:
    """All doubts that can be seen from this machine without asking any host."""
    found = [Finding(f"{one.file}:{one.line or 1}", one.what, "see docs/inventory.md") for one in inventory.warnings]
    found += [Finding(f"host {name}", str(why), "give it a plain value") for name, why in inventory.unusable.items()]
    found += _secrets(inventory)
    for service in inventory.services.values():
        found += _service(inventory, service)
    found += _addresses(inventory)
    found += _people(inventory)
    return tuple(found)


def secrets_of(inventory: Inventory) -> tuple[SecretRef, ...]:
    """Every reference to a secret, each once."""
    parts = (
        inventory.services, inventory.fence_devices, inventory.sources, inventory.backups, inventory.files, inventory.data,
    )  # fmt: skip
    return tuple(dict.fromkeys(ref for part in parts for ref in _references(part)))


def _references(value: Any) -> Iterator[SecretRef]:
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from _references(inner)
    elif hasattr(value, "values"):
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _references(inner)


def _secrets(inventory: Inventory) -> Iterator[Finding]:
    for reference in secrets_of(inventory):
        exposed = reference.exposed()
        if exposed is not None:
            yield Finding(f"secret {reference}", exposed, f"chmod 600 {reference.file}, and replace the secret")


def _service(inventory: Inventory, service: Service) -> Iterator[Finding]:
    subject = f"service {service.name}"
    policy = inventory.policy_of(service)
    bare = [member.host for member in service.members if not member.fencing]
    if bare:
        what = f"{', '.join(bare)} has no fence device: when it does not answer, nothing can prove that it is off"
        yield Finding(subject, what, "name a device of fencing.yaml under the member's `fencing`")
    if sum(not member.no_failover for member in service.members) < 2:
        yield Finding(subject, "no second member may be promoted", "add a standby, or remove no_failover from one")
    if not service.entry_points:
        what = "it has no entry point, so that no write can be proven from the user's side"
        yield Finding(subject, what, "add an entry point; kind libpq where nothing moves")
    if policy.sentinel.enabled and not service.clients:
        what = "the sentinel has no client host to look from"
        yield Finding(subject, what, "name the hosts that use the service under `clients`")
    may = _approvers(inventory, policy.approvals.roles)
    asks = "ask" in (*dict(policy.failover).values(), policy.unfenced_promotion, policy.possible_loss, policy.rejoin)
    # the one who asks cannot approve, so one more than required is needed
    if asks and len(may) <= policy.approvals.required:
        what = f"policy {policy.name} asks for {policy.approvals.required} approval(s), and {len(may)} may give one"
        yield Finding(subject, what, "give more people a role that may approve: nobody approves their own run")


def _approvers(inventory: Inventory, roles: Iterable[str]) -> set[str]:
    named = tuple(roles)
    return {
        person
        for name, role in inventory.roles.items()
        if "approve" in role.may and (not named or name in named)
        for person in role.people
    }


def _addresses(inventory: Inventory) -> Iterator[Finding]:
    """An address that is moved and also belongs to a host, or to two services, would end up on two machines."""
    owners = {host.address: f"host {name}" for name, host in inventory.hosts.items()}
    for service in inventory.services.values():
        for point in service.entry_points:
            if isinstance(point, VirtualAddress):
                owner = owners.setdefault(point.ip, f"service {service.name}")
                if owner != f"service {service.name}":
                    what = f"the address {point.ip} of {point.name} also belongs to {owner}"
                    yield Finding(f"service {service.name}", what, "give each its own address")


def _people(inventory: Inventory) -> Iterator[Finding]:
    """Two people with one login would be one pair of eyes."""
    seen: dict[str, str] = {}
    for name, person in inventory.people.items():
        for login in (person.os_user, person.token_sha256):
            other = seen.setdefault(login, name) if login else name
            if other != name:
                what = f"has the same login as {other}, so that one could approve what the other asks"
                yield Finding(f"person {name}", what, "give each person a login of their own")
