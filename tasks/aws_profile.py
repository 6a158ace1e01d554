"""The role of an instance: taken from it, and what it had been given before denied.

Taking the profile away ends nothing: credentials that the instance has fetched, or a thief has, go on for hours. Only a
policy of the role itself that denies every older session ends those (`aws:TokenIssueTime`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from recoverd.connections.aws_calls import Aws
from recoverd.connections.aws_errors import AwsRefused
from recoverd.errors import Stale, Unsafe
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.aws_cloud import LIMIT_S, cloud, settings_of, until

LONGEST_SESSION = timedelta(hours=12)
"""What AWS gives no session of a role beyond. Before that, whoever takes the denial away revives stolen ones."""

_LIVE = frozenset({"associating", "associated"})
_EC2 = frozenset({"ec2.amazonaws.com", "ec2.amazonaws.com.cn"})


def has_profile(host: str, instance: str) -> bool:
    """Whether an instance has a role."""
    return _associated(cloud(host), instance) is not None


def _has_none(host: str, instance: str, profile: str) -> Effect | None:
    return (
        None
        if _associated(cloud(host), instance)
        else Effect(f"{instance} of {host} has no role", {"profile": profile})
    )


@act(
    "take its role from {host} ({instance})",
    ask=_has_none,
    undo="tasks.aws_profile:give_profile",
    time_limit_s=LIMIT_S,
)
def take_profile(host: str, instance: str, profile: str) -> None:
    """Disassociate the instance profile. Raises Stale when it is another one than was found first."""
    aws, there = cloud(host), _associated(cloud(host), instance)
    if there is None:
        return
    if there["IamInstanceProfile"]["Arn"] != profile:
        raise Stale(
            f"somebody gave {instance} of {host} the profile {there['IamInstanceProfile']['Arn']} meanwhile",
            "see who, then start a new run",
        )
    aws.call("ec2", "disassociate_iam_instance_profile", AssociationId=there["AssociationId"])
    until(lambda: _associated(aws, instance) is None, f"{instance} has no instance profile")


def _has(host: str, instance: str, profile: str) -> Effect | None:
    there = _associated(cloud(host), instance)
    return (
        Effect(f"{instance} of {host} has {profile}")
        if there and there["IamInstanceProfile"]["Arn"] == profile
        else None
    )


@act("give {host} ({instance}) its role back", ask=_has, time_limit_s=LIMIT_S)
def give_profile(host: str, instance: str, profile: str) -> None:
    """Associate the profile again. Raises Stale when somebody has given the instance another one since."""
    aws, there = cloud(host), _associated(cloud(host), instance)
    if there is not None:
        raise Stale(
            f"somebody gave {instance} of {host} the profile {there['IamInstanceProfile']['Arn']} since it was isolated",
            "see who, then set the profile by hand",
        )
    aws.call(
        "ec2", "associate_iam_instance_profile", not_yet=("IncorrectState", "IncorrectInstanceState"),
        InstanceId=instance, IamInstanceProfile={"Arn": profile},
    )  # fmt: skip
    until(lambda: _associated(aws, instance), f"{instance} has the instance profile {profile}")


def sharers(host: str, instance: str, profile: str) -> tuple[str, ...]:
    """Who else has a role of the instance: instances with any profile of the role, and whoever else may assume it."""
    aws, found = cloud(host), set()
    for role in roles_of(aws, profile):
        for other in aws.pages("iam", "list_instance_profiles_for_role", "InstanceProfiles", RoleName=role):
            found |= {name for name in _instances_with(aws, str(other["Arn"])) if name != instance}
        trust = aws.call("iam", "get_role", RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        found |= {f"{who} (may assume {role})" for who in _trusted(_document(trust)) if who not in _EC2}
    return tuple(sorted(found))


def _denied(host: str, instance: str, profile: str) -> Effect | None:
    aws, roles = cloud(host), roles_of(cloud(host), profile)
    policies = {role: _policy(aws, role, instance) for role in roles}
    since = min((at for policy in policies.values() if (at := _since(policy))), default="")
    if not all(policies.values()) or (roles and since < f"{world().run.created_at:%Y-%m-%dT%H:%M:%SZ}"):
        return None  # a denial from an earlier isolation says nothing of the sessions that began after it
    return Effect(
        f"sessions of {', '.join(roles) or 'no role'} from before {since or 'now'} are denied",
        {"roles": roles, "since": since},
    )


@act(
    "deny the older sessions of the role of {host} ({instance})",
    ask=_denied,
    undo="tasks.aws_profile:allow_sessions",
    time_limit_s=LIMIT_S,
)
def deny_sessions(host: str, instance: str, profile: str) -> None:
    """Put a policy on the role that denies what began before now: all of it, or what was given to this instance.

    Raises:
        Unsafe: All of it, and others have the role too.
    """
    aws, own = cloud(host), settings_of(host).instance_profile == "revoke-own"
    if not own and (others := sharers(host, instance, profile)) and not world().run.options.get("force"):
        raise shared(host, others)
    when: dict[str, Any] = {"DateLessThan": {"aws:TokenIssueTime": f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"}}
    if own:
        # AWS names a session of an instance by the instance, which whoever has its credentials cannot change.
        when["StringLike"] = {"aws:userid": f"*:{instance}"}
    statement = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": when}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    for role in roles_of(aws, profile):
        aws.call("iam", "put_role_policy", RoleName=role, PolicyName=_name(instance), PolicyDocument=document)
    until(
        lambda: all(_policy(aws, role, instance) for role in roles_of(aws, profile)), "the role has the denying policy"
    )


def shared(host: str, others: tuple[str, ...]) -> Unsafe:
    """The refusal: others would lose their sessions."""
    return Unsafe(
        f"the role of {host} is not its own: {', '.join(others[:20])} would lose their sessions too",
        "set `instance_profile: revoke-own` in isolation.yaml, or have a person with the right use --force",
    )


def _allowed(host: str, instance: str, profile: str) -> Effect | None:
    aws = cloud(host)
    found = {role: _since(policy) for role in roles_of(aws, profile) if (policy := _policy(aws, role, instance))}
    if not found:
        return Effect(f"no role of {host} denies older sessions")
    last = max(found.values())
    if datetime.now(timezone.utc) - datetime.fromisoformat(last.replace("Z", "+00:00")) < LONGEST_SESSION:
        names = ", ".join(f"{_name(instance)} of {role}" for role in found)
        return Effect(
            f"{names} stays: it denies only sessions from before {last}, and without it stolen ones would live again"
        )
    return None


@act("take the denial of older sessions from the role of {host} ({instance})", ask=_allowed, time_limit_s=LIMIT_S)
def allow_sessions(host: str, instance: str, profile: str) -> None:
    """Remove the denying policy once no session can be left that it denies; before that it stays, and harms nobody."""
    aws = cloud(host)
    for role in roles_of(aws, profile):
        if _policy(aws, role, instance):
            aws.call("iam", "delete_role_policy", RoleName=role, PolicyName=_name(instance))


def roles_of(aws: Aws, profile: str) -> list[str]:
    """The roles of an instance profile: one, or none."""
    if ("profile", profile) not in aws.known:
        name = profile.rpartition("/")[2]
        roles = aws.call("iam", "get_instance_profile", InstanceProfileName=name)["InstanceProfile"]["Roles"]
        aws.known["profile", profile] = " ".join(sorted(role["RoleName"] for role in roles))
    return aws.known["profile", profile].split()


def _name(instance: str) -> str:
    return f"recoverd-deny-older-sessions-{instance}"


def _policy(aws: Aws, role: str, instance: str) -> dict[str, Any]:
    """The denying policy of a role, empty where it has none."""
    try:
        found = aws.call("iam", "get_role_policy", RoleName=role, PolicyName=_name(instance))
    except AwsRefused as error:
        if error.code == "NoSuchEntity":
            return {}
        raise
    return _document(found["PolicyDocument"])


def _since(policy: Mapping[str, Any]) -> str:
    found = [
        one.get("Condition", {}).get("DateLessThan", {}).get("aws:TokenIssueTime", "")
        for one in policy.get("Statement", [])
    ]
    return str(max(found, default=""))


def _document(given: Any) -> dict[str, Any]:
    return dict(json.loads(given)) if isinstance(given, str) else dict(given)


def _trusted(trust: Mapping[str, Any]) -> Iterator[str]:
    """Everybody whom a role's trust policy lets assume it."""
    for one in trust.get("Statement", []):
        principal = one.get("Principal", {}) if one.get("Effect") == "Allow" else {}
        for some in principal.values() if isinstance(principal, dict) else [principal]:
            yield from [some] if isinstance(some, str) else some


def _instances_with(aws: Aws, profile: str) -> Iterator[str]:
    for one in aws.pages("ec2", "describe_iam_instance_profile_associations", "IamInstanceProfileAssociations"):
        if one["IamInstanceProfile"]["Arn"] == profile and one["State"] in _LIVE:
            yield str(one["InstanceId"])


def _associated(aws: Aws, instance: str) -> dict[str, Any] | None:
    wanted = [{"Name": "instance-id", "Values": [instance]}]
    found = aws.pages(
        "ec2", "describe_iam_instance_profile_associations", "IamInstanceProfileAssociations", Filters=wanted
    )
    return next((one for one in found if one["State"] in _LIVE), None)
