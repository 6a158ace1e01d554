"""Load balancers of AWS: a host leaves the target groups and classic balancers it is in, and comes back to just those."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Stale, Unproven
from recoverd.step import Effect, act, observe
from tasks.aws_cloud import LIMIT_S, cloud, settings_of, until
from tasks.aws_instances import Instances, interfaces_of
from tasks.together import together
from tasks.views import Facts

Before = Mapping[str, Any]
_MANY = 20
"""Most classic load balancers, or names of target groups, in one call."""


class Draining(Facts):
    """What load balancers still send to hosts that have left them, a line each."""

    open: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"still draining: {', '.join(self.open)}" if self.open else "load balancers have let go"


def places_of(host: str, instance: str) -> tuple[str, ...]:
    """Load balancers that send users to a host, each by its name."""
    found = _registrations(host, instance)
    return (
        *(f"target group {one['name']}" for one in found["targets"]),
        *(f"load balancer {one}" for one in found["classic"]),
    )


def last_of(host: str, instance: str) -> tuple[str, ...]:
    """Target groups whose only healthy target is this host: without it nobody serves there."""
    aws, alone = cloud(host), []
    for one in _registrations(host, instance)["targets"]:
        healthy = {
            other["Target"]["Id"] for other in _health(aws, one["group"]) if other["TargetHealth"]["State"] == "healthy"
        }
        if healthy == {one["id"]}:
            alone.append(str(one["name"]))
    return tuple(alone)


def _left(host: str, instance: str) -> Effect | None:
    found = _registrations(host, instance)
    return None if found["targets"] or found["classic"] else Effect(f"no load balancer sends users to {host}")


def _registered_now(host: str, instance: str) -> Before:
    return _registrations(host, instance)


@act(
    "take {host} ({instance}) out of its load balancers",
    ask=_left,
    undo="tasks.aws_balancers:enter_balancers",
    remember=_registered_now,
    time_limit_s=LIMIT_S,
)
def leave_balancers(host: str, instance: str) -> None:
    """Deregister the host wherever it is registered: no new connection comes. Open ones drain, see `observe_draining`."""
    aws, found = cloud(host), _registrations(host, instance)
    for one in found["targets"]:
        aws.call("elbv2", "deregister_targets", TargetGroupArn=one["group"], Targets=[_target(one)])
    for name in found["classic"]:
        known = [{"InstanceId": instance}]
        aws.call("elb", "deregister_instances_from_load_balancer", LoadBalancerName=name, Instances=known)
    until(lambda: _left(host, instance), f"{host} is registered nowhere")


def _entered(host: str, instance: str, remembered: Before) -> Effect | None:
    now = _registrations(host, instance)
    missing = [one for one in remembered["targets"] if one not in now["targets"]]
    if missing or set(remembered["classic"]) - set(now["classic"]):
        return None
    return Effect(f"{host} is registered as before in {len(remembered['targets']) + len(remembered['classic'])} places")


@act("put {host} ({instance}) back into its load balancers", ask=_entered, time_limit_s=LIMIT_S)
def enter_balancers(host: str, instance: str, remembered: Before) -> None:
    """Register the host with what it was registered with.

    Raises:
        Stale: A target group or load balancer is not there any more; nothing is registered.
    """
    aws = cloud(host)
    gone = {str(one["name"]) for one in remembered["targets"]} - {name for _arn, name in _groups(aws, "all")}
    gone |= set(remembered["classic"]) - {str(one["LoadBalancerName"]) for one in _classic(aws)}
    if gone:
        raise Stale(
            f"{', '.join(sorted(gone))}, where {host} was registered, is not there any more",
            "register the host by hand where it belongs now",
        )
    for one in remembered["targets"]:
        aws.call("elbv2", "register_targets", TargetGroupArn=one["group"], Targets=[_target(one)])
    for name in remembered["classic"]:
        known = [{"InstanceId": instance}]
        aws.call("elb", "register_instances_with_load_balancer", LoadBalancerName=name, Instances=known)
    until(lambda: _entered(host, instance, remembered), f"{host} is registered as before")


@observe("wait for load balancers to let go of hosts", time_limit_s=3700.0)
def observe_draining(about: str, found: Instances) -> Draining:
    """Wait until connections have ended, at most `drain_s` of each host's zone; then what is left is a value: it is cut."""
    lines = together({one.host: partial(_wait, one.host, one.id) for one in found.found}, at_most=16)
    return Draining(open=tuple(line for some in lines.values() for line in some))


def _wait(host: str, instance: str) -> tuple[str, ...]:
    limit_s = settings_of(host).drain_s
    if limit_s <= 0 or settings_of(host).target_groups == "none":
        return ()
    try:
        until(lambda: not _draining(host, instance), "connections have ended", limit_s)
    except Unproven:
        return tuple(f"{host} from {name}" for name in _draining(host, instance))
    return ()


def _draining(host: str, instance: str) -> list[str]:
    aws, ours = cloud(host), _names(host, instance)
    return [
        name
        for arn, name in _groups(aws, settings_of(host).target_groups)
        for one in _health(aws, arn)
        if one["Target"]["Id"] in ours and one["TargetHealth"]["State"] == "draining"
    ]


def _registrations(host: str, instance: str) -> dict[str, Any]:
    """Where a host is registered: what is draining has left already."""
    aws, wanted, ours = cloud(host), settings_of(host).target_groups, _names(host, instance)
    targets = [
        {"group": arn, "name": name, "id": one["Target"]["Id"], "port": one["Target"].get("Port", 0),
         "zone": one["Target"].get("AvailabilityZone", "")}
        for arn, name in _groups(aws, wanted)
        for one in _health(aws, arn)
        if one["Target"]["Id"] in ours and one["TargetHealth"]["State"] != "draining"
    ]  # fmt: skip
    classic = _classic(aws) if wanted == "all" else ()
    names = [
        str(one["LoadBalancerName"])
        for one in classic
        if any(member["InstanceId"] == instance for member in one["Instances"])
    ]
    return {"targets": targets, "classic": sorted(names)}


def _target(one: Mapping[str, Any]) -> dict[str, Any]:
    more = {"Port": one["port"]} if one["port"] else {}
    # Only a target outside the VPC has a zone that must be given back, and its name is `all`.
    return {"Id": one["id"], **more, **({"AvailabilityZone": "all"} if one["zone"] == "all" else {})}


def _names(host: str, instance: str) -> set[str]:
    """What target groups know a host by: its instance, or an address of it."""
    aws = cloud(host)
    ids = [one.id for one in interfaces_of(aws, [instance]).get(instance, ())]
    addresses: set[str] = set()
    if ids:
        wanted = [{"Name": "network-interface-id", "Values": ids}]
        for one in aws.pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=wanted):
            addresses |= {address["PrivateIpAddress"] for address in one["PrivateIpAddresses"]}
            addresses |= {address["Ipv6Address"] for address in one.get("Ipv6Addresses", [])}
    return {instance, *addresses}


def _groups(aws: Aws, wanted: tuple[str, ...] | str) -> Iterator[tuple[str, str]]:
    """Target groups that may hold hosts, as address and name."""
    if wanted == "none":
        return
    some = (
        [{}] if isinstance(wanted, str) else [{"Names": wanted[at : at + _MANY]} for at in range(0, len(wanted), _MANY)]
    )
    for names in some:
        for one in aws.pages("elbv2", "describe_target_groups", "TargetGroups", **names):
            if one.get("TargetType") != "lambda":
                yield str(one["TargetGroupArn"]), str(one["TargetGroupName"])


def _health(aws: Aws, group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = aws.call("elbv2", "describe_target_health", TargetGroupArn=group)[
        "TargetHealthDescriptions"
    ]
    return found


def _classic(aws: Aws) -> Iterator[dict[str, Any]]:
    return aws.pages("elb", "describe_load_balancers", "LoadBalancerDescriptions")
