"""What a repository of pgBackRest says it holds: its sets, and the WAL beside them. Pure.

pgBackRest's `info` and `repo-ls` are read as JSON. Its own judgement of WAL is not relied on: it calls an archive with a
hole in it good, so that the chain is followed here, see `follow` in recoverd/backup/stretch.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recoverd.backup.wal import Segment
from recoverd.errors import Look

LABEL = re.compile(r"^[0-9]{8}-[0-9]{6}F(_[0-9]{8}-[0-9]{6}[DI])?$")
_ARCHIVED = re.compile(r"^(?:.*/)?([0-9A-F]{24})-([0-9a-f]{40})(?:\.[a-z0-9]+)?$")
_HISTORY = re.compile(r"^(?:.*/)?([0-9A-F]{8}\.history)$")
_SIZES = [1 << bits for bits in range(20, 31)]
_USUAL_SIZE = 16 << 20
OK, NO_BACKUP = 0, 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class RepoSet(_Frozen):
    """A backup set in a repository.

    Attributes:
        label: pgBackRest's name of it.
        kind: full, diff or incr.
        needs: Labels of the sets that it takes files from.
        first, last: The WAL segments in which it begins and ends.
        start_lsn, stop_lsn: Likewise, as positions.
        begun_at, ended_at: UTC.
        size: Bytes of the data.
        stored: Bytes that it takes in the repository.
        flawed: pgBackRest found pages with a wrong checksum while it copied them.
        archive: The part of the archive that its WAL is in, such as 15-1.
        system_identifier: Of the cluster.
    """

    label: str = Field(pattern=LABEL.pattern)
    kind: str
    needs: tuple[str, ...] = ()
    first: str
    last: str
    start_lsn: int
    stop_lsn: int
    begun_at: datetime
    ended_at: datetime
    size: int
    stored: int
    flawed: bool = False
    archive: str
    system_identifier: str

    @property
    def timeline(self) -> int:
        """The timeline that it was taken on."""
        return int(self.first[:8], 16)

    @property
    def segment_bytes(self) -> int:
        """The size of a WAL segment, which pgBackRest does not tell: the one by which position and name agree."""
        for lsn, name in ((self.start_lsn, self.first), (self.stop_lsn - 1, self.last)):
            fitting = [size for size in _SIZES if Segment.at(lsn, int(name[:8], 16), size).name == name]
            if len(fitting) == 1:
                return fitting[0]
        return _USUAL_SIZE


class RepoInfo(_Frozen):
    """What `info` says of one repository.

    Attributes:
        code: 0 is good; 2 is good but empty; anything else is a fault, also where pgBackRest itself ended with 0.
        message: Its words.
        sets: The oldest first.
    """

    code: int
    message: str
    sets: tuple[RepoSet, ...] = ()

    @property
    def answers(self) -> bool:
        """Whether the repository could be read."""
        return self.code in {OK, NO_BACKUP}


class Archived(_Frozen):
    """A WAL segment in a repository.

    Attributes:
        sha1: Of its content, as its file's name gives it; pgBackRest itself does not check it when it gives the segment.
        at: When it came there: never before its last record was written.
    """

    sha1: str
    at: datetime


class Shelf(_Frozen):
    """The WAL of one cluster in one repository.

    Attributes:
        segments: By name.
        doubled: Segments of which there are two with different content.
        histories: Names of history files.
    """

    segments: dict[str, Archived] = Field(default_factory=dict)
    doubled: tuple[str, ...] = ()
    histories: tuple[str, ...] = ()


def read_info(text: str, repo: int) -> RepoInfo:
    """`info --output=json` of one repository. Raises Look when it is no such thing."""
    try:
        (stanza,) = json.loads(text)
        (status,) = [one["status"] for one in stanza["repo"] if one["key"] == repo]
        sets = tuple(_sets(stanza, repo)) if status["code"] in {OK, NO_BACKUP} else ()
        return RepoInfo(code=status["code"], message=" ".join(str(status["message"]).split()), sets=sets)
    except (ValueError, KeyError, TypeError) as error:
        raise Look(
            f"what pgbackrest info says of repository {repo} cannot be read: {type(error).__name__} {error}",
            "see whether the host has a version of pgBackRest that recoverd knows: 2.45 or newer",
        ) from error


def _sets(stanza: Mapping[str, Any], repo: int) -> Iterator[RepoSet]:
    archives = {one["database"]["id"]: one["id"] for one in stanza["archive"] if one["database"]["repo-key"] == repo}
    clusters = {one["id"]: str(one["system-id"]) for one in stanza["db"] if one["repo-key"] == repo}
    for one in sorted(stanza["backup"], key=lambda each: each["timestamp"]["stop"]):
        database = one["database"]
        if database["repo-key"] != repo or not one["archive"]["start"] or not one["archive"]["stop"]:
            continue  # without WAL of its own (archive-check=n) nobody can say that it will ever be consistent
        stored = one["info"]["repository"]
        yield RepoSet(
            label=one["label"], kind=one["type"], needs=tuple(one["reference"] or ()),
            first=one["archive"]["start"], last=one["archive"]["stop"],
            start_lsn=_lsn(one["lsn"]["start"]), stop_lsn=_lsn(one["lsn"]["stop"]),
            begun_at=_moment(one["timestamp"]["start"]), ended_at=_moment(one["timestamp"]["stop"]),
            size=one["info"]["size"], stored=stored.get("delta", stored.get("size", 0)), flawed=bool(one.get("error")),
            archive=archives.get(database["id"], ""), system_identifier=clusters.get(database["id"], ""),
        )  # fmt: skip


def read_archive(text: str) -> dict[str, Shelf]:
    """`repo-ls --recurse --output=json` of a stanza's archive: the WAL, by the cluster that it is of. Raises Look."""
    try:
        files = {path: one for path, one in json.loads(text).items() if one["type"] == "file"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Look(f"the list of archived WAL cannot be read: {error}", "the list may have been cut off") from error
    found: dict[str, tuple[dict[str, Archived], set[str], set[str]]] = {}
    for path, one in files.items():
        segments, doubled, histories = found.setdefault(path.split("/")[0], ({}, set(), set()))
        if match := _HISTORY.match(path):
            histories.add(match[1])
        elif match := _ARCHIVED.match(path):
            known = segments.get(match[1])
            if known is not None and known.sha1 != match[2]:
                doubled.add(match[1])
            segments[match[1]] = Archived(sha1=match[2], at=_moment(one["time"]))
    return {
        name: Shelf(segments=one[0], doubled=tuple(sorted(one[1])), histories=tuple(sorted(one[2])))
        for name, one in found.items()
        if any(one)
    }


def _lsn(text: str) -> int:
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
