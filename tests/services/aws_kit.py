"""An AWS account by moto, hosts in it, and a run on them.

Where moto 5.2 differs from AWS, and what so cannot be proven here:

- Security groups and network ACLs are kept and enforce nothing: no packet is ever stopped.
- Every change shows at once. AWS may show the old state for seconds; test_what_aws_shows_late_is_waited_for stands for that.
- `describe_instances` shows no groups after an interface's change; AWS does, a little later. Both are why each interface is asked.
- Groups that `run_instances` is given for the instance stay on all its interfaces for ever: here they are given to the interface.
- A group that an interface stands on can be deleted; AWS refuses that.
- A new network ACL has no rules at all; AWS's has the two that deny everything, numbered 32767.
- `modify_instance_attribute` takes a shutdown behaviour, and goes on saying `stop`.
- Targets are gone at once when they are deregistered; AWS says `draining` for as long as the target group says.
- Nobody is ever denied anything, by policies of roles least of all; tests of that answer in AWS's place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from recoverd.connections import Connections
from recoverd.connections.aws_calls import Aws
from recoverd.errors import RecoverdError
from recoverd.inventory.isolation_aws import AwsIsolation
from recoverd.journal import Journal, RunRow
from recoverd.step import Act, Outcome
from recoverd.world import World, entered

IMAGE = "ami-03cf127a"  # one that moto knows
CHANGES = ("create", "modify", "authorize", "revoke", "replace", "dis", "associate", "put", "enter", "deregister")
REGION, ACCOUNT = "eu-central-1", "123456789012"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}


def client(service: str) -> Any:
    """A client of the tests' own."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


@dataclass
class Zone:
    """What the steps ask of a zone."""

    name: str = "web"
    aws: AwsIsolation | None = None
    management: tuple[str, ...] = ()
    evidence: str = "first"
    drains: tuple[Any, ...] = ()


@dataclass
class Place:
    """What the steps ask of an inventory: hosts with addresses and variables, and one zone."""

    zone: Zone
    hosts: dict[str, Any] = field(default_factory=dict)
    services: dict[str, Any] = field(default_factory=dict)

    def zone_of(self, host: str) -> Zone:
        return self.zone

    def host(self, name: str) -> Any:
        return self.hosts[name]


@dataclass
class Account:
    """A VPC with two subnets, and instances with two security groups of their own."""

    place: Place
    home: Path
    vpc: str
    subnets: list[str]
    groups: list[str]
    instances: dict[str, str] = field(default_factory=dict)
    journal: Journal | None = None
    connections: Connections | None = None

    def close(self) -> None:
        """End what runs have opened."""
        for one in (self.journal, self.connections):
            if one is not None:
                one.close()

    def add(self, host: str, subnet: int = 0) -> str:
        """A host with an instance behind it."""
        made = client("ec2").run_instances(
            ImageId=IMAGE,
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": self.subnets[subnet], "Groups": self.groups}],
        )["Instances"][0]
        self.place.hosts[host] = SimpleNamespace(name=host, address=made["PrivateIpAddress"], variables={})
        self.instances[host] = made["InstanceId"]
        return str(made["InstanceId"])

    def set(self, **settings: Any) -> None:
        """Change settings of the zone's aws block."""
        assert self.place.zone.aws is not None
        given = {**self.place.zone.aws.model_dump(), **settings}
        self.place.zone.aws = AwsIsolation.model_validate(given)

    def groups_of(self, host: str) -> dict[str, list[str]]:
        """By interface, as AWS has them."""
        wanted = [{"Name": "attachment.instance-id", "Values": [self.instances[host]]}]
        found = client("ec2").describe_network_interfaces(Filters=wanted)["NetworkInterfaces"]
        return {one["NetworkInterfaceId"]: sorted(group["GroupId"] for group in one["Groups"]) for one in found}

    def named(self, name: str) -> dict[str, Any]:
        """A security group by its name."""
        found = client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [name]}])
        return dict(found["SecurityGroups"][0])

    def profile(self, name: str, *hosts: str) -> str:
        """A role with a profile, given to hosts."""
        iam, ec2 = client("iam"), client("ec2")
        trust = '{"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        arn = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        for host in hosts:
            ec2.associate_iam_instance_profile(IamInstanceProfile={"Arn": arn}, InstanceId=self.instances[host])
        return str(arn)

    @contextmanager
    def run(self, row: RunRow | None = None, procedure: str = "isolate", **options: Any) -> Iterator[World]:
        """A run that is executed: a new one, or one that goes on."""
        journal = self.journal = self.journal or Journal.open(f"sqlite:///{self.home}/journal.db")
        if row is None:
            with journal.transaction() as tx:
                row = tx.create_run(procedure, "hosts", trigger="hand", requester="ann", reason="x", options=options)
        inventory: Any = self.place
        self.connections = self.connections or Connections(
            inventory
        )  # a client of EC2 takes a quarter of a second to make
        with entered(World(row, inventory, journal, self.connections)) as here:
            yield here


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account of its own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    if not hasattr(Act, "each"):
        monkeypatch.setattr(Act, "each", each, raising=False)
    with mock_aws():
        made = furnished(tmp_path)
        yield made
        made.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every call that changes something, in order."""
    made: list[tuple[str, dict[str, Any]]] = []
    once = Aws._once

    def noted(self: Aws, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation.startswith(CHANGES):
            made.append((operation, parameters))
        return once(self, service, operation, parameters)

    monkeypatch.setattr(Aws, "_once", noted)
    return made


def furnished(home: Path) -> Account:
    """The account of most tests."""
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24")["Subnet"]["SubnetId"] for number in range(2)
    ]
    groups = [
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"] for name in ("web", "ops")
    ]
    zone = Zone(aws=AwsIsolation(region=REGION, account=ACCOUNT, drain_s=0))
    return Account(Place(zone), home, vpc, subnets, sorted(groups))


@dataclass
class Each:
    """As `Act.each` gives it back."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    faults: dict[str, RecoverdError] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def each(
    act: Act[Any], calls: Mapping[str, tuple[Any, ...]], *, at_most: int = 64, stop_after: int | None = None
) -> Each:
    """An act for many, without the batching of the real one."""
    done = Each()

    def one(key: str) -> None:
        try:
            done.outcomes[key] = act(*calls[key])
        except RecoverdError as error:
            done.faults[key] = error

    with ThreadPoolExecutor(at_most) as pool:
        for running in [pool.submit(copy_context().run, one, key) for key in calls]:
            running.result()
    return done
