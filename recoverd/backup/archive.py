"""The continuous WAL of a service on its sites, and the signed index of it: what a restore must know before it believes a segment.

The index has a page for each hour in which WAL came. A page is written anew, with the next number, when it grows: of an
hour, the page with the highest number that is believed counts, and it says all that the earlier ones said.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recoverd.backup import keys
from recoverd.backup.signing import sign, verify
from recoverd.errors import Tampered

FORMAT = 1
MOST_BYTES = 64 << 20
_NAME = "^([0-9A-F]{24}|[0-9A-F]{8}\\.history)$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Frozen):
    """One encrypted file of the archive.

    Attributes:
        name: The segment's name, or that of a timeline's history.
        partial_end: Of a segment that was still growing: the position up to which it had come; 0 for a whole one.
        size: Bytes, as it stands on the sites.
        sha256: Of those bytes, in hex.
        md5: Likewise: S3 servers check it while they receive. Nothing is believed for it.
        first_at, last_at: UTC; its bytes were received from the server between them.
    """

    name: str = Field(pattern=_NAME)
    partial_end: int = Field(0, ge=0)
    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    md5: str = Field(pattern="^[0-9a-f]{32}$")
    first_at: datetime
    last_at: datetime

    def key(self, service: str) -> str:
        """Where it stands on a site."""
        if self.partial_end:
            return keys.partial_key(service, self.name, self.partial_end)
        return keys.wal_key(service, self.name)

    @property
    def file(self) -> str:
        """The same below the directory of all WAL: one name for one file."""
        return self.key("").removeprefix("/wal/")

    @property
    def hour(self) -> str:
        """The hour of the index that it belongs to: that in which the last of it came."""
        return hour_of(self.last_at)


class Index(_Frozen):
    """A page of the index: all WAL whose last byte came in one hour.

    Attributes:
        hour: UTC, as YYYYMMDDHH.
        seq: Grows with every new page for the same hour.
        system_identifier: Of the cluster; WAL of another one is of no use.
        segment_bytes: Size of a segment in it.
        entries: By name; the growing segment, where there is one, with its position.
    """

    format: int = FORMAT
    service: str
    hour: str = Field(pattern="^[0-9]{10}$")
    seq: int = Field(ge=1, le=999_999)
    system_identifier: str
    segment_bytes: int = 16 << 20
    entries: tuple[Entry, ...] = ()

    def document(self) -> bytes:
        """As it is written and signed: readable JSON, always the same bytes for the same page."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    def signed(self, private_pem: str) -> tuple[bytes, bytes]:
        """The document and its signature."""
        document = self.document()
        return document, sign(document, private_pem)


def believe_index(document: bytes, signature: bytes, public_pem: str, service: str, hour: str, seq: int) -> Index:
    """A page that a site gave, once it is proven to be what was signed for just this service, hour and number.

    Raises:
        Tampered: The signature does not fit, or it is another page, put here.
    """
    what = f"the WAL index of {service} for {hour}, number {seq},"
    verify(document, signature, public_pem, what)
    try:
        found = Index.model_validate_json(document)
    except ValidationError as error:
        raise Tampered(
            f"{what} is signed, but not in a form that this version knows: {error.error_count()} problems"
        ) from error
    if (found.service, found.hour, found.seq) != (service, hour, seq):
        raise Tampered(
            f"{what} is that of {found.service} for {found.hour}, number {found.seq}, put into its place",
            "somebody has moved files on that site: compare the sites with `recoverd sites`",
        )
    return found


def hour_of(at: datetime) -> str:
    """The hour of the index that a moment belongs to."""
    return f"{at.astimezone(timezone.utc):%Y%m%d%H}"


def pages(files: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """The numbers of the pages for each hour, the highest first.

    Args:
        files: Paths below the directory of all WAL, as a site lists them; others than pages are passed over.
    """
    found: dict[str, set[int]] = {}
    for path in files:
        if match := keys.INDEX_FILE.match(path):
            found.setdefault(match[1], set()).add(int(match[2]))
    return {hour: tuple(sorted(numbers, reverse=True)) for hour, numbers in sorted(found.items())}


def known(indexes: Iterable[Index]) -> dict[str, Entry]:
    """What believed pages say there is, by the file's name below the directory of all WAL, in order of its coming.

    A segment that was still growing is left out where a later page has it whole, or further. Of two entries for one file,
    the first that was signed counts: a file is written once.
    """
    found: dict[str, Entry] = {}
    for page in sorted(indexes, key=lambda one: (one.hour, one.seq)):
        for entry in page.entries:
            found.setdefault(entry.file, entry)
    whole = {one.name for one in found.values() if not one.partial_end}
    furthest: dict[str, int] = {}
    for one in found.values():
        furthest[one.name] = max(furthest.get(one.name, 0), one.partial_end)
    return {
        file: one
        for file, one in found.items()
        if not one.partial_end or (one.name not in whole and one.partial_end == furthest[one.name])
    }
