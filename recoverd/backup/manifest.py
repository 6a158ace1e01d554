"""The manifest of a backup set: everything that a restore must know before it believes a byte."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recoverd.backup import keys
from recoverd.backup.signing import sign, verify
from recoverd.errors import Tampered

FORMAT = 1
MOST_BYTES = 64 << 20


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Frozen):
    """One encrypted piece.

    Attributes:
        name: Its file's name in the set.
        size: Bytes, as it stands on the sites.
        sha256: Of those bytes, in hex.
        md5: Likewise, in hex: S3 servers check it while they receive. Nothing is believed for it.
    """

    name: str = Field(pattern=keys.PART.pattern)
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    md5: str = Field(pattern="^[0-9a-f]{32}$")


class Manifest(_Frozen):
    """A backup set.

    Attributes:
        set: Its id.
        kind: "base" is a base backup of a server; "files" are directories of a host.
        source: The host that it was taken from.
        begun_at, ended_at: UTC.
        system_identifier: Of the cluster; restores of another cluster's data are refused.
        server_version: As `server_version_num`.
        timeline: The timeline that the server was on.
        start_lsn, end_lsn: Recovery begins at the first and must pass the second before the data is consistent.
        segment_bytes: Size of a WAL segment.
        data_bytes: What the unpacked data takes, about.
        files: How many files a set of files has; its list says which.
        changed: How many of them changed or went while they were read.
        missing: How many of the paths were not there.
        recipients: The age public keys that it was encrypted to.
        parts: In the order of the stream.
    """

    format: int = FORMAT
    service: str
    set: str = Field(pattern=keys.SET_ID.pattern)
    kind: str = "base"
    source: str
    begun_at: datetime
    ended_at: datetime
    system_identifier: str = ""
    server_version: int = 0
    timeline: int = 0
    start_lsn: int = 0
    end_lsn: int = 0
    segment_bytes: int = 16 << 20
    data_bytes: int = 0
    files: int = 0
    changed: int = 0
    missing: int = 0
    recipients: tuple[str, ...] = ()
    parts: tuple[Part, ...] = Field(min_length=1)

    @property
    def size(self) -> int:
        """What it takes on a site."""
        return sum(part.size for part in self.parts)

    @property
    def stream(self) -> tuple[Part, ...]:
        """The parts of the stream alone, without the list of a set of files."""
        return tuple(part for part in self.parts if part.name != keys.LIST)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.set} of {self.source}: {len(self.parts)} parts, {self.size} bytes"

    def document(self) -> bytes:
        """As it is written and signed: readable JSON, always the same bytes for the same manifest."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    def signed(self, private_pem: str) -> tuple[bytes, bytes]:
        """The document and its signature."""
        document = self.document()
        return document, sign(document, private_pem)


def believe(document: bytes, signature: bytes, public_pem: str, service: str, set_name: str) -> Manifest:
    """A manifest that a site gave, once it is proven to be what was signed for just this set.

    Raises:
        Tampered: The signature does not fit, or it is that of another service's or another set's manifest, put here.
    """
    what = f"the manifest of {service} {set_name}"
    verify(document, signature, public_pem, what)
    try:
        found = Manifest.model_validate_json(document)
    except ValidationError as error:
        raise Tampered(
            f"{what} is signed, but not in a form that this version knows: {error.error_count()} problems"
        ) from error
    if (found.service, found.set) != (service, set_name):
        raise Tampered(
            f"{what} is that of {found.service} {found.set}, put into its place",
            "somebody has moved files on that site: compare the sites with `recoverd sites`",
        )
    return found
