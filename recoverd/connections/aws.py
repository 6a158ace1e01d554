"""Clients of AWS, with limits of our own and errors in our own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recoverd.errors import Look, NotAllowed, Unreachable

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_DENIED = frozenset({"UnauthorizedOperation", "AuthFailure", "AccessDenied", "InvalidClientTokenId", "ExpiredToken"})


@contextmanager
def ec2(region: str, timeout_s: float, doing: str) -> Iterator[EC2Client]:
    """A client of EC2 for a few calls.

    Args:
        region: AWS region.
        timeout_s: Limit for connecting, and for each answer; one further attempt is made.
        doing: What is being done, for the errors.

    Raises:
        NotAllowed: AWS refuses the credentials, or there are none.
        Unreachable: AWS does not answer.
        Look: AWS refuses the call.
    """
    import boto3  # half a second, and most inventories have no EC2
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    limits = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries={"total_max_attempts": 2})
    client = boto3.client("ec2", region_name=region, config=limits)
    try:
        yield client
    except NoCredentialsError as error:
        raise NotAllowed(f"{doing}: there are no AWS credentials", "give the machine a role, or a profile") from error
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        words = f"{doing}: EC2 says {code}: {error.response.get('Error', {}).get('Message', '')}"
        if code in _DENIED:
            raise NotAllowed(words, "allow ec2:StopInstances, StartInstances and DescribeInstances") from error
        raise Look(words, "correct region and plugs in fencing.yaml") from error
    except BotoCoreError as error:
        raise Unreachable(f"{doing}: EC2 does not answer: {error}", "check the network to AWS") from error
    finally:
        client.close()
