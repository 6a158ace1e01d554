"""How hosts of a zone are cut off in AWS: the `aws` block of a zone in isolation.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recoverd.inventory.base import Model
from recoverd.inventory.secret import SecretRef

INSTANCE_VARIABLE = "recoverd_aws_instance"
"""The host variable that names a host's instance; without it the instance is looked up."""

Group = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9._:/()#,@\[\]+=&;{}!$* -]+$")]


class AwsCredentials(Model):
    """Who recoverd is in AWS. Without any of it: where boto3 looks, which is environment, profile, role of the machine."""

    profile: str | None = Field(None, min_length=1, description="profile of ~/.aws/config on recoverd's machine")
    access_key: SecretRef | None = Field(None, description="access key id")
    secret_key: SecretRef | None = Field(None, description="secret access key")
    session_token: SecretRef | None = Field(None, description="session token, where the keys are temporary")
    assume_role: str | None = Field(
        None, pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$", description="ARN of a role that is assumed with them"
    )
    external_id: SecretRef | None = Field(None, description="external id that the role asks for")

    @model_validator(mode="after")
    def _fits_together(self) -> AwsCredentials:
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key are given both or not at all")
        if self.access_key is not None and self.profile is not None:
            raise ValueError("credentials are a profile or keys, not both")
        if self.session_token is not None and self.access_key is None:
            raise ValueError("session_token belongs to access_key and secret_key")
        if self.external_id is not None and self.assume_role is None:
            raise ValueError("external_id belongs to assume_role")
        return self


class AwsIsolation(Model):
    """What is done in AWS to the hosts of a zone when they are isolated. The hosts name their instances by the host
    variable `recoverd_aws_instance`; those that do not are looked up by a tag, or by their private address."""

    region: str = Field(min_length=1, description="AWS region of the instances")
    account: str = Field(
        pattern=r"^\d{12}$", description="the account they belong to; with credentials of another one nothing is done"
    )
    credentials: AwsCredentials = Field(default_factory=AwsCredentials, description="who recoverd is there")
    instance_tag: str | None = Field(
        None,
        min_length=1,
        description="tag whose value is the host's name; none: the instance is found by the host's private address",
    )
    open_group: Group = Field(
        "recoverd-open",
        description="security group with everything open, on which interfaces stand for a moment; made in each VPC "
        "where it is missing; or the id of one that is there (sg-…)",
    )
    contained_group: Group = Field(
        "recoverd-contained",
        description="security group without rules, on which they stay; likewise. With `management: keep` its name gets "
        "an ending that stands for the management addresses",
    )
    management: Literal["keep", "cut"] = Field(
        "keep", description="whether the zone's management addresses still reach SSH; `cut`: nothing does"
    )
    network_acl: Literal["certain", "never"] = Field(
        "never",
        description="`certain`: the subnet gets a network ACL that stops everything at once, tracked connections too; "
        "refused where anything else stands in the subnet",
    )
    instance_profile: Literal["keep", "disassociate", "revoke-own", "revoke"] = Field(
        "revoke-own",
        description="the role of the instance: taken from it; with its own older sessions denied (`revoke-own`), or all "
        "older sessions of the role (`revoke`, refused where anybody else has the role)",
    )
    metadata: Literal["off", "keep"] = Field(
        "off", description="the instance metadata service, which hands out credentials"
    )
    protect: bool = Field(
        True, description="whether termination protection is set, and a shutdown from within only stops the instance"
    )
    snapshots: bool = Field(True, description="whether all volumes get a snapshot for forensics, which stays")
    target_groups: tuple[str, ...] | Literal["all", "none"] = Field(
        "all", description="target groups to leave, by name; `all`: every one, and classic load balancers too"
    )
    drain_s: float = Field(
        5, ge=0, le=3600, description="seconds that load balancers get to end connections before they are cut"
    )
    auto_scaling: Literal["standby", "keep"] = Field(
        "standby",
        description="an instance of an auto scaling group goes into standby: else it would be called unhealthy, "
        "terminated and replaced",
    )
    timeout_s: float = Field(10, gt=0, le=120, description="seconds for connecting to AWS, and for each answer")
