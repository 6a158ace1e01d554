"""The `aws` block of a zone: what it may say, and what would be a trap."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from recoverd.inventory.isolation_aws import AwsIsolation
from tasks.aws_groups import contained_rules, open_rules, rules_of

GOOD: dict[str, Any] = {"region": "eu-central-1", "account": "123456789012"}


def test_nobody_else_is_hit_unless_the_inventory_asks_for_it() -> None:
    settings = AwsIsolation.model_validate(GOOD)
    assert settings.network_acl == "never"
    assert settings.instance_profile == "revoke-own"
    assert settings.management == "keep"


@pytest.mark.parametrize(
    "wrong",
    [
        {"account": "12345"},
        {"credentials": {"access_key": {"env": "A"}}},
        {"credentials": {"profile": "p", "access_key": {"env": "A"}, "secret_key": {"env": "B"}}},
        {"credentials": {"session_token": {"env": "T"}}},
        {"credentials": {"external_id": {"env": "X"}}},
        {"credentials": {"secret_key": "a value", "access_key": {"env": "A"}}},
        {"credentials": {"assume_role": "recoverd"}},
        {"network_acl": "always"},
        {"contained_group": ""},
        {"drain_s": -1},
    ],
)
def test_what_does_not_fit_together_is_refused_when_the_inventory_is_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AwsIsolation.model_validate({**GOOD, **wrong})


def test_settings_can_be_told_apart_for_connections_are_kept_by_them() -> None:
    one, same = (AwsIsolation.model_validate(GOOD) for _ in range(2))
    other = AwsIsolation.model_validate({**GOOD, "region": "eu-west-1"})
    assert {one: 1}[same] == 1
    assert other != one


def test_every_way_through_a_group_is_read_as_a_rule() -> None:
    group = {
        "IpPermissions": [
            {
                "IpProtocol": "tcp",
                "FromPort": 22,
                "ToPort": 22,
                "IpRanges": [{"CidrIp": "192.0.2.0/24"}],
                "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/64"}],
                "UserIdGroupPairs": [{"GroupId": "sg-1"}],
                "PrefixListIds": [{"PrefixListId": "pl-1"}],
            }
        ],
        "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    assert rules_of(group) == {
        ("in", "tcp", 22, 22, "192.0.2.0/24"),
        ("in", "tcp", 22, 22, "2001:db8::/64"),
        ("in", "tcp", 22, 22, "sg-1"),
        ("in", "tcp", 22, 22, "pl-1"),
        ("out", "-1", -1, -1, "0.0.0.0/0"),
    }
    assert contained_rules([]) == frozenset()
    assert len(open_rules()) == 4
