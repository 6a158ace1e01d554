"""The way from a host to its place in AWS: account, settings, tags, and waiting for what AWS has been told."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TypeVar

import tenacity

from recoverd.connections.aws_calls import Aws
from recoverd.errors import Invalid, Unproven
from recoverd.inventory.isolation import Zone
from recoverd.inventory.isolation_aws import AwsIsolation
from recoverd.world import world

T = TypeVar("T")
Network = IPv4Network | IPv6Network

SHOWN_WITHIN_S = 40.0
AT_MOST = 16
"""Hosts at once: more would meet AWS's limits on how often it is asked, and end later."""

LIMIT_S = 90.0
"""Of one act: a few calls, each with AWS's own delays."""


def settings_of(host: str) -> AwsIsolation:
    """The `aws` block of a host's zone. Raises Invalid where it has none."""
    zone = zone_of(host)
    if zone.aws is None:
        raise Invalid(
            f"the zone {zone.name} of {host} says nothing of AWS",
            "give it an aws block in isolation.yaml, or no layer aws",
        )
    return zone.aws


def zone_of(host: str) -> Zone:
    """The zone of isolation.yaml that a host is in."""
    return world().inventory.zone_of(host)


def cloud(host: str) -> Aws:
    """The account and region that a host is in."""
    return world().connections.aws(settings_of(host))


def management_of(host: str) -> tuple[Network, ...]:
    """The networks that must keep reaching the SSH of a host in containment; none where everything is cut."""
    if settings_of(host).management == "cut":
        return ()
    given = zone_of(host).management
    return tuple(sorted({ip_network(one, strict=False) for one in given}, key=lambda one: (one.version, one)))


def contained_name(host: str) -> str:
    """The name of what contains a host: the same name always means the same rules."""
    name, networks = settings_of(host).contained_group, management_of(host)
    if name.startswith("sg-") or not networks:
        return name
    return f"{name}-{sha256(','.join(map(str, networks)).encode()).hexdigest()[:8]}"


def tags(kind: str, purpose: str, name: str = "", **more: str) -> list[dict[str, object]]:
    """Tags for something that is being made: what for, and by which run."""
    given = {"recoverd:purpose": purpose, "recoverd:run": world().run.id, **more}
    given |= {"Name": name} if name else {}
    return [{"ResourceType": kind, "Tags": [{"Key": key, "Value": value} for key, value in given.items()]}]


def tagged(thing: dict[str, object], key: str) -> str:
    """The value of a tag, empty where it is not there."""
    found = thing.get("Tags") or thing.get("TagSet") or []
    assert isinstance(found, list)  # noqa: S101  # AWS says so
    return next((str(tag["Value"]) for tag in found if tag["Key"] == key), "")


def until(question: Callable[[], T], what: str, limit_s: float = SHOWN_WITHIN_S) -> T:
    """Ask AWS, less and less often, until the answer is not empty. An act's own asking is made for hosts: too often for AWS.

    Raises:
        Unproven: The time is over.
    """
    waiting = tenacity.Retrying(
        stop=tenacity.stop_after_delay(limit_s),
        wait=tenacity.wait_exponential(multiplier=0.25, max=5),
        retry=tenacity.retry_if_result(lambda answer: not answer),
        retry_error_callback=lambda _state: None,
    )
    answer = waiting(question)
    if not answer:
        raise Unproven(
            f"AWS does not show within {limit_s:g} s that {what}", "look in the AWS console, then resume the run"
        )
    return answer
