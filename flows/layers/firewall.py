"""The layer of hosts' own packet filters: what only root on the host can undo, on any kind of machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field

from flows.layers.doing import Done, take_back
from recoverd.errors import RecoverdError
from recoverd.step import observe
from recoverd.words import counted
from recoverd.world import world
from tasks.firewall import cut, look_at_cut, why_not_cut
from tasks.together import together
from tasks.views import Facts

AT_MOST = 64


class Filters(Facts):
    """Whether hosts are cut off by their packet filters.

    Attributes:
        faults: Why a host does not count as cut off, by host; only those.
        hosts: How many were asked.
    """

    faults: dict[str, str] = Field(default_factory=dict)
    hosts: int = 0

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return (
            "; ".join(f"{host}: {why}" for host, why in self.faults.items()) or f"{counted(self.hosts, 'host')} cut off"
        )


def apply(hosts: Sequence[str], *, stop_after: int | None = None) -> Done:
    """Cut hosts off, and confirm it over new connections; a host that nobody can confirm comes back by itself."""
    done, inventory = Done(stop_after=stop_after), world().inventory
    zones = {host: inventory.zone_of(host) for host in hosts}
    calls = {host: (host, list(zone.management), list(zone.dhcp), zone.timer_s) for host, zone in zones.items()}
    done.do(cut, calls, at_most=AT_MOST)
    return done


def verify(hosts: Sequence[str]) -> Filters:
    """What of it holds at this moment."""
    return look_at_filters(tuple(hosts))


def release(hosts: Sequence[str], run: str) -> Done:
    """Take the rules off that a run put on."""
    return take_back(hosts, run, "tasks.firewall:", at_most=AT_MOST)


@observe("look whether the packet filters of hosts hold", time_limit_s=120.0)
def look_at_filters(hosts: tuple[str, ...]) -> Filters:
    """Ask all at once. One that cannot be asked does not count as cut off."""
    found = together({host: partial(_look, host) for host in hosts}, at_most=AT_MOST)
    return Filters(faults={host: why for host, why in found.items() if why}, hosts=len(hosts))


def _look(host: str) -> str:
    try:
        return why_not_cut(look_at_cut(host))
    except RecoverdError as error:
        return f"it cannot be asked: {error.message}"
