"""Taking a backup set on the host that the data is on, and shipping its parts to the sites while it is taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import Any

from recoverd.backup import keys
from recoverd.backup.manifest import Manifest, Part
from recoverd.errors import Look, Tampered, TimedOut, TryAgain
from recoverd.inventory import HostSite
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_on
from tasks.origins import origin_of
from tasks.parts import Place, put
from tasks.passages import backup_scope
from tasks.sites import sites_of
from tasks.together import together

TAKE_TIME_LIMIT_S = 48 * 3600.0
_LOOK_EVERY_S = 0.5
_TRIES = 4
_STREAMS_A_SITE = 2  # while one greets, the other has the link


@dataclass
class Stream:
    """A backup that is being taken, as its host tells it.

    Attributes:
        parts: Those that are finished, in order.
        running: The stream goes on.
        done: It came to its end.
        facts: What its host says of it; a word that comes several times counts as it came last.
        missing: Paths that are not there, of a backup of files.
        changed: What was said of files that changed while they were read.
    """

    running: bool
    done: bool
    said: str
    facts: dict[str, str]
    parts: list[Part] = field(default_factory=list)
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def stage_dir(service: str, host: str, set_name: str) -> str:
    """Where the parts appear on the source: in the site's own place where the host has one, else beside recoverd's state."""
    for site in world().inventory.backup_of(service).sites:
        if isinstance(site, HostSite) and site.host == host:
            return f"{site.path}/{keys.set_key(service, set_name)}"
    return f"/var/lib/recoverd/staged/{keys.set_key(service, set_name)}"


def _has_begun(service: str, host: str, set_name: str) -> Effect | None:
    stream = look_at_stream(service, host, set_name)
    if stream.facts.get("set") != set_name or not (stream.running or stream.done):
        return None
    return Effect(f"{host} streams {set_name}", {"host": host, "set": set_name})


@act("begin the backup set {set_name} on {host}", ask=_has_begun, undo="tasks.taking:drop_staged", time_limit_s=60.0)
def begin_stream(service: str, host: str, set_name: str) -> None:
    """Start pg_basebackup or tar, zstd and age on the host, in the background. Nothing unencrypted is written anywhere.

    Raises:
        Look: There is no room, a tool is missing, the server has tablespaces, or none of the paths is there.
    """
    backup = world().inventory.backup_of(service)
    _run(
        service, host, set_name, "begin",
        RECIPIENTS="\n".join(backup.recipients),
        LEVEL=str(backup.compression),
        **{"PART_BYTES": str(backup.part_bytes), **origin_of(service).begin(host)},
    )  # fmt: skip


def _is_dropped(service: str, host: str, set_name: str) -> Effect | None:
    stream = look_at_stream(service, host, set_name)
    return None if stream.facts.get("set") == set_name else Effect(f"{host} has nothing staged of {set_name}")


@act("drop what is staged of {set_name} on {host}", ask=_is_dropped, time_limit_s=60.0)
def drop_staged(service: str, host: str, set_name: str) -> None:
    """Remove the job's files, and the staged parts unless they stand in a site's own place."""
    own = stage_dir(service, host, set_name).startswith("/var/lib/recoverd/staged/")
    _run(service, host, set_name, "end", KEEP="" if own else "1")


def look_at_stream(service: str, host: str, set_name: str, seen: int = 0) -> Stream:
    """How far it is; of its parts, those after the first `seen`."""
    done = _run(service, host, set_name, "state", SEEN=str(seen))
    facts = done.facts()
    parts = []
    said = {word: tuple(_said(done.out, word)) for word in ("missing", "changed")}
    for line in done.out.splitlines():
        if line.startswith("part="):
            name, size, sha256, md5 = line.removeprefix("part=").split("\t")
            parts.append(Part(name=name, size=int(size), sha256=sha256, md5=md5))
    return Stream("running" in facts, facts.get("done") == set_name, facts.get("said", ""), facts, parts, **said)


def _said(lines: str, word: str) -> Iterator[str]:
    return (line.partition("=")[2] for line in lines.splitlines() if line.startswith(f"{word}="))


def _is_shipped(service: str, host: str, set_name: str, site: str) -> Effect | None:
    stream = look_at_stream(service, host, set_name)
    if not stream.done:
        return None
    held = sites_of(service)[site].listing(keys.set_key(service, set_name))
    if any(part.name not in held or held[part.name].size != part.size for part in stream.parts):
        return None
    size = sum(part.size for part in stream.parts)
    return Effect(f"{site} has the {len(stream.parts)} parts of {set_name}", {"site": site, "bytes": size})


@act("ship {set_name} from {host} to the site {site}", ask=_is_shipped, time_limit_s=TAKE_TIME_LIMIT_S, retries=0)
def ship(service: str, host: str, set_name: str, site: str) -> None:
    """Bring each part to a site as soon as it is finished; those that are there already are not sent again.

    Raises:
        Look: The stream came to no good end.
        TryAgain: The site does not take a part, again and again.
    """
    here, directory = world(), stage_dir(service, host, set_name)
    held = sites_of(service)[site].listing(keys.set_key(service, set_name))
    sent, size, deadline = 0, 0, time.monotonic() + TAKE_TIME_LIMIT_S

    def send(part: Part) -> None:
        known = held.get(part.name)
        if known is None or known.size != part.size:
            place = Place(host, f"{directory}/{part.name}", keys.set_key(service, set_name, part.name))
            _persistently(lambda: put(service, site, place, part))
            here.say(f"{site}: {part.name}")

    while True:
        stream = look_at_stream(service, host, set_name, seen=sent)
        together({part.name: partial(send, part) for part in stream.parts}, at_most=_STREAMS_A_SITE)
        sent, size = sent + len(stream.parts), size + sum(part.size for part in stream.parts)
        if stream.parts:
            here.say(f"{site}: {sent} parts, {size >> 20} MiB")
        if not stream.running:
            if not stream.done:
                raise Look(
                    f"the backup of {host} broke off: {stream.said}",
                    f"mend it on {host}, then start a new backup: a stream is not taken up in its middle",
                )
            return
        if time.monotonic() > deadline:
            raise TimedOut(f"{set_name} did not end within {TAKE_TIME_LIMIT_S:g} s", f"it goes on: look at {host}")
        time.sleep(0 if stream.parts else _LOOK_EVERY_S)


def manifest_of(service: str, host: str, set_name: str) -> Manifest:
    """The manifest of a set that was streamed to its end. Raises Look."""
    here, origin = world(), origin_of(service)
    stream = look_at_stream(service, host, set_name)
    if not stream.done or not origin.tells <= stream.facts.keys():
        raise Look(f"{host} does not say what {set_name} holds: {stream.said}", f"look at {host}")
    return Manifest(
        service=service,
        set=set_name,
        source=host,
        begun_at=_moment(stream.facts["begun"]),
        ended_at=_moment(stream.facts["ended"]),
        recipients=here.inventory.backup_of(service).recipients,
        parts=tuple(stream.parts),
        changed=len(stream.changed),
        missing=len(stream.missing),
        **origin.facts(host, stream.facts),
    )


def _persistently(move: Callable[[], None]) -> None:
    """Try a few times: links break for a moment, and a part that arrived damaged is simply sent again."""
    for left in reversed(range(_TRIES)):
        try:
            move()
        except (TryAgain, Tampered):
            if not left:
                raise
        else:
            return


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), timezone.utc)


def _run(service: str, host: str, set_name: str, verb: str, **more: str) -> Any:
    empty = dict.fromkeys(("RECIPIENTS", "PART_BYTES", "LEVEL", "KEEP"), "")
    origin = origin_of(service)
    given = {
        **empty, **origin.variables(host), "VERB": verb, "SET": set_name, "SEEN": "0",
        "STAGE": stage_dir(service, host, set_name), "SERVICE": backup_scope(service), **more,
    }  # fmt: skip
    return run_on(f"{origin.script}+take", host, given, timeout_s=60.0)
