"""The parts of an isolation in AWS, by moto: subnets, roles, balancers, scaling, what is kept. See aws_kit.py for its limits."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import pytest
from aws_kit import Account, calls, client, cloud

from flows.layers import aws
from recoverd.errors import Refused

__all__ = ["calls", "cloud"]


def acl_of(subnet: str) -> dict[str, Any]:
    wanted = [{"Name": "association.subnet-id", "Values": [subnet]}]
    return dict(client("ec2").describe_network_acls(Filters=wanted)["NetworkAcls"][0])


def test_a_network_acl_is_refused_while_others_stand_in_the_subnet_and_they_are_named(
    cloud: Account, calls: list[Any]
) -> None:
    cloud.add("web-1")
    other = cloud.add("web-2")
    cloud.set(network_acl="certain")
    with cloud.run(), pytest.raises(Refused, match=other) as caught:
        aws.apply(("web-1",))
    assert "--force" in caught.value.hint
    assert calls == []


def test_a_network_acl_stops_the_subnet_but_for_management_and_the_former_one_comes_back(cloud: Account) -> None:
    for host in ("web-1", "web-2"):
        cloud.add(host)
    cloud.set(network_acl="certain")
    cloud.place.zone.management = ("192.0.2.0/24",)
    before = acl_of(cloud.subnets[0])["NetworkAclId"]
    with cloud.run() as isolate:
        assert not aws.apply(("web-1", "web-2")).faults, "two that are isolated together are not in each other's way"
        assert aws.verify(("web-1", "web-2")).faults == {}
    there = acl_of(cloud.subnets[0])
    rules = {
        (rule["Egress"], rule["RuleAction"], rule["CidrBlock"], rule["PortRange"]["From"], rule["PortRange"]["To"])
        for rule in there["Entries"]
    }
    assert rules == {(False, "allow", "192.0.2.0/24", 22, 22), (True, "allow", "192.0.2.0/24", 1024, 65535)}
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1", "web-2"), isolate.run.id).faults
    assert acl_of(cloud.subnets[0])["NetworkAclId"] == before


def test_with_force_a_shared_subnet_is_cut(cloud: Account) -> None:
    for host in ("web-1", "web-2"):
        cloud.add(host)
    cloud.set(network_acl="certain")
    with cloud.run(force=True):
        assert not aws.apply(("web-1",)).faults
    assert acl_of(cloud.subnets[0])["Entries"] == []


def policies_of(role: str) -> list[dict[str, Any]]:
    iam = client("iam")
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    found = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    return [one if isinstance(one, dict) else json.loads(unquote(one)) for one in found]


def profiles() -> dict[str, str]:
    found = client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    return {one["InstanceId"]: one["IamInstanceProfile"]["Arn"] for one in found}


def test_a_shared_role_denies_the_sessions_of_the_one_instance_alone(cloud: Account) -> None:
    ids = [cloud.add(host) for host in ("web-1", "web-2")]
    arn = cloud.profile("web", "web-1", "web-2")
    began = datetime.now(timezone.utc).replace(microsecond=0)
    with cloud.run() as isolate:
        assert not aws.apply(("web-1",)).faults
    assert profiles() == {ids[1]: arn}
    ((statement,),) = [policy["Statement"] for policy in policies_of("web")]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "*", "*")
    assert statement["Condition"]["StringLike"] == {"aws:userid": f"*:{ids[0]}"}
    since = datetime.fromisoformat(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"].replace("Z", "+00:00"))
    assert began <= since <= datetime.now(timezone.utc)
    with cloud.run(procedure="release"):
        done = aws.release(("web-1",), isolate.run.id)
    assert not done.faults
    assert profiles() == {ids[0]: arn, ids[1]: arn}
    assert len(policies_of("web")) == 1, "without the denial, sessions that were stolen would live again"
    assert any("would live again" in outcome.effect.summary for outcome in done.outcomes["web-1"])


def test_the_denial_goes_once_no_session_can_be_left_that_it_denies(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add("web-1")
    cloud.profile("web", "web-1")
    with cloud.run() as isolate:
        aws.apply(("web-1",))
    monkeypatch.setattr("tasks.aws_profile.LONGEST_SESSION", timedelta(seconds=-1))
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1",), isolate.run.id).faults
    assert policies_of("web") == []


def test_revoking_a_whole_role_is_refused_while_others_have_it_and_they_are_named(
    cloud: Account, calls: list[Any]
) -> None:
    cloud.add("web-1")
    other = cloud.add("web-2")
    cloud.profile("web", "web-1", "web-2")
    cloud.set(instance_profile="revoke")
    with cloud.run(), pytest.raises(Refused, match=other):
        aws.apply(("web-1",))
    assert calls == []


def test_whoever_else_may_assume_the_role_counts_as_sharing_it(cloud: Account) -> None:
    cloud.add("web-1")
    cloud.profile("web", "web-1")
    who = {"AWS": "arn:aws:iam::210987654321:root"}
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"}],
    }
    client("iam").update_assume_role_policy(RoleName="web", PolicyDocument=json.dumps(trust))
    cloud.set(instance_profile="revoke")
    with cloud.run(), pytest.raises(Refused, match=r"210987654321:root \(may assume web\)"):
        aws.apply(("web-1",))


def test_a_role_of_one_instance_is_denied_whole(cloud: Account) -> None:
    cloud.add("web-1")
    cloud.profile("web", "web-1")
    cloud.set(instance_profile="revoke")
    with cloud.run():
        assert not aws.apply(("web-1",)).faults
    ((statement,),) = [policy["Statement"] for policy in policies_of("web")]
    assert set(statement["Condition"]) == {"DateLessThan"}


def target_group(cloud: Account, name: str, *targets: dict[str, Any], kind: str = "instance") -> str:
    elb = client("elbv2")
    made = elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=cloud.vpc, TargetType=kind)
    arn = str(made["TargetGroups"][0]["TargetGroupArn"])
    elb.register_targets(TargetGroupArn=arn, Targets=list(targets))
    return arn


def registered(arn: str) -> list[tuple[str, int]]:
    found = client("elbv2").describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    return sorted((one["Target"]["Id"], one["Target"]["Port"]) for one in found)


def test_load_balancers_get_back_just_the_targets_that_they_had(cloud: Account) -> None:
    ids = [cloud.add(host) for host in ("web-1", "web-2")]
    address = cloud.place.hosts["web-1"].address
    by_id = target_group(cloud, "by-id", {"Id": ids[0], "Port": 8080}, {"Id": ids[0], "Port": 8081}, {"Id": ids[1]})
    by_address = target_group(cloud, "by-ip", {"Id": address, "Port": 443}, kind="ip")
    elb = client("elb")
    listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}
    elb.create_load_balancer(LoadBalancerName="old", Listeners=[listener], AvailabilityZones=["eu-central-1a"])
    elb.register_instances_with_load_balancer(LoadBalancerName="old", Instances=[{"InstanceId": one} for one in ids])
    before = (registered(by_id), registered(by_address))
    with cloud.run(force=True) as isolate:
        assert not aws.apply(("web-1",)).faults
    assert (registered(by_id), registered(by_address)) == ([(ids[1], 80)], [])
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1",), isolate.run.id).faults
    assert (registered(by_id), registered(by_address)) == before
    members = elb.describe_load_balancers()["LoadBalancerDescriptions"][0]["Instances"]
    assert {one["InstanceId"] for one in members} == set(ids)


def test_the_last_healthy_target_is_refused_unless_forced(cloud: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = cloud.add("web-1")
    target_group(cloud, "alone", {"Id": instance, "Port": 80})
    state = {"Target": {"Id": instance, "Port": 80}, "TargetHealth": {"State": "healthy"}}
    # moto has no load balancer in front of it, and so says `unused`
    monkeypatch.setattr("tasks.aws_balancers._health", lambda aws, group: [state])
    with cloud.run(), pytest.raises(Refused, match="web-1 is the last healthy target of alone"):
        aws.apply(("web-1",))


def test_what_still_drains_when_the_time_is_over_is_told_and_keeps_nobody_from_being_cut(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto has no draining phase: AWS's answer is given here."""
    instance = cloud.add("web-1")
    target_group(cloud, "web", {"Id": instance, "Port": 80})
    cloud.set(drain_s=0.3)
    asked: list[str] = []

    def health(_aws: Any, group: str) -> list[dict[str, Any]]:
        asked.append(group)
        state = "draining" if len(asked) > 3 else "healthy"
        return [{"Target": {"Id": instance, "Port": 80}, "TargetHealth": {"State": state}}]

    monkeypatch.setattr("tasks.aws_balancers._health", health)
    with cloud.run(force=True) as here:
        assert not aws.apply(("web-1",)).faults
    assert any("still draining: web-1 from web" in one.finding for one in here.planned)
    assert set(map(tuple, cloud.groups_of("web-1").values())) == {(cloud.named("recoverd-contained")["GroupId"],)}


def scaled(cloud: Account, instance: str, smallest: int) -> None:
    scaling = client("autoscaling")
    scaling.create_launch_configuration(LaunchConfigurationName="lc", ImageId="ami-03cf127a", InstanceType="t2.micro")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="web", MinSize=smallest, MaxSize=3, LaunchConfigurationName="lc",
        VPCZoneIdentifier=cloud.subnets[0], DesiredCapacity=smallest,
    )  # fmt: skip
    scaling.attach_instances(AutoScalingGroupName="web", InstanceIds=[instance])


def state_of(instance: str) -> tuple[str, int]:
    scaling = client("autoscaling")
    one = scaling.describe_auto_scaling_instances(InstanceIds=[instance])["AutoScalingInstances"][0]
    group = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"][0]
    return one["LifecycleState"], group["DesiredCapacity"]


@pytest.mark.parametrize(("smallest", "aside"), [(0, 0), (1, 1)])
def test_an_auto_scaling_group_sets_the_instance_aside_instead_of_terminating_it(
    cloud: Account, smallest: int, aside: int
) -> None:
    instance = cloud.add("web-1")
    scaled(cloud, instance, smallest)
    assert state_of(instance) == ("InService", smallest + 1)
    with cloud.run() as isolate:
        assert not aws.apply(("web-1",)).faults
    assert state_of(instance) == ("Standby", aside)
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1",), isolate.run.id).faults
    assert state_of(instance) == ("InService", smallest + 1)


def test_an_instance_that_left_its_auto_scaling_group_since_is_not_put_back_into_it(cloud: Account) -> None:
    instance = cloud.add("web-1")
    scaled(cloud, instance, 0)
    with cloud.run() as isolate:
        aws.apply(("web-1",))
    client("autoscaling").detach_instances(
        AutoScalingGroupName="web", InstanceIds=[instance], ShouldDecrementDesiredCapacity=True
    )
    with cloud.run(procedure="release"):
        done = aws.release(("web-1",), isolate.run.id)
    assert "not in the auto scaling group web any more" in done.faults["web-1"].message


def test_snapshots_are_kept_for_forensics_and_say_of_what(cloud: Account) -> None:
    instance = cloud.add("web-1")
    with cloud.run() as isolate:
        aws.apply(("web-1",))
    with cloud.run(procedure="release"):
        aws.release(("web-1",), isolate.run.id)
    wanted = [{"Name": "tag:recoverd:purpose", "Values": ["forensics"]}]
    (kept,) = client("ec2").describe_snapshots(Filters=wanted)["Snapshots"]
    tags = {tag["Key"]: tag["Value"] for tag in kept["Tags"]}
    assert tags["recoverd:host"] == "web-1"
    assert tags["recoverd:instance"] == instance
    assert tags["recoverd:run"] == isolate.run.id


def test_metadata_and_protection_are_as_before_after_a_release(cloud: Account) -> None:
    instance, ec2 = cloud.add("web-1"), client("ec2")

    def facts() -> tuple[str, bool]:
        one = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        ends = ec2.describe_instance_attribute(InstanceId=instance, Attribute="disableApiTermination")
        return one["MetadataOptions"]["HttpEndpoint"], ends["DisableApiTermination"]["Value"]

    before = facts()
    assert before == ("enabled", False)
    with cloud.run() as isolate:
        aws.apply(("web-1",))
    assert facts() == ("disabled", True)
    with cloud.run(procedure="release"):
        aws.release(("web-1",), isolate.run.id)
    assert facts() == before


def test_a_host_that_somebody_has_changed_since_is_not_touched_at_all_by_a_release(
    cloud: Account, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    for host in ("web-1", "web-2"):
        cloud.add(host)
    before = cloud.groups_of("web-2")
    with cloud.run() as isolate:
        aws.apply(("web-1", "web-2"))
    (interface,) = cloud.groups_of("web-1")
    client("ec2").modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=cloud.groups[1:])
    calls.clear()
    with cloud.run(procedure="release"):
        done = aws.release(("web-1", "web-2"), isolate.run.id)
    assert set(done.faults) == {"web-1"}
    assert "moved on" in done.faults["web-1"].message
    assert cloud.groups_of("web-1") == {interface: cloud.groups[1:]}
    assert not [given for _, given in calls if cloud.instances["web-1"] in json.dumps(given)]
    assert cloud.groups_of("web-2") == before
