"""Zones: how the hosts of a kind are isolated, contained and let back, as isolation.yaml says."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Literal

from pydantic import Field, field_validator, model_validator

from recoverd.inventory.base import Model, Port
from recoverd.inventory.isolation_aws import AwsIsolation
from recoverd.inventory.isolation_drains import HaproxyDrain

Layer = Literal["entry-points", "firewall", "aws"]
Evidence = Literal["first", "after", "none"]


class Limit(Model):
    """How many hosts one run may take off the network at once. Both hold."""

    hosts: int = Field(10, ge=1, description="so many hosts")
    percent: int = Field(
        50, ge=1, le=100, description="so many percent of the zone's hosts, those that are isolated already counted in"
    )


class Probes(Model):
    """What peers try, to see whether a host can be reached."""

    tcp: tuple[Port, ...] = Field((22,), description="TCP ports; refused or reset counts as reached")
    icmp: bool = Field(True, description="whether they send echo requests too")


class Zone(Model):
    """Hosts that are isolated in the same way. The first zone that selects a host counts; none: the defaults below."""

    name: str = Field(min_length=1, description="the zone's name: its key below `zones` in isolation.yaml")
    hosts: str = Field(
        min_length=1, description="which hosts: names, `group:NAME`, `label:NAME=VALUE`, joined by commas"
    )
    management: tuple[str, ...] = Field(
        (),
        description="addresses and networks from which SSH must stay reachable; none: those that recoverd comes from, "
        "as the host's own sshd says",
    )
    dhcp: tuple[str, ...] = Field((), description="addresses of DHCP servers that the host may go on asking")
    layers: tuple[Layer, ...] = Field(
        ("entry-points", "firewall"), min_length=1, description="what cuts a host off, in this order"
    )
    peers: tuple[str, ...] = Field(
        (), description="hosts from which it is proven; none: others of its groups, then any others"
    )
    witnesses: int = Field(3, ge=1, description="how many peers must agree, where so many can be asked")
    probes: Probes = Field(default_factory=Probes, description="what peers try")
    timer_s: int = Field(
        60,
        ge=10,
        le=3600,
        description="seconds after which a host that was not confirmed over a new connection comes back by itself",
    )
    limit: Limit = Field(default_factory=Limit, description="how many hosts one run may isolate")
    evidence: Evidence = Field(
        "first", description="whether volatile evidence is taken before the cut, after it, or not at all"
    )
    recheck_s: int = Field(
        60, ge=5, description="seconds between two looks at whether an isolated host is still cut off"
    )
    protected_accounts: tuple[str, ...] = Field(
        (), description="accounts that are never locked, beside root and recoverd's own"
    )
    forbidden_processes: tuple[str, ...] = Field(
        (), description="regular expressions: what `diagnose` calls grave where the command line of a process fits one"
    )
    drains: tuple[HaproxyDrain, ...] = Field(
        (), description="load balancers in front of the hosts that recoverd reaches over SSH"
    )
    aws: AwsIsolation | None = Field(None, description="what is done in AWS, for the layer `aws`")
    policy: str = Field("default", description="the policy in policies.yaml that runs on these hosts go by")

    @field_validator("management", "dhcp")
    @classmethod
    def _networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            ip_network(one, strict=False)
        return given

    @field_validator("forbidden_processes")
    @classmethod
    def _expressions(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            try:
                re.compile(one)
            except re.error as error:
                raise ValueError(f"{one!r} is no regular expression: {error}") from error
        return given

    @field_validator("dhcp")
    @classmethod
    def _addresses(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for one in given:
            ip_address(one)
        return given

    @model_validator(mode="after")
    def _each_layer_once(self) -> Zone:
        if len(set(self.layers)) < len(self.layers):
            raise ValueError("a layer is named twice")
        if "aws" in self.layers and self.aws is None:
            raise ValueError("the layer aws needs an aws block")
        return self


ANYWHERE = Zone(name="default", hosts="*")
"""For hosts that no zone selects."""
