"""A bucket that speaks S3: each call ends by its limit, and errors are in our own words.

Hosts get and put objects by presigned addresses, so that no credential leaves this machine. What is written is written
once: an object that is there already is never replaced by other bytes.
"""

from __future__ import annotations

import base64
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any, cast

from recoverd.connections.s3_errors import in_words
from recoverd.errors import Look, NotAllowed, Refused, Tampered

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.loaders import Loader
    from mypy_boto3_s3 import S3Client

    from recoverd.inventory import S3Site

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Object:
    """An object, or one version of it.

    Attributes:
        key: Its key in the bucket, without the site's prefix.
        version: Its version; empty where the bucket keeps none.
        newest: Whether it is what a plain read gets.
        hidden: It is a delete marker: a plain read gets nothing, and older versions are still there.
        etag: What the server says of its bytes: their MD5, unless they came in several pieces or the server encrypts them.
    """

    key: str
    size: int
    at: datetime
    version: str = ""
    newest: bool = True
    hidden: bool = False
    etag: str = ""


class S3:
    """The bucket of a site. Safe to use from several threads.

    Args:
        site: The site, with its credentials as references.
        timeout_s: Limit for connecting; reading gets at most `READ_TIMEOUT_S` between two pieces.
    """

    def __init__(self, site: S3Site, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        from botocore.config import Config  # half a second, and most runs talk to no bucket

        self.site = site
        self._prefix = f"{site.prefix}/" if site.prefix else ""
        limits = Config(
            connect_timeout=timeout_s,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 2},
            signature_version="s3v4",
            s3={"addressing_style": "path" if site.endpoint else "auto"},
            request_checksum_calculation="when_required",  # servers that are not Amazon's may not know the newer ones
            response_checksum_validation="when_required",
            max_pool_connections=16,
        )
        keys: dict[str, Any] = {}
        if site.access_key is not None and site.secret_key is not None:
            keys = {"aws_access_key_id": site.access_key.resolve(), "aws_secret_access_key": site.secret_key.resolve()}
        self._client: S3Client = _session().client(
            "s3",
            region_name=site.region,
            endpoint_url=site.endpoint,
            verify=str(site.ca_file) if site.ca_file else None,
            config=limits,
            **keys,
        )

    def listing(self, prefix: str) -> dict[str, Object]:
        """The objects below a prefix that a plain read gets, by key."""
        found: dict[str, Object] = {}
        with self._words(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.site.bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for one in page.get("Contents", []):
                    key = one["Key"].removeprefix(self._prefix)
                    found[key] = Object(key, one["Size"], one["LastModified"], etag=one.get("ETag", "").strip('"'))
        return found

    def versions(self, prefix: str) -> dict[str, tuple[Object, ...]]:
        """Every version of every object below a prefix, the newest first; delete markers among them."""
        found: dict[str, list[Object]] = {}
        with self._words(f"list versions of {prefix}"):
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.site.bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for one in page.get("Versions", []):
                    key = one["Key"].removeprefix(self._prefix)
                    tag = one.get("ETag", "").strip('"')
                    made = Object(key, one["Size"], one["LastModified"], one["VersionId"], one["IsLatest"], etag=tag)
                    found.setdefault(key, []).append(made)
                for mark in page.get("DeleteMarkers", []):
                    key = mark["Key"].removeprefix(self._prefix)
                    made = Object(key, 0, mark["LastModified"], mark["VersionId"], mark["IsLatest"], hidden=True)
                    found.setdefault(key, []).append(made)
        return {
            key: tuple(sorted(all_, key=lambda one: (one.newest, one.at), reverse=True)) for key, all_ in found.items()
        }

    def folders(self, prefix: str) -> set[str]:
        """The directories right below a prefix of which a version of some object is left, be it hidden or not."""
        found = set()
        with self._words(f"list versions of {prefix}"):
            start = self._prefix + prefix
            pages = self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.site.bucket, Prefix=start, Delimiter="/"
            )
            for page in pages:
                found |= {one["Prefix"].removeprefix(start).rstrip("/") for one in page.get("CommonPrefixes", [])}
        return found

    def read(self, key: str, *, most_bytes: int, version: str = "") -> bytes:
        """A small object. Raises Look when it is missing or larger than `most_bytes`."""
        with self._words(f"read {key}"):
            answer = self._client.get_object(Bucket=self.site.bucket, Key=self._prefix + key, **_versioned(version))
            with answer["Body"] as body:
                content = body.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise Tampered(f"{key} on {self.site.name} is larger than {most_bytes} bytes", "see what wrote it")
        return content

    def sha256(self, key: str, version: str = "") -> tuple[int, str]:
        """Size and hash of an object, by reading every byte of it."""
        digest, size = sha256(), 0
        with self._words(f"read {key}"):
            answer = self._client.get_object(Bucket=self.site.bucket, Key=self._prefix + key, **_versioned(version))
            with answer["Body"] as body:
                while chunk := body.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
        return size, digest.hexdigest()

    def write(self, key: str, content: bytes, *, lasting: bool = True) -> None:
        """A small object, once; `lasting` with the site's lock. Raises Refused when other bytes are there under that key."""
        known = self.listing(key).get(key)
        if known is not None:
            if self.read(key, most_bytes=max(known.size, 1)) == content:
                return
            raise Refused(f"{key} on {self.site.name} holds other bytes", "it is not overwritten: see `recoverd sites`")
        with self._words(f"write {key}"):
            digest = base64.b64encode(md5(content, usedforsecurity=False).digest()).decode()
            self._client.put_object(
                Bucket=self.site.bucket, Key=self._prefix + key, Body=content, ContentMD5=digest, **self._lock(lasting)
            )

    def copy(self, key: str, to: str, version: str = "", *, lasting: bool = True) -> None:
        """Copy an object, or one version of it, within the bucket: the server does it. Onto itself it is the newest again."""
        source: Any = {"Bucket": self.site.bucket, "Key": self._prefix + key, **_versioned(version)}
        with self._words(f"copy {key}"):
            self._client.copy_object(
                Bucket=self.site.bucket, Key=self._prefix + to, CopySource=source, **self._lock(lasting)
            )

    def keeps_versions(self) -> bool:
        """Whether what is overwritten stays as an older version. Where that cannot be asked: no."""
        try:
            with self._words("tell whether it keeps versions"):
                answer = self._client.get_bucket_versioning(Bucket=self.site.bucket)
        except (NotAllowed, Look):
            return False
        return answer.get("Status") == "Enabled"

    def remove(self, key: str) -> None:
        """Hide an object; with versions, what it was stays until its lock and the bucket's own rules let it go."""
        with self._words(f"remove {key}"):
            self._client.delete_object(Bucket=self.site.bucket, Key=self._prefix + key)

    def address_to_get(self, key: str, *, valid_s: int, version: str = "") -> str:
        """An address that gives the object to whoever has it, for so many seconds. A secret."""
        parameters = {"Bucket": self.site.bucket, "Key": self._prefix + key, **_versioned(version)}
        return self._client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=valid_s)

    def address_to_put(
        self, key: str, md5_hex: str, *, valid_s: int, lasting: bool = True
    ) -> tuple[str, dict[str, str]]:
        """An address under which just these bytes may be put, and the headers that must go with them. A secret.

        Args:
            key: Where.
            md5_hex: MD5 of the bytes; the server refuses others.
            valid_s: Seconds that it is valid.
            lasting: With the site's lock.
        """
        digest = base64.b64encode(bytes.fromhex(md5_hex)).decode()
        lock = self._lock(lasting)
        parameters = {"Bucket": self.site.bucket, "Key": self._prefix + key, "ContentMD5": digest, **lock}
        headers = {"Content-MD5": digest}
        if lock:
            headers["x-amz-object-lock-mode"] = lock["ObjectLockMode"]
            headers["x-amz-object-lock-retain-until-date"] = lock["ObjectLockRetainUntilDate"]
        return self._client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=valid_s), headers

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def _lock(self, lasting: bool) -> dict[str, Any]:
        if not self.site.lock_days or not lasting:
            return {}
        until = datetime.now(timezone.utc) + timedelta(days=self.site.lock_days)
        return {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": f"{until:%Y-%m-%dT%H:%M:%SZ}"}

    def _words(self, doing: str) -> AbstractContextManager[None]:
        return in_words(self.site, doing)


def _versioned(version: str) -> dict[str, Any]:
    return {"VersionId": version} if version else {}


def _session() -> Session:
    """A session of its own, which reads Amazon's description of S3 from the one before: that takes 0.1 s of the processor."""
    import boto3
    from botocore.session import Session as Core

    own = Core()
    own.register_component("data_loader", _descriptions())
    return boto3.session.Session(botocore_session=own)


@cache
def _descriptions() -> Loader:
    from botocore.session import Session as Core

    return cast("Loader", Core().get_component("data_loader"))
