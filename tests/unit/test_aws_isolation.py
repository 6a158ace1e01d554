"""Isolation in AWS, by moto. What moto cannot show is said in aws_kit.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import ACCOUNT, CREDENTIALS, Account, account, client, each, furnished

from flows.layers import aws
from recoverd.errors import Refused, Stale
from recoverd.step import Act


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    if not hasattr(Act, "each"):
        monkeypatch.setattr(Act, "each", each, raising=False)
    with account():
        made = furnished(tmp_path)
        yield made
        if made.journal is not None:
            made.journal.close()


def test_every_interface_stands_on_the_empty_group_alone_and_comes_back_to_its_own(cloud: Account) -> None:
    instance = cloud.add("web-1")
    more = client("ec2").create_network_interface(SubnetId=cloud.subnets[1], Groups=cloud.groups[:1])[
        "NetworkInterface"
    ]
    client("ec2").attach_network_interface(
        NetworkInterfaceId=more["NetworkInterfaceId"], InstanceId=instance, DeviceIndex=1
    )
    before = cloud.groups_of("web-1")
    assert len(before) == 2
    with cloud.run() as isolate:
        done = aws.apply(("web-1",))
        assert not done.faults
        contained = cloud.named("recoverd-contained")
        assert contained["IpPermissions"] == contained["IpPermissionsEgress"] == []
        assert set(map(tuple, cloud.groups_of("web-1").values())) == {(contained["GroupId"],)}
        assert aws.verify(("web-1",)).faults == {}
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1",), isolate.run.id).faults
        assert cloud.groups_of("web-1") == before
        assert "stands on" in aws.verify(("web-1",)).faults["web-1"]
