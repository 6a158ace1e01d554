"""The layer of entry points: nothing leads users to the hosts any more, be it a virtual address or a load balancer.

Which entry point a host may not leave, being the last that serves it, is not decided here: see the refusals of `isolate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field

from flows.layers.doing import Done, take_back
from recoverd.errors import RecoverdError
from recoverd.step import observe
from tasks.entry_points import addresses_of, drains_of, holds, leave_address, leave_balancer, states_of
from tasks.together import together
from tasks.views import Facts

AT_MOST = 32


class Led(Facts):
    """What still leads users to hosts.

    Attributes:
        open: By host, a sentence each; a host that nothing leads to is not in it.
        unknown: By host: what could not be asked.
    """

    open: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    unknown: dict[str, tuple[str, ...]] = Field(default_factory=dict)

    @property
    def faults(self) -> dict[str, str]:
        """Why a host does not count as left, by host; only those."""
        hosts = dict.fromkeys([*self.open, *self.unknown])
        return {host: "; ".join((*self.open.get(host, ()), *self.unknown.get(host, ()))) for host in hosts}

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(f"{host}: {why}" for host, why in self.faults.items()) or "nothing leads users to the hosts"


def apply(hosts: Sequence[str], *, stop_after: int | None = None) -> Done:
    """Take hosts out of all that leads users to them: load balancers first, for they can wait for users to finish."""
    done = Done(stop_after=stop_after)
    balancers = {
        f"{host} on {balancer} ({drain.name})": (host, balancer, drain.name)
        for host in hosts
        for drain in drains_of(host)
        for balancer in drain.hosts
    }
    done.do(leave_balancer, balancers, at_most=AT_MOST, hosts=lambda key: (balancers[key][0],))
    addresses = {
        f"{host} {entry} of {service}": (host, service, entry)
        for host in hosts
        for service, entry in addresses_of(host)
    }
    done.do(leave_address, addresses, at_most=AT_MOST, hosts=lambda key: (addresses[key][0],))
    return done


def verify(hosts: Sequence[str]) -> Led:
    """What leads users to the hosts at this moment."""
    return look_at_entry_points(tuple(hosts))


def release(hosts: Sequence[str], run: str) -> Done:
    """Lead users to the hosts again, wherever a run found that they were led there."""
    return take_back(hosts, run, "tasks.entry_points:", at_most=AT_MOST)


@observe("look what leads users to hosts", time_limit_s=120.0)
def look_at_entry_points(hosts: tuple[str, ...]) -> Led:
    """Every virtual address and every load balancer. One that cannot be asked is a value."""
    found = together({host: partial(_look, host) for host in hosts}, at_most=AT_MOST)
    opened = {host: tuple(some) for host, (some, _) in found.items() if some}
    return Led(open=opened, unknown={host: tuple(some) for host, (_, some) in found.items() if some})


def _look(host: str) -> tuple[list[str], list[str]]:
    opened, unknown = [], []
    for drain in drains_of(host):
        for balancer in drain.hosts:
            try:
                found = states_of(host, balancer, drain.name)
            except RecoverdError as error:
                unknown.append(f"{balancer} cannot be asked: {error.message}")
                continue
            opened += [f"{balancer} has it {state} in {name}" for name, (state, _) in found.items() if state != "maint"]
    for service, entry in addresses_of(host):
        try:
            opened += [f"it holds {entry} of {service}"] if holds(host, service, entry) else []
        except RecoverdError as error:
            unknown.append(f"it cannot be asked for {entry} of {service}: {error.message}")
    return opened, unknown
