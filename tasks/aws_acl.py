"""Cutting with certainty: a network ACL for the subnets of a host. It knows no connections, and so ends tracked ones too.

It stops everything in the subnet. What else stands there is listed first, and is a reason to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Look, Stale, Unsafe
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.aws_cloud import LIMIT_S, cloud, contained_name, management_of, tags, until
from tasks.aws_instances import interfaces_of

_FIRST, _STEP = 100, 10
_REPLIES = (1024, 65535)
_DEFAULT_RULE = 32767
_TCP = "6"


def others_in_subnets(host: str, instance: str, besides: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What else stands in the subnets of a host: every interface there, be it of an instance, a gateway or a database.

    Args:
        host, instance: Whose subnets.
        besides: Instances that do not count: those that are isolated together with it.
    """
    found = [{"Name": "subnet-id", "Values": sorted(_subnets(host, instance))}]
    ours = {instance, *besides}
    others = set()
    for one in cloud(host).pages("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=found):
        owner = one.get("Attachment", {}).get("InstanceId")
        if owner not in ours:
            others.add(owner or f"{one['NetworkInterfaceId']} ({one.get('Description') or one['InterfaceType']})")
    return tuple(sorted(others))


def uncut_subnets(host: str, instance: str) -> tuple[str, ...]:
    """Subnets of a host that let traffic through, each with its network ACL."""
    ours = _ours(host, instance)
    return tuple(f"{name} has the network ACL {acl}" for name, acl in _acls(host, instance).items() if acl != ours)


def _cut(host: str, instance: str, besides: tuple[str, ...] = ()) -> Effect | None:
    acl = _ours(host, instance)
    if acl is None or any(found != acl for found in _acls(host, instance).values()):
        return None
    return Effect(
        f"{', '.join(sorted(_subnets(host, instance)))} behind {acl}, which lets nothing through", {"acl": acl}
    )


def _acls_now(host: str, instance: str, besides: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"acls": _acls(host, instance)}


@act(
    "stop all traffic in the subnets of {host} ({instance})",
    ask=_cut,
    undo="tasks.aws_acl:open_subnets",
    remember=_acls_now,
    time_limit_s=LIMIT_S,
)
def cut_subnets(host: str, instance: str, besides: tuple[str, ...] = ()) -> None:
    """Give the subnets of a host a network ACL that lets nothing through, but SSH of the management.

    Raises:
        Unsafe: Something else stands there, and the run was not told to go on (`--force`).
    """
    others = others_in_subnets(host, instance, besides)
    if others and not world().run.options.get("force"):
        raise shared(host, others)
    aws = cloud(host)
    vpc = next(one.vpc for one in interfaces_of(aws, [instance])[instance])
    acl = _ours(host, instance) or _make(aws, host, vpc)
    for subnet, found in _acls(host, instance).items():
        if found != acl:
            _swap(aws, subnet, acl)


def shared(host: str, others: tuple[str, ...]) -> Unsafe:
    """The refusal: everything in the subnet would be cut off."""
    return Unsafe(
        f"a network ACL would also cut off what stands in the subnet of {host}: {', '.join(others[:20])}",
        "set `network_acl: never` in isolation.yaml, or have a person with the right use --force",
    )


def _opened(host: str, instance: str, remembered: Mapping[str, Any], besides: tuple[str, ...] = ()) -> Effect | None:
    now = _acls(host, instance)
    if any(now.get(subnet) != acl for subnet, acl in remembered["acls"].items()):
        return None
    return Effect(f"{', '.join(remembered['acls'])} as before")


@act("give the subnets of {host} ({instance}) their network ACL back", ask=_opened, time_limit_s=LIMIT_S)
def open_subnets(host: str, instance: str, remembered: Mapping[str, Any], besides: tuple[str, ...] = ()) -> None:
    """Put the network ACLs back that were there, unless somebody has changed one since.

    Raises:
        Stale: A subnet has another one than that of the isolation; none is changed.
    """
    aws, ours, now = cloud(host), _ours(host, instance), _acls(host, instance)
    moved = [subnet for subnet, acl in remembered["acls"].items() if now.get(subnet) not in (ours, acl)]
    if moved:
        raise Stale(
            f"somebody has changed the network ACL of {', '.join(moved)} since {host} was isolated",
            "see who, then set it by hand: what it was is in the record of the isolation",
        )
    for subnet, acl in remembered["acls"].items():
        if now[subnet] != acl:
            _swap(aws, subnet, acl)


def _swap(aws: Aws, subnet: str, acl: str) -> None:
    there = _association(aws, subnet)
    aws.call(
        "ec2", "replace_network_acl_association", not_yet=("InvalidNetworkAclID.NotFound",),
        AssociationId=there["NetworkAclAssociationId"], NetworkAclId=acl,
    )  # fmt: skip
    until(lambda: _association(aws, subnet)["NetworkAclId"] == acl, f"{subnet} has the network ACL {acl}")


def _make(aws: Aws, host: str, vpc: str) -> str:
    """A network ACL that denies all, which every new one does, but for the management."""
    made = aws.call(
        "ec2", "create_network_acl", VpcId=vpc, TagSpecifications=tags("network-acl", "contained", contained_name(host))
    )
    acl = str(made["NetworkAcl"]["NetworkAclId"])
    for number, network in enumerate(management_of(host)):
        where = {("CidrBlock" if network.version == 4 else "Ipv6CidrBlock"): str(network)}
        for egress, (first, last) in ((False, (22, 22)), (True, _REPLIES)):
            aws.call(
                "ec2", "create_network_acl_entry", not_yet=("InvalidNetworkAclID.NotFound",),
                NetworkAclId=acl, RuleNumber=_FIRST + number * _STEP, Protocol=_TCP, RuleAction="allow",
                Egress=egress, PortRange={"From": first, "To": last}, **where,
            )  # fmt: skip
    return str(until(lambda: _complete(aws, host, vpc), f"the network ACL {acl} has its rules"))


def _ours(host: str, instance: str) -> str | None:
    """The network ACL for containment in the VPC of a host, if it is there and complete."""
    aws = cloud(host)
    there = interfaces_of(aws, [instance]).get(instance, ())
    return _complete(aws, host, there[0].vpc) if there else None


def _complete(aws: Aws, host: str, vpc: str) -> str | None:
    """One with just the rules that an isolation needs. One that a killed run left half made, or somebody changed, is none."""
    wanted = [
        {"Name": "vpc-id", "Values": [vpc]},
        {"Name": "tag:recoverd:purpose", "Values": ["contained"]},
        {"Name": "tag:Name", "Values": [contained_name(host)]},
    ]
    allowed = {(str(network), egress) for network in management_of(host) for egress in (False, True)}
    for one in aws.pages("ec2", "describe_network_acls", "NetworkAcls", Filters=wanted):
        rules = [rule for rule in one["Entries"] if int(rule["RuleNumber"]) < _DEFAULT_RULE]
        found = {(str(rule.get("CidrBlock") or rule.get("Ipv6CidrBlock")), bool(rule["Egress"])) for rule in rules}
        if found == allowed and all(_is_narrow(rule) for rule in rules):
            return str(one["NetworkAclId"])
    return None


def _is_narrow(rule: Mapping[str, Any]) -> bool:
    ports = (rule.get("PortRange", {}).get("From"), rule.get("PortRange", {}).get("To"))
    return rule["Protocol"] == _TCP and ports == (_REPLIES if rule["Egress"] else (22, 22))


def _acls(host: str, instance: str) -> dict[str, str]:
    aws = cloud(host)
    return {subnet: str(_association(aws, subnet)["NetworkAclId"]) for subnet in sorted(_subnets(host, instance))}


def _association(aws: Aws, subnet: str) -> dict[str, Any]:
    wanted = [{"Name": "association.subnet-id", "Values": [subnet]}]
    for acl in aws.pages("ec2", "describe_network_acls", "NetworkAcls", Filters=wanted):
        for one in acl["Associations"]:
            if one["SubnetId"] == subnet:
                return dict(one)
    raise Look(f"AWS names no network ACL of {subnet}", "look in the AWS console: was the subnet removed?")


def _subnets(host: str, instance: str) -> set[str]:
    return {one.subnet for one in interfaces_of(cloud(host), [instance]).get(instance, ())}
