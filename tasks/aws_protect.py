"""What keeps an isolated instance and what it holds: protection from termination, snapshots; and its metadata service off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Look, Stale
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.aws_cloud import LIMIT_S, cloud, tags, until

Before = Mapping[str, Any]


def _protected(host: str, instance: str) -> Effect | None:
    if _protection(cloud(host), instance) != {"termination": True, "shutdown": "stop"}:
        return None
    return Effect(f"{instance} of {host} cannot be terminated, and stops at a shutdown")


def _protection_now(host: str, instance: str) -> Before:
    return _protection(cloud(host), instance)


@act(
    "protect {host} ({instance}) from termination",
    ask=_protected,
    undo="tasks.aws_protect:unprotect_instance",
    remember=_protection_now,
    time_limit_s=LIMIT_S,
)
def protect_instance(host: str, instance: str) -> None:
    """Nobody terminates the evidence by accident; and nobody from within, by shutting down an instance that ends so."""
    _set_protection(cloud(host), instance, {"termination": True, "shutdown": "stop"})


def _unprotected(host: str, instance: str, remembered: Before) -> Effect | None:
    if _protection(cloud(host), instance) != dict(remembered):
        return None
    return Effect(f"{instance} of {host} may be terminated as before")


@act("protect {host} ({instance}) as before", ask=_unprotected, time_limit_s=LIMIT_S)
def unprotect_instance(host: str, instance: str, remembered: Before) -> None:
    """Put protection and behaviour at shutdown back. Raises Stale when somebody has changed one since."""
    aws = cloud(host)
    now, ours = _protection(aws, instance), {"termination": True, "shutdown": "stop"}
    if any(now[name] not in (ours[name], remembered[name]) for name in ours):
        raise Stale(f"somebody has changed the protection of {instance} ({host}) since", "set it by hand")
    _set_protection(aws, instance, remembered)


def _protection(aws: Aws, instance: str) -> dict[str, Any]:
    ends = aws.call("ec2", "describe_instance_attribute", InstanceId=instance, Attribute="disableApiTermination")
    down = aws.call(
        "ec2", "describe_instance_attribute", InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior"
    )
    return {
        "termination": bool(ends["DisableApiTermination"]["Value"]),
        "shutdown": str(down["InstanceInitiatedShutdownBehavior"]["Value"]),
    }


def _set_protection(aws: Aws, instance: str, wanted: Before) -> None:
    now = _protection(aws, instance)
    if now["termination"] != wanted["termination"]:
        value = {"Value": wanted["termination"]}
        aws.call("ec2", "modify_instance_attribute", InstanceId=instance, DisableApiTermination=value)
    if now["shutdown"] != wanted["shutdown"]:
        behaviour = {"Value": wanted["shutdown"]}
        aws.call("ec2", "modify_instance_attribute", InstanceId=instance, InstanceInitiatedShutdownBehavior=behaviour)
    until(lambda: _protection(aws, instance) == dict(wanted), f"{instance} is protected so")


def _kept(host: str, instance: str) -> Effect | None:
    aws = cloud(host)
    wanted = set(_volumes(aws, instance))
    made = {one["VolumeId"]: one["SnapshotId"] for one in _snapshots(aws, instance) if one["State"] != "error"}
    if not wanted <= made.keys():
        return None
    snapshots = {volume: made[volume] for volume in sorted(wanted)}
    return Effect(f"{host}: {', '.join(snapshots.values()) or 'no volume'} for forensics", {"snapshots": snapshots})


@act("take snapshots of the volumes of {host} ({instance})", ask=_kept, time_limit_s=LIMIT_S)
def keep_snapshots(host: str, instance: str) -> None:
    """All volumes at one instant. Nothing takes them away: they are evidence. They go on being written after this has ended.

    A run that is killed here looks for its own snapshots when it goes on, and makes none twice.
    """
    aws = cloud(host)
    there = {one["VolumeId"] for one in _snapshots(aws, instance) if one["State"] != "error"}
    missing = set(_volumes(aws, instance)) - there
    if there and missing:
        for volume in sorted(missing):
            aws.call(
                "ec2", "create_snapshot", VolumeId=volume, Description=_words(host),
                TagSpecifications=_forensic(host, instance),
            )  # fmt: skip
    elif missing:
        aws.call(
            "ec2", "create_snapshots", InstanceSpecification={"InstanceId": instance}, Description=_words(host),
            TagSpecifications=_forensic(host, instance),
        )  # fmt: skip
    until(lambda: _kept(host, instance), f"the volumes of {instance} have snapshots")


def _words(host: str) -> str:
    return f"recoverd: forensics of {host}, run {world().run.id}"


def _forensic(host: str, instance: str) -> list[dict[str, object]]:
    more = {"recoverd:host": host, "recoverd:instance": instance}
    return tags("snapshot", "forensics", f"forensics {host}", **more)


def _volumes(aws: Aws, instance: str) -> list[str]:
    found = _described(aws, instance).get("BlockDeviceMappings", [])
    return sorted(disk["Ebs"]["VolumeId"] for disk in found if "Ebs" in disk)


def _snapshots(aws: Aws, instance: str) -> list[dict[str, Any]]:
    wanted = [
        {"Name": "tag:recoverd:instance", "Values": [instance]},
        {"Name": "tag:recoverd:run", "Values": [world().run.id]},
    ]
    return list(aws.pages("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=wanted))


def metadata_of(host: str, instance: str) -> str:
    """Whether the metadata service of a host is enabled or disabled, or pending."""
    return _metadata(cloud(host), instance)


def _silent(host: str, instance: str) -> Effect | None:
    if _metadata(cloud(host), instance) != "disabled":
        return None
    return Effect(f"{instance} of {host} gets no more credentials from its metadata service")


def _metadata_now(host: str, instance: str) -> Before:
    return {"endpoint": _metadata(cloud(host), instance)}


@act(
    "turn the metadata service of {host} ({instance}) off",
    ask=_silent,
    undo="tasks.aws_protect:restore_metadata",
    remember=_metadata_now,
    time_limit_s=LIMIT_S,
)
def silence_metadata(host: str, instance: str) -> None:
    """No security group stops the metadata service; it has a switch of its own."""
    _set_metadata(cloud(host), instance, "disabled")


def _speaks(host: str, instance: str, remembered: Before) -> Effect | None:
    if _metadata(cloud(host), instance) != remembered["endpoint"]:
        return None
    return Effect(f"the metadata service of {host} is {remembered['endpoint']}, as before")


@act("put the metadata service of {host} ({instance}) back", ask=_speaks, time_limit_s=LIMIT_S)
def restore_metadata(host: str, instance: str, remembered: Before) -> None:
    """As it was; its other settings were not touched."""
    _set_metadata(cloud(host), instance, str(remembered["endpoint"]))


def _set_metadata(aws: Aws, instance: str, endpoint: str) -> None:
    aws.call("ec2", "modify_instance_metadata_options", InstanceId=instance, HttpEndpoint=endpoint)
    until(lambda: _metadata(aws, instance) == endpoint, f"the metadata service of {instance} is {endpoint}")


def _metadata(aws: Aws, instance: str) -> str:
    """Whether it is enabled or disabled; what is still being applied is neither."""
    found = _described(aws, instance).get("MetadataOptions", {})
    return str(found.get("HttpEndpoint", "enabled")) if found.get("State", "applied") == "applied" else "pending"


def _described(aws: Aws, instance: str) -> dict[str, Any]:
    for group in aws.pages("ec2", "describe_instances", "Reservations", InstanceIds=[instance]):
        return dict(group["Instances"][0])
    raise Look(f"AWS does not know the instance {instance} any more", "look in the AWS console: was it terminated?")
