"""What of an isolation in AWS holds at this moment."""

from __future__ import annotations

from functools import partial

from recoverd.errors import RecoverdError
from recoverd.step import observe
from tasks.aws_acl import uncut_subnets
from tasks.aws_balancers import places_of
from tasks.aws_cloud import AT_MOST, cloud, settings_of
from tasks.aws_groups import wrong_rules
from tasks.aws_instances import Instance, Instances, interfaces_of
from tasks.aws_interfaces import loose_interfaces
from tasks.aws_profile import has_profile
from tasks.aws_protect import metadata_of
from tasks.together import together
from tasks.views import Facts


class HostState(Facts):
    """One host.

    Attributes:
        open: What is not as an isolation leaves it, a sentence each.
        problem: Why AWS could not be asked; then nothing is known.
    """

    host: str
    open: tuple[str, ...] = ()
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether the host is isolated in AWS, proven just now."""
        return not self.open and not self.problem


class AwsState(Facts):
    """All hosts."""

    hosts: tuple[HostState, ...] = ()

    @property
    def faults(self) -> dict[str, str]:
        """Why a host does not count as isolated, by host; only those."""
        return {one.host: one.problem or "; ".join(one.open) for one in self.hosts if not one.holds}

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        lost = [f"{host}: {why}" for host, why in self.faults.items()]
        return "; ".join(lost) if lost else f"{len(self.hosts)} hosts are isolated in AWS"


@observe("look whether hosts are isolated in AWS", time_limit_s=300.0)
def look_at_isolation(about: str, found: Instances) -> AwsState:
    """Every interface, group, subnet, role and balancer of every host. A silent AWS is a value."""
    states = together({one.host: partial(_look, one) for one in found.found}, at_most=AT_MOST)
    return AwsState(hosts=tuple(states.values()))


def _look(one: Instance) -> HostState:
    if one.problem:
        return HostState(host=one.host, problem=one.problem)
    try:
        return HostState(host=one.host, open=tuple(_open(one)))
    except RecoverdError as error:
        return HostState(host=one.host, problem=error.message)


def _open(one: Instance) -> list[str]:
    settings, host = settings_of(one.host), one.host
    there = interfaces_of(cloud(host), [one.id]).get(one.id, ())
    found = list(loose_interfaces(host, one.id)) if there else [f"{one.id} has no network interface"]
    for vpc in sorted({interface.vpc for interface in there}):
        found += wrong_rules(host, vpc)
    if settings.network_acl == "certain":
        found += uncut_subnets(host, one.id)
    if settings.instance_profile != "keep" and has_profile(host, one.id):
        found.append(f"{one.id} has an instance profile")
    if settings.metadata == "off" and (said := metadata_of(host, one.id)) != "disabled":
        found.append(f"the metadata service of {one.id} is {said}")
    if settings.target_groups != "none":
        found += [f"{place} sends users to it" for place in places_of(host, one.id)]
    return found
