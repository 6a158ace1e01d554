"""Which instance stands behind a host, and what belongs to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Refused
from recoverd.inventory.isolation_aws import INSTANCE_VARIABLE, AwsIsolation
from recoverd.step import decide, observe
from recoverd.world import world
from tasks.aws_cloud import settings_of, tagged
from tasks.together import together
from tasks.views import Facts

_VALUES = 200
"""Most values that a filter of EC2 takes."""

_GONE = frozenset({"shutting-down", "terminated"})


class Interface(Facts):
    """A network interface of an instance, with the security groups that it stands on."""

    id: str
    vpc: str
    subnet: str
    groups: tuple[str, ...]


class Instance(Facts):
    """The instance of a host.

    Attributes:
        host, id: Their names; `id` is empty where none was found, and `problem` says why.
        state: As EC2 says: running, stopped …
        profile: ARN of its instance profile; empty where it has none.
        spot: Whether it is a spot instance, which has no termination protection.
        interfaces: All its network interfaces.
        volumes: All its volumes.
    """

    host: str
    id: str = ""
    problem: str = ""
    state: str = ""
    profile: str = ""
    spot: bool = False
    interfaces: tuple[Interface, ...] = ()
    volumes: tuple[str, ...] = ()


class Instances(Facts):
    """The instances of several hosts."""

    found: tuple[Instance, ...] = ()

    def of(self, host: str) -> Instance:
        """The one of a host."""
        return next(one for one in self.found if one.host == host)

    @property
    def known(self) -> tuple[Instance, ...]:
        """Those that were found."""
        return tuple(one for one in self.found if not one.problem)

    @property
    def lost(self) -> dict[str, Refused]:
        """By host, why it has no instance that could be worked on."""
        hint = f"name the instance in hosts.yaml: {INSTANCE_VARIABLE}: i-…"
        return {one.host: Refused(f"{one.host}: {one.problem}", hint) for one in self.found if one.problem}

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        lost = [one for one in self.found if one.problem]
        known = len(self.found) - len(lost)
        return "; ".join([f"{known} instances found", *(f"{one.host}: {one.problem}" for one in lost)])


def instances_of(hosts: tuple[str, ...]) -> Instances:
    """The instances of hosts: looked up once in a run. A name or an address that leads to another one later changes nothing.

    A host that has none, or more than one, is in it with its problem.
    """
    about = sha256(",".join(hosts).encode()).hexdigest()[:12]
    return settle_instances(about, look_up_instances(about, hosts))


@observe("look up the instances of hosts in AWS", time_limit_s=120)
def look_up_instances(about: str, hosts: tuple[str, ...]) -> Instances:
    """Find the instance of each host: by its variable, by tag, or by private address; many in one call."""
    by_place: dict[AwsIsolation, list[str]] = defaultdict(list)
    for host in hosts:
        by_place[settings_of(host)].append(host)
    found = together({place: partial(_look_up, place, some) for place, some in by_place.items()})
    by_host = {one.host: one for some in found.values() for one in some}
    return Instances(found=tuple(by_host[host] for host in hosts))


@decide("settle which instance stands behind each host")
def settle_instances(about: str, found: Instances) -> Instances:
    """What was found first counts for the whole run, also after a kill."""
    return found


def interfaces_of(aws: Aws, instances: Iterable[str]) -> dict[str, tuple[Interface, ...]]:
    """The network interfaces of instances, as they are now. EC2's view of an instance lags behind that of its interfaces."""
    by_instance: dict[str, list[Interface]] = defaultdict(list)
    for some in _chunks(sorted(instances)):
        found = [{"Name": "attachment.instance-id", "Values": some}]
        for one in aws.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=found):
            by_instance[one["Attachment"]["InstanceId"]].append(
                Interface(
                    id=one["NetworkInterfaceId"],
                    vpc=one["VpcId"],
                    subnet=one["SubnetId"],
                    groups=tuple(sorted(group["GroupId"] for group in one["Groups"])),
                )
            )
    return {name: tuple(sorted(some, key=lambda one: one.id)) for name, some in by_instance.items()}


def _look_up(place: AwsIsolation, hosts: list[str]) -> list[Instance]:
    aws = world().connections.aws(place)
    wanted = {host: name for host in hosts if (name := world().inventory.host(host).variables.get(INSTANCE_VARIABLE))}
    rest = [host for host in hosts if host not in wanted]
    candidates = _by_tag(aws, rest) if place.instance_tag else _by_address(aws, rest)
    candidates |= {host: {str(name)} for host, name in wanted.items()}
    ids = {name for some in candidates.values() for name in some}
    known, interfaces = _described(aws, ids), interfaces_of(aws, ids)
    return [_one(host, candidates.get(host, set()), known, interfaces) for host in hosts]


def _one(
    host: str, names: set[str], known: Mapping[str, dict[str, Any]], interfaces: Mapping[str, tuple[Interface, ...]]
) -> Instance:
    there = sorted(name for name in names if name in known)
    if len(there) != 1:
        what = f"more than one instance is called so: {', '.join(there)}" if there else "no such instance"
        return Instance(host=host, problem=what + (f" ({', '.join(sorted(names))})" if names and not there else ""))
    one = known[there[0]]
    return Instance(
        host=host,
        id=there[0],
        state=one["State"]["Name"],
        profile=one.get("IamInstanceProfile", {}).get("Arn", ""),
        spot=one.get("InstanceLifecycle") == "spot",
        interfaces=interfaces.get(there[0], ()),
        volumes=tuple(sorted(disk["Ebs"]["VolumeId"] for disk in one.get("BlockDeviceMappings", []) if "Ebs" in disk)),
    )


def _described(aws: Aws, ids: set[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for some in _chunks(sorted(ids)):
        # A filter, for an id that is not there would fail the call for all others.
        wanted = [{"Name": "instance-id", "Values": some}]
        for group in aws.pages("ec2", "describe_instances", "Reservations", Filters=wanted):
            for one in group["Instances"]:
                if one["State"]["Name"] not in _GONE:
                    found[one["InstanceId"]] = one
    return found


def _by_tag(aws: Aws, hosts: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    key = str(aws.settings.instance_tag)
    for some in _chunks(hosts):
        wanted = [{"Name": f"tag:{key}", "Values": some}]
        for group in aws.pages("ec2", "describe_instances", "Reservations", Filters=wanted):
            for one in group["Instances"]:
                found[tagged(one, key)].add(one["InstanceId"])
    return found


def _by_address(aws: Aws, hosts: list[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    by_address = {world().inventory.host(host).address: host for host in hosts}
    for some in _chunks(sorted(by_address)):
        wanted = [{"Name": "addresses.private-ip-address", "Values": some}]
        for one in aws.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=wanted):
            attached = one.get("Attachment", {}).get("InstanceId")
            for address in one["PrivateIpAddresses"]:
                if attached and address["PrivateIpAddress"] in by_address:
                    found[by_address[address["PrivateIpAddress"]]].add(attached)
    return found


def _chunks(values: list[str]) -> Iterable[list[str]]:
    return (values[start : start + _VALUES] for start in range(0, len(values), _VALUES))
