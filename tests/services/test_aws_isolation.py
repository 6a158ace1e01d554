"""Isolation in AWS, by moto. What moto cannot show is said in aws_kit.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from aws_kit import CHANGES, Account, calls, client, cloud

from flows.layers import aws
from recoverd.connections.aws_calls import Aws
from recoverd.errors import Refused

__all__ = ["calls", "cloud"]


class Killed(BaseException):
    """The process is gone."""


def second_interface(cloud: Account, host: str) -> None:
    ec2 = client("ec2")
    made = ec2.create_network_interface(SubnetId=cloud.subnets[1], Groups=cloud.groups[:1])["NetworkInterface"]
    ec2.attach_network_interface(
        NetworkInterfaceId=made["NetworkInterfaceId"], InstanceId=cloud.instances[host], DeviceIndex=1
    )


def test_every_interface_stands_on_the_empty_group_alone_and_comes_back_to_its_own(cloud: Account) -> None:
    cloud.add("web-1")
    second_interface(cloud, "web-1")
    before = cloud.groups_of("web-1")
    assert len(before) == 2
    with cloud.run() as isolate:
        assert not aws.apply(("web-1",)).faults
        contained = cloud.named("recoverd-contained")
        assert contained["IpPermissions"] == contained["IpPermissionsEgress"] == []
        assert set(map(tuple, cloud.groups_of("web-1").values())) == {(contained["GroupId"],)}
        assert aws.verify(("web-1",)).faults == {}
    with cloud.run(procedure="release"):
        assert not aws.release(("web-1",), isolate.run.id).faults
        assert cloud.groups_of("web-1") == before
        assert "stands on" in aws.verify(("web-1",)).faults["web-1"]


def test_an_interface_is_open_first_so_that_tracked_connections_are_forgotten(
    cloud: Account, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    cloud.add("web-1")
    with cloud.run():
        aws.apply(("web-1",))
    moves = [given["Groups"] for name, given in calls if name == "modify_network_interface_attribute"]
    opened = cloud.named("recoverd-open")
    assert moves == [[opened["GroupId"]], [cloud.named("recoverd-contained")["GroupId"]]]
    for rules in (opened["IpPermissions"], opened["IpPermissionsEgress"]):
        networks = [one["CidrIp"] for rule in rules for one in rule["IpRanges"]]
        networks += [one["CidrIpv6"] for rule in rules for one in rule.get("Ipv6Ranges", [])]
        assert sorted(networks) == ["0.0.0.0/0", "::/0"]
        assert {rule["IpProtocol"] for rule in rules} == {"-1"}


def test_management_keeps_ssh_and_nothing_else(cloud: Account) -> None:
    cloud.add("web-1")
    cloud.place.zone.management = ("192.0.2.7", "2001:db8::/64")
    with cloud.run():
        assert not aws.apply(("web-1",)).faults
        found = client("ec2").describe_security_groups(
            Filters=[{"Name": "group-name", "Values": ["recoverd-contained-*"]}]
        )
        (contained,) = found["SecurityGroups"]
        assert contained["IpPermissionsEgress"] == []
        allowed = [
            (rule["IpProtocol"], rule["FromPort"], rule["ToPort"], one.get("CidrIp") or one.get("CidrIpv6"))
            for rule in contained["IpPermissions"]
            for one in (*rule["IpRanges"], *rule["Ipv6Ranges"])
        ]
        assert sorted(allowed) == [("tcp", 22, 22, "192.0.2.7/32"), ("tcp", 22, 22, "2001:db8::/64")]
        cloud.set(management="cut")
        assert "no security group recoverd-contained in" in aws.verify(("web-1",)).faults["web-1"]


def test_a_rule_that_somebody_slipped_into_the_containment_group_shows_and_is_taken_out(cloud: Account) -> None:
    cloud.add("web-1")
    everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}]
    with cloud.run():
        aws.apply(("web-1",))
        group = cloud.named("recoverd-contained")["GroupId"]
        client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=everything)
        assert "has everything from 203.0.113.0/24" in aws.verify(("web-1",)).faults["web-1"]
    with cloud.run():
        assert not aws.apply(("web-1",)).faults
        assert cloud.named("recoverd-contained")["IpPermissions"] == []


def test_a_group_of_that_name_that_is_not_recoverds_is_never_changed(cloud: Account) -> None:
    cloud.add("web-1")
    before = cloud.groups_of("web-1")
    client("ec2").create_security_group(GroupName="recoverd-contained", Description="ours", VpcId=cloud.vpc)
    with cloud.run():
        done = aws.apply(("web-1",))
    assert "is not recoverd's" in done.faults["web-1"].message
    assert cloud.named("recoverd-contained")["IpPermissionsEgress"] != []
    assert cloud.groups_of("web-1") != before, "what is not proven empty is still better than what was there"


@pytest.mark.parametrize("settings", [{}, {"instance_tag": "Name"}])
def test_a_host_without_exactly_one_instance_is_refused_before_the_first_change(
    cloud: Account, calls: list[tuple[str, dict[str, Any]]], settings: dict[str, str]
) -> None:
    cloud.add("web-1")
    cloud.set(**settings)
    cloud.place.hosts["web-1"].address = "10.9.9.9"
    with cloud.run(), pytest.raises(Refused, match="web-1: no such instance") as caught:
        aws.apply(("web-1",))
    assert "recoverd_aws_instance" in caught.value.hint
    assert calls == []


def test_an_instance_is_found_by_its_name_by_tag_and_by_address(cloud: Account) -> None:
    ids = [cloud.add(host) for host in ("web-1", "web-2", "web-3")]
    client("ec2").create_tags(Resources=[ids[1]], Tags=[{"Key": "Name", "Value": "web-2"}])
    cloud.place.hosts["web-3"].variables = {"recoverd_aws_instance": ids[2]}
    with cloud.run():
        assert aws.instances_of(("web-1",)).of("web-1").id == ids[0]
        cloud.set(instance_tag="Name")
        found = aws.instances_of(("web-2", "web-3"))
    assert [one.id for one in found.found] == ids[1:]
    assert found.of("web-2").volumes


def test_credentials_of_another_account_change_nothing(cloud: Account, calls: list[tuple[str, dict[str, Any]]]) -> None:
    cloud.add("web-1")
    cloud.set(account="999999999999")
    with cloud.run(), pytest.raises(Refused, match="those of AWS account 123456789012"):
        aws.apply(("web-1",))
    assert calls == []


def test_a_plan_changes_nothing_and_says_what_would_be_done(
    cloud: Account, calls: list[tuple[str, dict[str, Any]]]
) -> None:
    cloud.add("web-1")
    with cloud.run() as here:
        here.dry_run = True
        assert not aws.apply(("web-1",)).faults
    assert calls == []
    titles = [one.title for one in here.planned if one.changes]
    assert any("into containment" in title for title in titles)


def test_one_host_that_fails_keeps_no_other_from_being_isolated(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("web-1", "web-2"):
        cloud.add(host)
    once = Aws._once

    def broken(self: Aws, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "modify_network_interface_attribute" and parameters["NetworkInterfaceId"] in bad:
            from recoverd.errors import TryAgain

            raise TryAgain("AWS limits how often it is called", "wait")
        return once(self, service, operation, parameters)

    bad = set(cloud.groups_of("web-2"))
    monkeypatch.setattr(Aws, "_once", broken)
    with cloud.run() as here:
        done = aws.apply(("web-1", "web-2"))
        assert set(done.faults) == {"web-2"}
        assert set(aws.verify(("web-1", "web-2")).faults) == {"web-2"}
        row = here.run
    monkeypatch.setattr(Aws, "_once", once)
    with cloud.run(row):
        assert not aws.apply(("web-1", "web-2")).faults, "the run that goes on does the rest"
        assert aws.verify(("web-1", "web-2")).faults == {}


def test_where_the_second_step_fails_the_interface_does_not_stay_open(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add("web-1")
    before, once = cloud.groups_of("web-1"), Aws._once
    moves: list[Any] = []

    def broken(self: Aws, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if operation == "modify_network_interface_attribute":
            moves.append(parameters["Groups"])
            if len(moves) == 2:
                raise Refused("no", "no")
        return once(self, service, operation, parameters)

    monkeypatch.setattr(Aws, "_once", broken)
    with cloud.run():
        assert set(aws.apply(("web-1",)).faults) == {"web-1"}
    assert moves[0] == [cloud.named("recoverd-open")["GroupId"]]
    assert cloud.groups_of("web-1") == before


def test_what_aws_shows_late_is_waited_for(cloud: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto shows every change at once; AWS may answer with the state of a moment ago."""
    cloud.add("web-1")
    pages, stale = Aws.pages, {"left": 0}
    old: list[Any] = []

    def late(self: Aws, service: str, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        found = list(pages(self, service, operation, key, **parameters))
        if operation != "describe_network_interfaces":
            return iter(found)
        if stale["left"] > 0:
            stale["left"] -= 1
            return iter(old)
        old[:] = found
        return iter(found)

    once = Aws._once

    def moved(self: Aws, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        answer = once(self, service, operation, parameters)
        stale["left"] = 2 if operation == "modify_network_interface_attribute" else stale["left"]
        return answer

    monkeypatch.setattr(Aws, "pages", late)
    monkeypatch.setattr(Aws, "_once", moved)
    with cloud.run():
        assert not aws.apply(("web-1",)).faults
        assert aws.verify(("web-1",)).faults == {}
    assert set(map(tuple, cloud.groups_of("web-1").values())) == {(cloud.named("recoverd-contained")["GroupId"],)}


def deadly(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The boundary `at` of the changes kills: each change has one before it reaches AWS, and one after."""
    once, boundary = Aws._once, {"at": 0, "seen": 0}

    def kills(self: Aws, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        if not operation.startswith(CHANGES):
            return once(self, service, operation, parameters)
        boundary["seen"] += 1
        if boundary["seen"] == boundary["at"]:
            raise Killed
        answer = once(self, service, operation, parameters)
        boundary["seen"] += 1
        if boundary["seen"] == boundary["at"]:
            raise Killed
        return answer

    monkeypatch.setattr(Aws, "_once", kills)
    return boundary


@pytest.mark.timeout(300)
def test_a_release_that_is_killed_at_any_change_goes_on_and_puts_everything_back(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.add("web-1")
    arn = cloud.profile("web", "web-1")
    cloud.set(snapshots=False, instance_profile="disassociate")
    before = cloud.groups_of("web-1")
    boundary, kills = deadly(monkeypatch), 0
    while True:
        boundary["at"] = 0
        with cloud.run() as isolate:
            assert not aws.apply(("web-1",)).faults
        boundary.update(at=kills + 1, seen=0)
        with cloud.run(procedure="release") as first:
            try:
                aws.release(("web-1",), isolate.run.id)
                killed = False
            except Killed:
                killed = True
        boundary["at"] = 0
        with cloud.run(first.run):
            assert not aws.release(("web-1",), isolate.run.id).faults
        assert cloud.groups_of("web-1") == before
        there = client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
        assert [one["IamInstanceProfile"]["Arn"] for one in there] == [arn]
        if not killed:
            break
        kills += 1
    assert kills >= 8


def test_one_host_without_an_instance_is_a_fault_and_the_others_are_isolated(cloud: Account) -> None:
    for host in ("web-1", "web-2"):
        cloud.add(host)
    cloud.place.hosts["web-2"].address = "10.9.9.9"
    with cloud.run():
        done = aws.apply(("web-1", "web-2"))
        assert "no such instance" in done.faults["web-2"].message
        assert set(done.faults) == {"web-2"}
        assert aws.verify(("web-1", "web-2")).faults == {"web-2": "no such instance"}


@pytest.mark.timeout(300)
def test_a_kill_before_or_after_any_change_leaves_everything_to_be_done_exactly_once(
    cloud: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change is killed in turn, before it reaches AWS and after; another process goes on, and a release ends it."""
    boundary = deadly(monkeypatch)
    cloud.add("web-1")
    arn = cloud.profile("web", "web-1")
    before = cloud.groups_of("web-1")
    kills = 0
    while True:
        boundary.update(at=kills + 1, seen=0)
        with cloud.run() as first:
            try:
                aws.apply(("web-1",))
                killed = False
            except Killed:
                killed = True
        boundary["at"] = 0
        if not killed:
            break
        kills += 1
        if kills % 3:  # the others are released as they are
            with cloud.run(first.run):
                assert not aws.apply(("web-1",)).faults
                assert aws.verify(("web-1",)).faults == {}
            wanted = [{"Name": "tag:recoverd:run", "Values": [first.run.id]}]
            assert len(client("ec2").describe_snapshots(Filters=wanted)["Snapshots"]) == 1
        with cloud.run(procedure="release"):
            assert not aws.release(("web-1",), first.run.id).faults
        assert cloud.groups_of("web-1") == before
        there = client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
        assert [one["IamInstanceProfile"]["Arn"] for one in there] == [arn]
    assert kills >= boundary["seen"] >= 10, "every change of a whole run was killed, the last run went through"
