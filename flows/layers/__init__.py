"""The layers of an isolation: each cuts hosts off in one place, says whether they are, and puts back what it found there.

Every layer is a module with `apply(hosts, stop_after=…)`, `verify(hosts)` and `release(hosts, run)`. Those that a zone names are put on in
its order, and taken off in the order of `BACKWARDS`: users are led to a host when it can be reached again, not before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

from flows.layers import aws, entry_points, firewall
from flows.layers.doing import Done
from recoverd.inventory.isolation import Layer
from recoverd.world import world
from tasks.aws_instances import instances_of


class State(Protocol):
    """What a layer says of hosts: what is wrong with each that is not cut off there, by host."""

    @property
    def faults(self) -> Mapping[str, str]:
        """Only of those."""


class Module(Protocol):
    """A layer."""

    def apply(self, hosts: Sequence[str], *, stop_after: int | None = None) -> Done:
        """Cut hosts off; so many that fail, and no further one is begun."""

    def verify(self, hosts: Sequence[str]) -> State:
        """Ask anew whether they are."""

    def release(self, hosts: Sequence[str], run: str) -> Done:
        """Put back what a run found."""


LAYERS: Mapping[Layer, Module] = {
    "entry-points": cast("Module", entry_points),
    "firewall": cast("Module", firewall),
    "aws": cast("Module", aws),
}
INWARDS: tuple[Layer, ...] = ("aws", "firewall")
"""Taken off first, in this order; `entry-points` follows when peers reach the host again."""

Layers = Mapping[str, Sequence[Layer]]


def layers_of(host: str) -> tuple[Layer, ...]:
    """What cuts a host off, in order."""
    return world().inventory.zone_of(host).layers


def put_on(layers: Layers, *, stop_after: int | None) -> Done:
    """Cut hosts off, layer after layer; all hosts of a layer at once. One that fails in a layer still gets the others.

    Args:
        layers: By host.
        stop_after: So many hosts that fail in a layer, and no further one is begun there, nor in the layers after it.

    Raises:
        Refused: In AWS others would be cut off too; nothing has been changed then.
    """
    in_aws = tuple(host for host, some in layers.items() if "aws" in some)
    if in_aws:
        aws.refuse(instances_of(in_aws))
    done = Done()
    for name in _in_order(layers):
        hosts = [host for host, some in layers.items() if name in some and host not in done.left]
        take_in(done, LAYERS[name].apply(hosts, stop_after=stop_after))
    return done


def _in_order(layers: Layers) -> tuple[Layer, ...]:
    """Every layer that any host has, each after those that come before it for some host."""
    return tuple(dict.fromkeys(name for some in layers.values() for name in some))


def take_in(done: Done, more: Done) -> None:
    """Add what another layer did."""
    for host, outcomes in more.outcomes.items():
        done.outcomes[host] += outcomes
    for host, fault in more.faults.items():
        done.faults.setdefault(host, fault)
    done.left = tuple(dict.fromkeys([*done.left, *more.left]))
