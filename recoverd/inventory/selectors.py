"""Which hosts a text means: `web-3`, `group:web`, `label:role=web`, several joined by commas. Nothing means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from recoverd.errors import Invalid
from recoverd.inventory.base import Model
from recoverd.inventory.matchers import Matcher
from recoverd.inventory.problems import nearest

if TYPE_CHECKING:
    from recoverd.inventory.inventory import Inventory

GROUP, LABEL = "group:", "label:"


class Selection(Model):
    """Hosts that a procedure is run on."""

    name: str = Field(description="the text that selects them")
    hosts: tuple[str, ...] = Field(min_length=1, description="their names, in the order of the inventory")
    policy: str = Field(description="the policy that all of them go by")

    @property
    def kind(self) -> str:
        """What its runs lock: each host by itself."""
        return "hosts"


def select(inventory: Inventory, text: str) -> tuple[str, ...]:
    """The hosts that a text means, each once, in the order of the inventory.

    Raises:
        Invalid: It is empty, a name in it is not known, or a part of it means no host: an empty selector matches nothing.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise Invalid(
            f"the selector {text!r} has an empty part, which means no host",
            "name a host, group:NAME, or label:NAME=VALUE",
        )
    wanted = {host for part in parts for host in _of_part(inventory, part)}
    return tuple(host for host in inventory.hosts if host in wanted)


def selection(inventory: Inventory, text: str) -> Selection:
    """The hosts that a text means, with the policy that they share.

    Raises:
        Invalid: As `select`, or they go by different policies.
    """
    hosts = select(inventory, text)
    policies = {inventory.zone_of(host).policy: host for host in hosts}
    if len(policies) > 1:
        said = ", ".join(f"{host} by {policy}" for policy, host in policies.items())
        raise Invalid(f"the hosts of {text} go by different policies: {said}", "start a run for each of them")
    return Selection(name=text, hosts=hosts, policy=next(iter(policies)))


def _of_part(inventory: Inventory, part: str) -> tuple[str, ...]:
    if part.startswith(GROUP):
        return _of_group(inventory, part.removeprefix(GROUP))
    if part.startswith(LABEL):
        return _of_label(inventory, part.removeprefix(LABEL))
    return (inventory.host(part).name,)


def _of_group(inventory: Inventory, name: str) -> tuple[str, ...]:
    if name not in inventory.groups:
        near = nearest(name, inventory.groups)
        known = ", ".join(sorted(inventory.groups)[:20]) or "none"
        raise Invalid(
            f"there is no group {name} in the inventory",
            f"did you mean {near}?" if near else f"hosts.yaml defines: {known}",
        )
    members = inventory.groups[name]
    if not members:
        raise Invalid(f"the group {name} has no host", "name one that has")
    return tuple(inventory.host(host).name for host in members)  # one that cannot be used is not left out in silence


def _of_label(inventory: Inventory, text: str) -> tuple[str, ...]:
    try:
        matcher = Matcher.parse(text)
    except ValueError as error:
        raise Invalid(
            f"{text} selects by no label: {error}", "write label:NAME=VALUE, with one of = != =~ !~"
        ) from None
    found = tuple(name for name, host in inventory.hosts.items() if host.labels and matcher.matches(host.labels))
    if not found:
        raise Invalid(f"no host has labels that match {matcher}", "see `recoverd_labels` in hosts.yaml")
    return found
