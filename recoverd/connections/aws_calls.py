"""Calls to AWS in one account and region: each within its limit, throttling met by waiting, errors in our own words.

Every call is made here by name, `aws.call("ec2", "describe_instances", …)`: so a test can hold the IAM policy in
docs/procedures/isolate-aws.md to the calls that the code makes.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import tenacity

from recoverd.connections.aws_errors import AwsRefused, in_words
from recoverd.errors import Refused

if TYPE_CHECKING:
    from recoverd.inventory.isolation_aws import AwsIsolation

ATTEMPTS = 5
"""Attempts of one call: botocore's standard mode waits longer each time where AWS throttles. So an AWS that cannot be reached
is known after a minute."""

CONSISTENT_WITHIN_S = 30.0
"""What was just made in AWS may not be known everywhere yet: so long a call may say that it does not exist."""

_ROLE_VALID_S = 3600
_RENEWED_BEFORE_S = 600


class Aws:
    """One account and region, as one identity. Safe to use from several threads.

    Args:
        settings: Region, account, credentials and time limit.
    """

    def __init__(self, settings: AwsIsolation) -> None:
        self.settings = settings
        self.where = f"AWS account {settings.account} in {settings.region}"
        self.known: dict[tuple[str, ...], str] = {}
        """Ids that never change once they are there, by what they were looked up by."""
        self._clients: dict[str, Any] = {}
        self._session: Any = None
        self._until: datetime | None = None
        self._guard = threading.RLock()

    def call(self, service: str, operation: str, *, not_yet: Collection[str] = (), **parameters: Any) -> dict[str, Any]:
        """Call an operation.

        Args:
            service: As boto3 names it.
            operation: The client's method.
            not_yet: Error codes that pass once AWS is consistent; waited out for at most `CONSISTENT_WITHIN_S`.
            parameters: Of the operation.

        Raises:
            NotAllowed, TryAgain, Unreachable, AwsRefused: See `in_words`.
            Refused: The credentials belong to another account.
        """
        waiting = tenacity.Retrying(
            stop=tenacity.stop_after_delay(CONSISTENT_WITHIN_S),
            wait=tenacity.wait_exponential(multiplier=0.2, max=3),
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, AwsRefused) and error.code in not_yet),
            reraise=True,
        )
        return waiting(self._once, service, operation, parameters)

    def pages(self, service: str, operation: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """Everything below `key` of an operation that lists, page after page. Raises what `call` raises."""
        client = self._client(service)
        if not client.can_paginate(operation):
            yield from self.call(service, operation, **parameters).get(key, [])
            return
        with in_words(action_of(service, operation), self.where):
            for page in client.get_paginator(operation).paginate(**parameters):
                yield from page.get(key, [])

    def close(self) -> None:
        """End its connections."""
        with self._guard:
            clients, self._clients, self._session = self._clients, {}, None
        for client in clients.values():
            client.close()

    def _once(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        client = self._client(service)
        with in_words(action_of(service, operation), self.where):
            found: dict[str, Any] = getattr(client, operation)(**parameters)
        return found

    def _client(self, service: str) -> Any:
        with self._guard:
            if self._session is None or (self._until is not None and datetime.now(timezone.utc) > self._until):
                self._clients, self._session = {}, self._proven_session()
            if service not in self._clients:
                self._clients[service] = self._session.client(service, config=self._limits())
            return self._clients[service]

    def _proven_session(self) -> Any:
        """A session in the right account: an isolation in somebody else's would report success."""
        session = self._role(self._own_session())
        with in_words("sts:GetCallerIdentity", self.where):
            account = session.client("sts", config=self._limits()).get_caller_identity()["Account"]
        if account != self.settings.account:
            raise Refused(
                f"the credentials are those of AWS account {account}, and the hosts are in {self.settings.account}",
                "correct account or credentials in the zone's aws block in isolation.yaml",
            )
        return session

    def _own_session(self) -> Any:
        import boto3  # half a second, and most runs talk to no AWS

        given = self.settings.credentials
        keys: dict[str, Any] = {}
        if given.access_key is not None and given.secret_key is not None:
            keys = {
                "aws_access_key_id": given.access_key.resolve(),
                "aws_secret_access_key": given.secret_key.resolve(),
                "aws_session_token": given.session_token.resolve() if given.session_token else None,
            }
        with in_words("sts:GetCallerIdentity", self.where):
            return boto3.session.Session(region_name=self.settings.region, profile_name=given.profile, **keys)

    def _role(self, session: Any) -> Any:
        """A session of the role that is to be assumed; renewed before its end. Without a role the session itself."""
        import boto3

        given = self.settings.credentials
        self._until = None
        if given.assume_role is None:
            return session
        more = {"ExternalId": given.external_id.resolve()} if given.external_id else {}
        with in_words("sts:AssumeRole", self.where):
            answer = session.client("sts", config=self._limits()).assume_role(
                RoleArn=given.assume_role, RoleSessionName="recoverd", DurationSeconds=_ROLE_VALID_S, **more
            )["Credentials"]
        self._until = answer["Expiration"] - timedelta(seconds=_RENEWED_BEFORE_S)
        return boto3.session.Session(
            aws_access_key_id=answer["AccessKeyId"],
            aws_secret_access_key=answer["SecretAccessKey"],
            aws_session_token=answer["SessionToken"],
            region_name=self.settings.region,
        )

    def _limits(self) -> Any:
        from botocore.config import Config

        limit_s = self.settings.timeout_s
        return Config(
            connect_timeout=limit_s,
            read_timeout=limit_s,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=32,
        )


def action_of(service: str, operation: str) -> str:
    """An operation as IAM writes it: `ec2:DescribeInstances`."""
    prefix = {"elbv2": "elasticloadbalancing", "elb": "elasticloadbalancing"}.get(service, service)
    return f"{prefix}:{''.join(part.capitalize() for part in operation.split('_'))}"
