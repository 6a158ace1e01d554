"""The two security groups of an isolation: one with everything open, one with nothing but the way for management.

Interfaces stand on the open one for a moment first. AWS goes on letting through what it tracks, even where no rule allows
it any more; a flow that rules allow to and from everywhere is not tracked, and ends with the next change of group.
Source: AWS, "Security group connection tracking". What is tracked whatever the rules (load balancers, NAT gateways, IPv6
over an egress-only gateway), and connections that are silent in that moment, only a network ACL cuts: see tasks/aws_acl.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.connections.aws_errors import AwsRefused
from recoverd.errors import Look, Refused
from recoverd.step import Effect, act
from tasks.aws_cloud import LIMIT_S, Network, cloud, contained_name, management_of, settings_of, tagged, tags, until

Rule = tuple[str, str, int, int, str]
"""Direction (in, out), protocol, first and last port, network or group."""

SSH_PORT = 22
EVERYTHING = ("0.0.0.0/0", "::/0")
_NOT_YET = ("InvalidGroup.NotFound", "InvalidGroupId.Malformed")
_ID = "sg-"
_CHANGES = {
    ("authorize", "in"): "authorize_security_group_ingress",
    ("authorize", "out"): "authorize_security_group_egress",
    ("revoke", "in"): "revoke_security_group_ingress",
    ("revoke", "out"): "revoke_security_group_egress",
}


def open_rules() -> frozenset[Rule]:
    """Everything, both ways, both families: only then is a flow not tracked."""
    return frozenset((way, "-1", -1, -1, network) for way in ("in", "out") for network in EVERYTHING)


def contained_rules(management: Iterable[Network]) -> frozenset[Rule]:
    """SSH from management; answers to it need no rule of their own."""
    return frozenset(("in", "tcp", SSH_PORT, SSH_PORT, str(network)) for network in management)


def group_ids(host: str, vpc: str) -> tuple[str, str]:
    """Ids of the open and of the containment group for a host's interfaces in a VPC. Raises Look where one is missing."""
    aws = cloud(host)
    found = []
    for name in (settings_of(host).open_group, contained_name(host)):
        if (vpc, name) not in aws.known:
            group = _group(aws, vpc, name)
            if group is None:
                raise Look(
                    f"{vpc} has no security group {name}", "somebody removed it: resume the run to make it again"
                )
            aws.known[vpc, name] = group["GroupId"]
        found.append(aws.known[vpc, name])
    return found[0], found[1]


def contained_id(host: str, vpc: str) -> str:
    """Id of the containment group; empty where it is not there (yet)."""
    aws, name = cloud(host), contained_name(host)
    if (vpc, name) in aws.known:
        return aws.known[vpc, name]
    group = _group(aws, vpc, name)
    return str(group["GroupId"]) if group else ""


def wrong_rules(host: str, vpc: str) -> tuple[str, ...]:
    """What is wrong with the two groups, a sentence each."""
    aws = cloud(host)
    problems = []
    for name, wanted in _wanted(host).items():
        group = _group(aws, vpc, name)
        if group is None:
            problems.append(f"there is no security group {name} in {vpc}")
        elif (there := rules_of(group)) != wanted:
            more, less = sorted(map(_told, there - wanted)), sorted(map(_told, wanted - there))
            parts = [f"has {', '.join(more)}"] * bool(more) + [f"lacks {', '.join(less)}"] * bool(less)
            problems.append(f"security group {name} ({group['GroupId']}) {' and '.join(parts)}")
    return tuple(problems)


def _made(host: str, vpc: str) -> Effect | None:
    if wrong_rules(host, vpc):
        return None
    opened, contained = group_ids(host, vpc)
    return Effect(f"{opened} is open, {contained} is for containment", {"open": opened, "contained": contained})


@act("make the security groups of an isolation in {vpc}", ask=_made, time_limit_s=LIMIT_S)
def make_groups(host: str, vpc: str) -> None:
    """Make what is missing of the two groups that hosts like `host` need in a VPC; give them their rules and no others.

    A group that the inventory names by its id, or that recoverd has not made, is looked at and never changed.

    Raises:
        Refused: Such a group has other rules.
    """
    aws = cloud(host)
    for name, wanted in _wanted(host).items():
        group = _group(aws, vpc, name)
        if group is None:
            if name.startswith(_ID):
                raise Refused(f"there is no security group {name} in {vpc}", "correct its id in isolation.yaml")
            group = _create(aws, host, vpc, name)
        there = rules_of(group)
        if there != wanted and (name.startswith(_ID) or not tagged(group, "recoverd:purpose")):
            raise Refused(
                f"the security group {name} in {vpc} is not recoverd's, and has other rules than an isolation needs",
                "name another one in isolation.yaml; recoverd makes it",
            )
        _change(aws, group["GroupId"], "revoke", there - wanted)
        _change(aws, group["GroupId"], "authorize", wanted - there)
    until(lambda: not wrong_rules(host, vpc), f"the security groups in {vpc} have their rules")


def rules_of(group: Mapping[str, Any]) -> frozenset[Rule]:
    """All that a security group allows."""
    found = set()
    for way, key in (("in", "IpPermissions"), ("out", "IpPermissionsEgress")):
        for one in group.get(key, []):
            places = [place["CidrIp"] for place in one.get("IpRanges", [])]
            places += [place["CidrIpv6"] for place in one.get("Ipv6Ranges", [])]
            places += [place["GroupId"] for place in one.get("UserIdGroupPairs", [])]
            places += [place["PrefixListId"] for place in one.get("PrefixListIds", [])]
            ports = (int(one.get("FromPort", -1)), int(one.get("ToPort", -1)))
            found |= {(way, str(one["IpProtocol"]), *ports, place) for place in places}
    return frozenset(found)


def _wanted(host: str) -> dict[str, frozenset[Rule]]:
    return {settings_of(host).open_group: open_rules(), contained_name(host): contained_rules(management_of(host))}


def _group(aws: Aws, vpc: str, name: str) -> dict[str, Any] | None:
    by = "group-id" if name.startswith(_ID) else "group-name"
    wanted = [{"Name": by, "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
    return next(iter(aws.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=wanted)), None)


def _create(aws: Aws, host: str, vpc: str, name: str) -> dict[str, Any]:
    """Make a group; another run that makes it at the same moment is no fault."""
    purpose = "open" if name == settings_of(host).open_group else "contained"
    try:
        aws.call(
            "ec2", "create_security_group", GroupName=name, VpcId=vpc, Description="recoverd: isolation of hosts",
            TagSpecifications=tags("security-group", purpose, name),
        )  # fmt: skip
    except AwsRefused as error:
        if error.code != "InvalidGroup.Duplicate":
            raise
    return until(lambda: _group(aws, vpc, name), f"the security group {name} is there") or {}


def _change(aws: Aws, group: str, verb: str, rules: frozenset[Rule]) -> None:
    for way in ("in", "out"):
        some = [_permission(rule) for rule in sorted(rules) if rule[0] == way]
        try:
            if some:
                aws.call("ec2", _CHANGES[verb, way], not_yet=_NOT_YET, GroupId=group, IpPermissions=some)
        except AwsRefused as error:
            if error.code not in {"InvalidPermission.Duplicate", "InvalidPermission.NotFound"}:
                raise  # those two: another run was as quick as this one


def _permission(rule: Rule) -> dict[str, Any]:
    _way, protocol, first, last, place = rule
    ports = {} if protocol == "-1" or first < 0 else {"FromPort": first, "ToPort": last}
    if place.startswith(_ID):
        return {"IpProtocol": protocol, **ports, "UserIdGroupPairs": [{"GroupId": place}]}
    if place.startswith("pl-"):
        return {"IpProtocol": protocol, **ports, "PrefixListIds": [{"PrefixListId": place}]}
    family = ("Ipv6Ranges", "CidrIpv6") if ":" in place else ("IpRanges", "CidrIp")
    return {"IpProtocol": protocol, **ports, family[0]: [{family[1]: place}]}


def _told(rule: Rule) -> str:
    way, protocol, first, last, place = rule
    what = "everything" if protocol == "-1" else f"{protocol} {first}-{last}"
    return f"{what} {'from' if way == 'in' else 'to'} {place}"
