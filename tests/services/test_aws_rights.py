"""What recoverd may do in AWS: the documented policy, held to the code, and enforced by moto; and what is said when it lacks."""

from __future__ import annotations

import ast
import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_kit import REGION, Account, client, cloud
from moto.core.authorization import enable_iam_authentication

from flows.layers import aws
from recoverd.connections.aws_calls import Aws, action_of
from recoverd.connections.aws_errors import AwsRefused, from_answer
from recoverd.errors import Look, NotAllowed, RecoverdError, TryAgain, Unreachable

__all__ = ["cloud"]

ROOT = Path(__file__).parents[2]
SERVICES = ("autoscaling", "ec2", "elb", "elbv2", "iam", "sts")
NOT_CALLED = {
    "iam:PassRole": "asked for when a profile is given to an instance",
    "ec2:CreateTags": "asked for when something is made with tags",
    "sts:GetCallerIdentity": "",
}


def documented() -> dict[str, Any]:
    text = (ROOT / "docs" / "procedures" / "isolate-aws.md").read_text(encoding="utf-8")
    (policy,) = re.findall(r"```json\n(.*?)```", text, flags=re.DOTALL)
    return dict(json.loads(policy))


def called() -> set[str]:
    """Every operation of AWS that the code of this layer names: as an argument, or as a value that becomes one."""
    found = set()
    for path in (*(ROOT / "tasks").glob("aws_*.py"), *(ROOT / "flows" / "layers").glob("*.py")):
        texts = {
            node.value
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch("[a-z0-9_]+", node.value)
        }
        for service in texts & set(SERVICES):
            operations = {
                text for text in texts if "_" in text and hasattr(boto3.client(service, region_name=REGION), text)
            }
            found |= {action_of(service, operation) for operation in operations}
    return found


def test_the_documented_policy_is_what_the_code_calls() -> None:
    allowed = {action for statement in documented()["Statement"] for action in statement["Action"]}
    there = called()
    assert len(there) > 30
    assert there <= allowed
    assert allowed - there == set(NOT_CALLED)


def limited(cloud: Account, policy: dict[str, Any]) -> None:
    """From here on recoverd is a user with that policy and nothing else; moto then asks IAM before every call."""
    iam = client("iam")
    iam.create_user(UserName="recoverd")
    iam.put_user_policy(UserName="recoverd", PolicyName="isolate", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="recoverd")["AccessKey"]
    found = {}
    for name, value in {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}.items():
        (cloud.home / name).write_text(value)
        found[name] = {"file": str(cloud.home / name)}
    cloud.set(credentials=found)


def test_the_documented_policy_is_enough_to_isolate_and_to_release(cloud: Account) -> None:
    cloud.add("web-1")
    cloud.profile("web", "web-1")
    cloud.set(network_acl="certain", instance_profile="revoke")
    before = cloud.groups_of("web-1")
    limited(cloud, documented())
    with enable_iam_authentication():
        with cloud.run() as isolate:
            done = aws.apply(("web-1",))
            assert not done.faults
            assert aws.verify(("web-1",)).faults == {}
        with cloud.run(procedure="release"):
            done = aws.release(("web-1",), isolate.run.id)
            assert not done.faults
    assert cloud.groups_of("web-1") == before


@pytest.mark.parametrize("lacking", ["ec2:ModifyNetworkInterfaceAttribute", "ec2:CreateSnapshots"])
def test_a_right_that_lacks_is_named(cloud: Account, lacking: str) -> None:
    cloud.add("web-1")
    policy = documented()
    for statement in policy["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != lacking]
    limited(cloud, policy)
    with enable_iam_authentication(), cloud.run():
        fault = aws.apply(("web-1",)).faults["web-1"]
    assert isinstance(fault, NotAllowed)
    assert lacking in fault.message
    assert "docs/procedures/isolate-aws.md" in fault.hint


def answer(code: str, message: str = "", status: int = 400) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (answer("UnauthorizedOperation", "You are not authorized to perform this operation."), NotAllowed, "ec2:X"),
        (
            answer("UnauthorizedOperation", "User: u is not authorized to perform: iam:PassRole on resource: r"),
            NotAllowed,
            "iam:PassRole",
        ),
        (answer("AccessDenied", "User is not authorized to perform: ec2:CreateTags"), NotAllowed, "ec2:CreateTags"),
        (answer("ExpiredToken"), NotAllowed, "refuses recoverd's credentials"),
        (answer("RequestLimitExceeded", status=503), TryAgain, "limits how often"),
        (answer("Throttling"), TryAgain, "limits how often"),
        (answer("InternalError", status=500), Unreachable, "at the moment"),
        (answer("InvalidInstanceID.NotFound", "no i-1"), Look, "no i-1"),
    ],
)
def test_what_aws_answers_says_what_to_do_next(given: dict[str, Any], kind: type[RecoverdError], words: str) -> None:
    error = from_answer(given, "ec2:X", "AWS")
    assert type(error) is kind or (kind is Look and isinstance(error, AwsRefused))
    assert words in error.message
    assert error.hint


def test_throttling_is_waited_out_by_the_client_itself(cloud: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answers say that there were too many requests; botocore's standard mode asks again."""
    from botocore.awsrequest import AWSResponse

    class Raw:
        def stream(self, **_: Any) -> Any:
            yield b"<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>"

    made, asked = Aws(cloud.place.zone.aws), []  # type: ignore[arg-type]
    made.call("ec2", "describe_vpcs")

    def throttled(request: Any, **_: Any) -> AWSResponse | None:
        asked.append(request)
        return AWSResponse(request.url, 503, {}, Raw()) if len(asked) < 3 else None

    monkeypatch.setattr("time.sleep", lambda _s: None)
    made._clients["ec2"].meta.events.register_first("before-send.ec2.DescribeVpcs", throttled)
    assert made.call("ec2", "describe_vpcs")["Vpcs"]
    assert len(asked) == 3
    made.close()


def test_a_role_is_assumed_and_assumed_again_before_it_ends(cloud: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.set(credentials={"assume_role": "arn:aws:iam::123456789012:role/recoverd", "external_id": {"env": "OUTSIDE"}})
    monkeypatch.setenv("OUTSIDE", "a-word")
    made, sessions = Aws(cloud.place.zone.aws), []  # type: ignore[arg-type]
    own = Aws._role
    monkeypatch.setattr(Aws, "_role", lambda self, session: sessions.append(own(self, session)) or sessions[-1])
    for _ in range(2):
        assert made.call("sts", "get_caller_identity")["Arn"].endswith("assumed-role/recoverd/recoverd")
    assert len(sessions) == 1
    made._until = datetime.now(timezone.utc)
    made.call("sts", "get_caller_identity")
    assert len(sessions) == 2
    made.close()


def test_without_credentials_the_error_says_where_to_name_them(
    cloud: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for credentials in ({}, {"profile": "no-such"}):
        cloud.set(credentials=credentials)
        with pytest.raises(NotAllowed, match="no AWS credentials") as caught:
            Aws(cloud.place.zone.aws).call("ec2", "describe_vpcs")  # type: ignore[arg-type]
        assert "isolation.yaml" in caught.value.hint
