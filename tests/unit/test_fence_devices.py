"""Fence devices: agents of the ClusterLabs kind, and EC2.

EC2 is moto here. moto stops an instance at once and by no force; AWS takes a minute or more, says `stopping` in the
meantime, and needs the three permissions that it would check. What this cannot prove: that AWS really cut it off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from pydantic import ValidationError

from recoverd.errors import Invalid, Look, NotAllowed, TimedOut, Unreachable
from recoverd.inventory import FenceDevice
from tasks.fence_devices import OFF, ON, call_device, is_off


def agent(tmp_path: Path, script: str, **facts: object) -> FenceDevice:
    path = tmp_path / "agent"
    path.write_text(f"#!/bin/sh\ncat >{tmp_path}/heard\n{script}\n")
    path.chmod(0o755)
    return FenceDevice.model_validate(
        {"name": "power", "command": [str(path)], "plugs": {"db-1": "outlet-7"}, "options": {"ip": "10.0.0.9"}, **facts}
    )


def test_an_agent_hears_its_action_plug_and_options_on_its_input(tmp_path: Path) -> None:
    assert call_device(agent(tmp_path, "exit 0"), "off", "db-1") == ON
    assert (tmp_path / "heard").read_text().splitlines() == ["action=off", "plug=outlet-7", "ip=10.0.0.9"]


def test_two_means_off_for_status_and_failure_for_anything_else(tmp_path: Path) -> None:
    device = agent(tmp_path, "echo no way >&2; exit 2")
    assert is_off(device, "db-1")
    with pytest.raises(Look, match="no way"):
        call_device(device, "off", "db-1")


def test_an_agent_that_hangs_fails_or_is_not_there_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(TimedOut):
        is_off(agent(tmp_path, "exec sleep 9", timeout_s=0.2), "db-1")
    with pytest.raises(Look, match="exit 1"):
        is_off(agent(tmp_path, "exit 1"), "db-1")
    gone = agent(tmp_path, "exit 0").model_copy(update={"command": (str(tmp_path / "gone"),)})
    with pytest.raises(Unreachable):
        is_off(gone, "db-1")


def test_a_host_without_a_plug_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no plug for db-9"):
        is_off(agent(tmp_path, "exit 0"), "db-9")


@pytest.mark.parametrize(
    "facts",
    [{"kind": "aws-ec2"}, {"kind": "aws-ec2", "region": "eu-central-1", "command": ["x"]}, {"kind": "command"}],
)
def test_a_device_gives_what_its_kind_needs_and_nothing_else(facts: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FenceDevice.model_validate({"name": "d", **facts})


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[FenceDevice]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("ec2", region_name="eu-central-1")
        image = client.describe_images()["Images"][0]["ImageId"]
        made = client.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        yield FenceDevice(
            name="cloud",
            kind="aws-ec2",
            region="eu-central-1",
            plugs={"db-1": made, "db-2": "i-0123456789abcdef0"},
        )


def test_an_ec2_instance_is_off_when_ec2_says_stopped(cloud: FenceDevice) -> None:
    assert not is_off(cloud, "db-1")
    call_device(cloud, "off", "db-1")
    assert call_device(cloud, "status", "db-1") == OFF
    call_device(cloud, "on", "db-1")
    assert call_device(cloud, "status", "db-1") == ON


def test_an_instance_that_ec2_does_not_know_is_no_proof(cloud: FenceDevice) -> None:
    with pytest.raises(Look, match="InvalidInstanceID"):
        is_off(cloud, "db-2")


def test_without_credentials_nothing_is_fenced_and_the_error_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(NotAllowed, match="no AWS credentials"):
        is_off(FenceDevice(name="cloud", kind="aws-ec2", region="eu-central-1", plugs={"db-1": "i-1"}), "db-1")
