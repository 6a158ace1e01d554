"""Where evidence is kept: the places named below `evidence` in isolation.yaml. All of them get all of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recoverd.inventory.backups import NAME, S3Site
from recoverd.inventory.base import Model
from recoverd.inventory.secret import SecretRef, anchored


class EvidencePlace(Model):
    """A directory on recoverd's machine, or a bucket that speaks S3. Without any: `evidence/` in recoverd's home."""

    name: str = Field(pattern=NAME, description="the place's name: its key below `evidence` in isolation.yaml")
    directory: Path | None = Field(None, description="a directory; relative to the inventory")
    bucket: str | None = Field(None, min_length=3, description="a bucket")
    prefix: str = Field("", pattern="^[^/].*[^/]$|^[^/]?$", description="what stands before its keys")
    endpoint: str | None = Field(None, pattern="^https?://", description="address of the server; none: Amazon's")
    region: str = Field("us-east-1", min_length=1, description="region of the bucket")
    access_key: SecretRef | None = Field(None, description="access key id; none: where boto3 looks for it")
    secret_key: SecretRef | None = Field(None, description="secret access key; given with `access_key`")
    ca_file: Path | None = Field(None, description="certificate authority of the endpoint; relative to the inventory")
    lock_days: int = Field(
        0, ge=0, description="days for which object lock (COMPLIANCE) protects what is written; 0 for none"
    )

    @field_validator("directory", "ca_file")
    @classmethod
    def _below_the_inventory(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else anchored(path, info)

    @model_validator(mode="after")
    def _one_of_both(self) -> EvidencePlace:
        if (self.directory is None) == (self.bucket is None):
            raise ValueError("a place for evidence has a directory or a bucket, and not both")
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key are given together, or neither is")
        return self

    @property
    def site(self) -> S3Site:
        """The bucket, as connections know one."""
        assert self.bucket is not None  # noqa: S101  # asked for by who has seen that it is one
        return S3Site(
            name=self.name, kind="s3", bucket=self.bucket, prefix=self.prefix, endpoint=self.endpoint,
            region=self.region, access_key=self.access_key, secret_key=self.secret_key, ca_file=self.ca_file,
            lock_days=self.lock_days,
        )  # fmt: skip
