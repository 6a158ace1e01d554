"""How far a restore goes: what a person asks for, read strictly. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.backup.keys import SET_ID
from recoverd.errors import Invalid

FORMS = "'2026-11-21 09:14:00+08', lsn:16/B374D848, xid:1234, name:before-upgrade, latest"
INTO = ("beside", "replace")
_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)[T ](?P<clock>\d\d:\d\d(:\d\d(\.\d{1,6})?)?) ?(?P<zone>Z|UTC|[+-]\d\d(:?\d\d)?)?",
    re.IGNORECASE,
)
_LSN = re.compile(r"(?P<high>[0-9A-Fa-f]{1,8})/(?P<low>[0-9A-Fa-f]{1,8})")
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?")
_MOST_XID = (1 << 32) - 1


class Kind(str, Enum):
    """What ends a recovery."""

    SET = "consistent"  # the end of a backup set's own WAL
    LATEST = "latest"  # the end of all WAL that there is
    TIME = "time"
    LSN = "lsn"
    XID = "xid"
    NAME = "name"


class Target(BaseModel):
    """Where a recovery ends.

    Attributes:
        kind: What ends it.
        value: A time in UTC as ISO 8601, a position, a transaction's id, the name of a restore point; else empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    value: str = ""

    @property
    def text(self) -> str:
        """As steps name it: `latest`, `time:2026-11-21T01:14:00+00:00`."""
        return f"{self.kind.value}:{self.value}" if self.value else self.kind.value

    @property
    def at(self) -> datetime:
        """The moment of a target in time."""
        return datetime.fromisoformat(self.value)

    @property
    def lsn(self) -> int:
        """The position of a target in WAL."""
        high, _, low = self.value.partition("/")
        return (int(high, 16) << 32) + int(low, 16)


def parse_target(text: str, now: datetime | None = None) -> Target:
    """What a person asks for with `--to`.

    Args:
        text: A time with its zone, `lsn:…`, `xid:…`, `name:…` or `latest`.
        now: What counts as the future; none: nothing does.

    Raises:
        Invalid: It is none of that, has no zone, or lies in the future.
    """
    words = text.strip()
    kind, colon, value = words.partition(":")
    if words == Kind.LATEST.value:
        return Target(kind=Kind.LATEST)
    if colon and kind == "lsn" and _LSN.fullmatch(value.strip()):
        return Target(kind=Kind.LSN, value=value.strip().upper())
    if colon and kind == "xid" and value.strip().isdigit() and 2 < int(value) <= _MOST_XID:
        return Target(kind=Kind.XID, value=str(int(value)))
    if colon and kind == "name" and 0 < len(value.encode()) < 64 and value.isprintable():
        return Target(kind=Kind.NAME, value=value)
    found = _TIME.fullmatch(words.removeprefix("time:").strip())
    if found is None:
        raise Invalid(f"nobody can tell what to restore to by {text!r}", f"give one of these: {FORMS}")
    return Target(kind=Kind.TIME, value=_moment(text, found, now).isoformat())


def _moment(text: str, found: re.Match[str], now: datetime | None) -> datetime:
    if found["zone"] is None:
        raise Invalid(
            f"the time {text!r} has no zone, and a wrong guess would restore to the wrong hour",
            f"give it, as in '{text.strip()}+08' or '{text.strip()}Z'",
        )
    zone = "+00:00" if found["zone"].upper() in {"Z", "UTC"} else found["zone"].replace(":", "")
    hours = zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    clock, _, fraction = found["clock"].partition(".")
    clock = clock if clock.count(":") == 2 else f"{clock}:00"  # hours, minutes, seconds
    try:
        moment = datetime.fromisoformat(f"{found['day']}T{clock}.{fraction.ljust(6, '0')}{hours}")
    except ValueError as error:
        raise Invalid(f"there is no time {text!r}: {error}", f"give one of these: {FORMS}") from None
    moment = moment.astimezone(timezone.utc)
    if now is not None and moment > now:
        raise Invalid(
            f"{text!r} is in the future: it is {now.astimezone(moment.tzinfo):%Y-%m-%d %H:%M:%S} UTC now",
            "look at the zone; for the newest state there is, give: latest",
        )
    return moment


def set_in(to: str) -> str:
    """The id of a set that a target names as `set=ID`; empty where it names none."""
    return to.removeprefix("set=") if to.startswith("set=") and SET_ID.match(to.removeprefix("set=")) else ""


def check_options(options: Mapping[str, Any]) -> None:
    """See that the options of a restore can be meant so, before anything is asked or begun.

    Raises:
        Invalid: One of them cannot.
    """
    if options.get("to") and not set_in(str(options["to"])):
        parse_target(str(options["to"]), datetime.now(timezone.utc))
    into = str(options.get("into") or "beside")
    if into not in INTO:
        raise Invalid(f"nothing is restored into {into!r}", f"give one of: {', '.join(INTO)}")
    table, new = str(options.get("table") or ""), str(options.get("as") or "")
    for name in filter(None, (table, new)):
        if not _TABLE.fullmatch(name):
            raise Invalid(f"{name!r} is no name of a table", "give schema.table, without quotes")
    if new and not table:
        raise Invalid("`as` names the new table, and no table is named", "name it: --table schema.table")
    if table and into == "replace":
        raise Invalid("one table is restored beside the others, and never replaces anything", "leave --into out")
