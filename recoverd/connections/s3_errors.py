"""What the errors of an S3 client mean to the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recoverd.errors import Look, NotAllowed, Tampered, TimedOut, Unreachable

if TYPE_CHECKING:
    from recoverd.inventory import S3Site

_DENIED = frozenset(
    {
        "AccessDenied",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "InvalidToken",
        "403",
        "AuthFailure",
    }
)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchVersion"})


@contextmanager
def in_words(site: S3Site, doing: str) -> Iterator[None]:
    """What botocore's errors mean to the operator."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectTimeoutError,
        NoCredentialsError,
        ReadTimeoutError,
        SSLError,
    )

    where = f"the site {site.name} ({site.endpoint or 'Amazon S3'}, bucket {site.bucket})"
    try:
        yield
    except NoCredentialsError as error:
        raise NotAllowed(f"there are no credentials for {where}", "name them in backups.yaml") from error
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _DENIED:
            hint = "check access_key and secret_key of the site, whether they have expired, and the bucket's rules"
            raise NotAllowed(f"{where} refuses to {doing}: {code}", hint) from error
        if code in _MISSING:
            raise Look(f"{where} does not have what was asked for ({doing})", "see `recoverd sites`") from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        kind = Unreachable if status >= 500 else Look
        raise kind(f"{where} could not {doing}: {code or status}", "see the server's log") from error
    except SSLError as error:
        raise Tampered(
            f"the certificate of {where} is not to be trusted", "compare it with the site's ca_file"
        ) from error
    except ReadTimeoutError as error:
        raise TimedOut(f"{where} did not end to {doing} in time", "it may be slow: see the network to it") from error
    except ConnectTimeoutError as error:
        raise Unreachable(f"{where} does not answer", "check the server and the network to it") from error
    except BotoCoreError as error:
        raise Unreachable(f"{where} cannot be reached: {type(error).__name__}", "check the network to it") from error
