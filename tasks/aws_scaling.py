"""Auto scaling: an isolated host goes into standby. In service it would fail its health check, and be terminated and replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Stale
from recoverd.step import Effect, act
from tasks.aws_cloud import LIMIT_S, cloud, until

Before = Mapping[str, Any]
_ASIDE = frozenset({"Standby", "EnteringStandby"})
_SERVING = frozenset({"InService", "Pending", "Pending:Wait", "Pending:Proceed"})


def _aside(host: str, instance: str) -> Effect | None:
    there = _member(cloud(host), instance)
    if there and there["state"] not in _ASIDE:
        return None
    where = f"in standby of {there['group']}" if there else "in no auto scaling group"
    return Effect(f"{instance} of {host} is {where}")


def _membership(host: str, instance: str) -> Before:
    return _member(cloud(host), instance)


@act(
    "set {host} ({instance}) aside in its auto scaling group",
    ask=_aside,
    undo="tasks.aws_scaling:return_to_service",
    remember=_membership,
    time_limit_s=LIMIT_S,
)
def stand_aside(host: str, instance: str) -> None:
    """Enter standby. The group does with one less where its minimum allows that; else it starts another one meanwhile."""
    aws = cloud(host)
    there = _member(aws, instance)
    group = _group(aws, there["group"])
    aws.call(
        "autoscaling", "enter_standby", AutoScalingGroupName=there["group"], InstanceIds=[instance],
        ShouldDecrementDesiredCapacity=int(group["DesiredCapacity"]) > int(group["MinSize"]),
    )  # fmt: skip
    until(lambda: _aside(host, instance), f"{instance} is in standby")


def _serving(host: str, instance: str, remembered: Before) -> Effect | None:
    there = _member(cloud(host), instance)
    if not remembered or there.get("state") in _SERVING:
        return Effect(f"{instance} of {host} is {there.get('state') or 'in no auto scaling group'}, as before")
    return None


@act("put {host} ({instance}) back into service of its auto scaling group", ask=_serving, time_limit_s=LIMIT_S)
def return_to_service(host: str, instance: str, remembered: Before) -> None:
    """Leave standby: the group wants one more again.

    Raises:
        Stale: The instance is in another group, or in none.
    """
    aws = cloud(host)
    there = _member(aws, instance)
    if there.get("group") != remembered["group"]:
        raise Stale(
            f"{instance} of {host} is not in the auto scaling group {remembered['group']} any more",
            "attach it by hand, or leave it outside",
        )
    aws.call("autoscaling", "exit_standby", AutoScalingGroupName=there["group"], InstanceIds=[instance])
    until(lambda: _serving(host, instance, remembered), f"{instance} is in service")


def _member(aws: Aws, instance: str) -> dict[str, str]:
    """The group of an instance and its state there; empty where it is in none."""
    for one in aws.pages(
        "autoscaling", "describe_auto_scaling_instances", "AutoScalingInstances", InstanceIds=[instance]
    ):
        return {"group": str(one["AutoScalingGroupName"]), "state": str(one["LifecycleState"])}
    return {}


def _group(aws: Aws, name: str) -> dict[str, Any]:
    found = aws.pages("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", AutoScalingGroupNames=[name])
    return dict(next(iter(found)))
