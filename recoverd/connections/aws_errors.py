"""What the errors of AWS mean to the operator."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recoverd.errors import Look, NotAllowed, RecoverdError, TryAgain, Unreachable

DENIED = frozenset({"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"})
_NOT_US = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_ACTION = re.compile(r"perform:? ([a-z0-9-]+:[A-Za-z]+)")


@contextmanager
def in_words(action: str, where: str) -> Iterator[None]:
    """Errors of one call in our own words.

    Args:
        action: What was called, as IAM writes it: `ec2:DescribeInstances`.
        where: Account and region.

    Raises:
        NotAllowed: The credentials are refused, or may not do this: which permission lacks is in the hint.
        TryAgain: AWS limits how often it is asked.
        Unreachable: AWS does not answer, or cannot at the moment.
        Look: AWS refuses the call itself.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

    try:
        yield
    except (NoCredentialsError, ProfileNotFound) as error:
        hint = "name credentials in the zone's aws block in isolation.yaml, or give the machine a role"
        raise NotAllowed(f"there are no AWS credentials for {where}", hint) from error
    except ClientError as error:
        raise from_answer(error.response, action, where) from error
    except BotoCoreError as error:
        what = " ".join(str(error).split())
        raise Unreachable(f"{where} does not answer to {action}: {what}", "check the network to AWS") from error


def from_answer(answer: Any, action: str, where: str) -> RecoverdError:
    """The error that an answer of AWS is."""
    code, words = str(answer.get("Error", {}).get("Code", "")), str(answer.get("Error", {}).get("Message", ""))
    if code in DENIED:
        found = _ACTION.search(words)
        lacking = found.group(1) if found else action
        hint = f"allow {lacking} to recoverd's role: the whole policy is in docs/procedures/isolate-aws.md"
        return NotAllowed(f"{where} does not let recoverd call {lacking}", hint)
    if code in _NOT_US:
        hint = "check the credentials of the zone's aws block, whether they have expired, and this machine's clock"
        return NotAllowed(f"{where} refuses recoverd's credentials at {action}: {code}", hint)
    if code in _THROTTLED:
        return TryAgain(
            f"{where} limits how often {action} is called", "wait a minute, then resume: the rest is done then"
        )
    if int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500:
        return Unreachable(f"{where} cannot do {action} at the moment: {code}", "see the AWS health dashboard")
    return AwsRefused(code, f"{where} refuses {action}: {code}: {words}", "see the instance in the AWS console")


class AwsRefused(Look):
    """AWS understood the call and refuses it.

    Args:
        code: AWS's own word for the reason.
    """

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code

    def __reduce__(self) -> tuple[type[AwsRefused], tuple[str, str, str]]:  # type: ignore[override]
        """Keep all of it when the error crosses a process border."""
        return (type(self), (self.code, self.message, self.hint))
