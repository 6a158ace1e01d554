"""Where things stand on a site: keys relative to the site's directory or prefix. Nothing else is ever read or written."""

from __future__ import annotations

import re
from datetime import datetime, timezone

SET_ID = re.compile(r"^[0-9]{8}T[0-9]{6}Z-[a-z0-9]{4}$")
KEY = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$")
LIST = "list.age"
PART = re.compile(r"^(part-[0-9]{6}|list)\.age$")
WAL_FILE = re.compile(r"^([0-9A-F]{8})/((?:\1[0-9A-F]{16})|(?:\1\.history))\.zst\.age$")
PARTIAL_FILE = re.compile(r"^partial/([0-9A-F]{24})-([0-9A-F]{16})\.zst\.age$")
INDEX_FILE = re.compile(r"^index/([0-9]{10})-([0-9]{6})\.json$")
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"


def set_id(at: datetime, run: str) -> str:
    """The id of a set: when it was begun, sortable, and the end of the run's id, so that two are never one."""
    ending = re.sub(r"[^a-z0-9]", "", run.lower())[-4:].rjust(4, "0")
    return f"{at.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}-{ending}"


def begun_at(set_name: str) -> datetime:
    """When a set was begun."""
    return datetime.strptime(set_name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)


def sets_key(service: str) -> str:
    """The directory of all sets."""
    return f"{service}/sets"


def set_key(service: str, set_name: str, file: str = "") -> str:
    """The directory of a set, or a file in it."""
    return f"{service}/sets/{set_name}" + (f"/{file}" if file else "")


def part_name(number: int) -> str:
    """The name of a part; the first has number 1."""
    return f"part-{number:06d}.age"


def archive_dir(service: str) -> str:
    """The directory of all WAL."""
    return f"{service}/wal"


def wal_key(service: str, name: str) -> str:
    """A WAL segment, or a timeline's history."""
    return f"{service}/wal/{name[:8]}/{name}.zst.age"


def partial_key(service: str, segment: str, end_lsn: int) -> str:
    """A segment that still grows, as far as it was received: what is after `end_lsn` in it is zeros."""
    return f"{service}/wal/partial/{segment}-{end_lsn:016X}.zst.age"


def index_key(service: str, hour: str, number: int, ending: str = "json") -> str:
    """A page of the WAL index, or its signature (`sig`)."""
    return f"{service}/wal/index/{hour}-{number:06d}.{ending}"
