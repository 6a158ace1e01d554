"""A host's network interfaces: each onto the open security group, then onto the one for containment; and back.

What was found on each is kept with the act, and put back just so; nothing is put back over what somebody else has changed.
The state of an instance says nothing of its groups: each interface is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Look, RecoverdError, Stale
from recoverd.step import Effect, act
from tasks.aws_cloud import LIMIT_S, cloud, until
from tasks.aws_groups import contained_id, group_ids
from tasks.aws_instances import Interface, interfaces_of

Before = Mapping[str, Any]


def loose_interfaces(host: str, instance: str) -> tuple[str, ...]:
    """Interfaces of an instance that are not in containment, each with what it stands on."""
    return tuple(
        f"{one.id} stands on {', '.join(one.groups) or 'no group'}"
        for one in _of(host, instance)
        if one.groups != (contained_id(host, one.vpc),)
    )


def _contained(host: str, instance: str) -> Effect | None:
    there = _of(host, instance)
    if not there or any(one.groups != (contained_id(host, one.vpc),) for one in there):
        return None
    return Effect(
        f"{host}: {', '.join(one.id for one in there)} in containment",
        {"groups": {one.id: list(one.groups) for one in there}},
    )


def _groups_now(host: str, instance: str) -> dict[str, Any]:
    return {"groups": {one.id: list(one.groups) for one in _of(host, instance)}}


@act(
    "move the network interfaces of {host} ({instance}) into containment",
    ask=_contained,
    undo="tasks.aws_interfaces:put_groups_back",
    remember=_groups_now,
    time_limit_s=LIMIT_S,
)
def contain_interfaces(host: str, instance: str) -> None:
    """Every interface onto the open group, until AWS shows it there, and then at once onto the one for containment.

    Where the second step fails, the interface gets the groups back that it had: it must not stay open.

    Raises:
        Look: The instance has no interface.
    """
    aws, there = cloud(host), _of(host, instance)
    if not there:
        raise Look(f"{instance} of {host} has no network interface", "look in the AWS console: was it terminated?")
    for interface in there:
        opened, contained = group_ids(host, interface.vpc)
        if interface.groups == (contained,):
            continue
        try:
            if interface.groups != (opened,):
                _set(aws, instance, interface, (opened,))
            _set(aws, instance, interface, (contained,))
        except RecoverdError:
            _close_again(aws, instance, interface, opened)
            raise


def _as_before(host: str, instance: str, remembered: Before) -> Effect | None:
    there = {one.id: list(one.groups) for one in _of(host, instance)}
    if any(there.get(name) != sorted(groups) for name, groups in remembered["groups"].items()):
        return None
    return Effect(f"{host}: {', '.join(remembered['groups']) or 'no interface'} as before", {"groups": there})


@act("put the security groups of {host} ({instance}) back", ask=_as_before, time_limit_s=LIMIT_S)
def put_groups_back(host: str, instance: str, remembered: Before) -> None:
    """Give every interface the groups that it had, unless somebody has changed one since.

    Raises:
        Stale: An interface stands on other groups than those of the isolation, or is gone; none is changed.
    """
    aws, there = cloud(host), {one.id: one for one in _of(host, instance)}
    moved = []
    for name, groups in remembered["groups"].items():
        one = there.get(name)
        ours = [[group] for group in group_ids(host, one.vpc)] if one else []
        if one is None or list(one.groups) not in (*ours, sorted(groups)):
            moved.append(f"{name} {'is gone' if one is None else 'stands on ' + ', '.join(one.groups)}")
    if moved:
        raise Stale(
            f"somebody has changed interfaces of {host} since it was isolated: {'; '.join(moved)}",
            "see who, then set the groups by hand: what they were is in the record of the isolation",
        )
    for name, groups in remembered["groups"].items():
        if list(there[name].groups) != sorted(groups):
            _set(aws, instance, there[name], tuple(groups))


def _set(aws: Aws, instance: str, interface: Interface, groups: tuple[str, ...]) -> None:
    """Give an interface other groups, and wait until AWS shows them."""
    aws.call(
        "ec2", "modify_network_interface_attribute", not_yet=("InvalidGroup.NotFound",),
        NetworkInterfaceId=interface.id, Groups=list(groups),
    )  # fmt: skip

    def shown() -> bool:
        now = interfaces_of(aws, [instance]).get(instance, ())
        return any(one.id == interface.id and one.groups == tuple(sorted(groups)) for one in now)

    until(shown, f"{interface.id} stands on {', '.join(groups)}")


def _close_again(aws: Aws, instance: str, interface: Interface, opened: str) -> None:
    """After a failure in between: the former groups, which are less than everything."""
    if interface.groups == (opened,):
        return  # it was found open, as a killed run leaves it: there is nothing better to go back to
    try:
        now = interfaces_of(aws, [instance]).get(instance, ())
        if any(one.id == interface.id and one.groups == (opened,) for one in now):
            _set(aws, instance, interface, interface.groups)
    except RecoverdError as error:
        raise Look(
            f"{interface.id} may stand on {opened}, which lets everything through: {error.message}",
            f"give it other groups at once: {' '.join(interface.groups)}",
        ) from error


def _of(host: str, instance: str) -> tuple[Interface, ...]:
    return interfaces_of(cloud(host), [instance]).get(instance, ())
