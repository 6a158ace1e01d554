"""What a keeper knows of a service's WAL archive: what the sites hold, what the receiver has noted, what no set needs any more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import partial

from flows.standing import MOST_SAMPLES, expired_files
from recoverd.backup.archive import Entry, Index, pages
from recoverd.backup.compare import Health
from recoverd.backup.wal import HISTORY, Segment, Switch, breaks
from recoverd.world import world
from tasks.archive import Shelf, drop_files, look_at_shelf
from tasks.quarantine import sites_apart
from tasks.receiving import Cluster, Receiver
from tasks.sets import survey
from tasks.together import together

LOOK_ANEW_AFTER_S = 600.0
RETENTION_EVERY_S = 300.0


@dataclass
class Archive:
    """What a keeper remembers of a service's archive.

    Attributes:
        whole: Whole files that are known, signed or noted by the receiver, by file.
        signed: The believed page of each hour.
        seen: How many of the receiver's notes were read.
        acknowledged: Of which of its lists, and how many of those notes are signed.
        histories: The ancestors of timelines, as far as they are known.
        given_up: What is missing before this position comes no more: the servers do not have it.
        given: The growing segment that the other sites have or are being given.
        reaches: How far growing segments really go, by file.
        samples: When the primary's WAL ended where.
        ways: When the way to a site was opened, by site.
        timeline: The one that the primary was on last.
        apart_since: Since when the receiver hangs on another server than the primary; 0 where it does not.
        starts: Where the recovery of the oldest set begins, by site.
        restorable: The timelines of whole sets, and where their recovery begins, by site.
        unsure: Sites with a set that is not whole: nothing is pruned there before it is healed or let go.
    """

    service: str
    cluster: Cluster | None = None
    shelves: dict[str, Shelf] = field(default_factory=dict)
    whole: dict[str, Entry] = field(default_factory=dict)
    signed: dict[str, Index] = field(default_factory=dict)
    seen: int = 0
    acknowledged: str = ""
    histories: dict[int, tuple[Switch, ...]] = field(default_factory=dict)
    given_up: int = 0
    given: Entry | None = None
    reaches: dict[str, int] = field(default_factory=dict)
    samples: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=MOST_SAMPLES))
    ways: dict[str, float] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    restorable: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    timeline: int = 0
    apart_since: float = 0.0
    looked_at: float = 0.0
    retained_at: float = 0.0


def look_at_sites(archive: Archive) -> None:
    """What the sites hold, as far as it is time to ask; those in quarantine are asked nothing, from this turn on."""
    service, names = archive.service, [site.name for site in world().inventory.backup_of(archive.service).sites]
    apart = sites_apart(service)
    for name in names:
        shelf = archive.shelves.setdefault(name, Shelf(name))
        shelf.apart = name in apart
        if shelf.apart:
            shelf.reached, shelf.problem = False, f"it is in quarantine, {apart[name].summary}"
    anew = time.monotonic() - archive.looked_at > LOOK_ANEW_AFTER_S or not archive.looked_at
    look_again(archive, [shelf for shelf in archive.shelves.values() if anew or not shelf.reached])
    if anew:
        archive.looked_at = time.monotonic()


def look_again(archive: Archive, shelves: Collection[Shelf]) -> None:
    """List some sites anew, and learn what their pages say of this cluster's WAL."""
    asked = [shelf for shelf in shelves if not shelf.apart]
    together({shelf.site: partial(look_at_shelf, archive.service, shelf) for shelf in asked})
    ours = archive.cluster.system_identifier if archive.cluster is not None else ""
    for shelf in asked:
        if shelf.reached and (words := foreign(shelf.pages.values(), ours)):
            shelf.reached, shelf.problem = False, words
    for shelf in archive.shelves.values():
        for hour, page in shelf.pages.items():
            if ours not in {"", page.system_identifier}:
                continue
            if hour not in archive.signed or archive.signed[hour].seq < page.seq:
                archive.signed[hour] = page
    for page in archive.signed.values():
        for one in page.entries:
            if not one.partial_end:
                archive.whole.setdefault(one.file, one)


def foreign(found: Iterable[Index], ours: str) -> str:
    """Why an archive is not of a cluster, by its identifier; nothing where it is, or where nobody knows."""
    others = sorted({page.system_identifier for page in found} - {ours}) if ours else []
    if not others:
        return ""
    return (
        f"its WAL is of another cluster, {', '.join(others)}, and the servers' is {ours}: move the service's `wal` "
        "directory aside on every site, so that the two do not mix"
    )


def barred(archive: Archive, here: str) -> str:
    """Why nothing that the receiver's host says or holds may be used; nothing where it may."""
    shelf = archive.shelves[here]
    if shelf.apart:
        return f"{here}, where it arrives, is not trusted: {shelf.problem}; name another site in `wal.receiver`"
    ours = archive.cluster.system_identifier if archive.cluster is not None else ""
    words = foreign(shelf.pages.values(), ours)
    return f"{here}: {words}" if words else ""


def newest_held(archive: Archive) -> str:
    """The newest whole segment that is signed for and that a site which answers has; empty where there is none."""
    held = (
        one.name
        for page in archive.signed.values()
        for one in page.entries
        if not one.partial_end
        and not HISTORY.match(one.name)
        and any(shelf.reached and shelf.has(one) for shelf in archive.shelves.values())
    )
    return max(held, default="")


def take_notes(archive: Archive, receiver: Receiver, here: str) -> None:
    """What the receiver has noted since; nothing is taken from one that is not trusted."""
    if barred(archive, here):
        return
    signed = {one.file for page in archive.signed.values() for one in page.entries}
    own = archive.shelves[here]
    for one in receiver.entries:  # what was signed stays as it was signed
        if one.file not in signed:
            archive.whole[one.file] = one
        own.files.setdefault(one.file, one.size)
    archive.histories.update(receiver.histories)
    archive.seen = receiver.seen or archive.seen


def acknowledge(archive: Archive, receiver: Receiver) -> None:
    """Once all notes that were seen are signed, on a site, the receiver may forget them."""
    kept = all(
        any(hour in shelf.pages and shelf.pages[hour].seq >= page.seq for shelf in archive.shelves.values())
        for hour, page in archive.signed.items()
    )
    if kept and receiver.notes:
        archive.acknowledged = f"{receiver.notes} {archive.seen}"


def holes(archive: Archive, receiver: Receiver) -> tuple[tuple[int, int], ...]:
    """Stretches of WAL that no site has and that may still come, as first and last position."""
    if archive.cluster is None:
        return ()
    names = {one.name for one in archive.whole.values()}
    if receiver.growing is not None:
        names.add(receiver.growing.name)
    missing = breaks(names, archive.cluster.segment_bytes, archive.histories)
    return tuple((first.start_lsn, last.end_lsn) for first, last in missing if last.end_lsn > archive.given_up)


def safe_until(archive: Archive, receiver: Receiver, here: str) -> tuple[int, int]:
    """Up to where WAL is on the receiver's own disk, as timeline and position; zeros where nobody knows."""
    if archive.cluster is None:
        return 0, 0
    size = archive.cluster.segment_bytes
    if receiver.growing is not None:
        grows = Segment.parse(receiver.growing.name, size)
        return grows.timeline, grows.start_lsn
    own = archive.shelves[here]
    names = [one.name for one in archive.whole.values() if own.has(one) and not HISTORY.match(one.name)]
    if not names:
        return 0, 0
    newest = Segment.parse(max(names), size)
    return newest.timeline, newest.end_lsn


def learn_starts(archive: Archive) -> None:
    """Where the recovery of each site's oldest set begins, whole or not, for it may be healed; and of its whole ones."""
    found = survey(archive.service, read=False)
    lsn = {one.set: one.start_lsn for one in found.manifests if one.kind == "base"}
    timeline = {one.set: one.timeline for one in found.manifests}
    for site in found.sites:
        if not site.reached:
            archive.unsure.add(site.site)
            continue
        there = [one for one in site.sets if one.health is not Health.ABSENT]
        kept, whole = [one for one in there if one.set in lsn], [one for one in there if one.health.whole]
        # Where a set begins whose manifest nobody believes, nobody knows.
        (archive.unsure.discard if len(whole) == len(there) else archive.unsure.add)(site.site)
        if kept:
            archive.starts[site.site] = min(lsn[one.set] for one in kept)
        else:
            archive.starts.pop(site.site, None)
        archive.restorable[site.site] = tuple((timeline[one.set], lsn[one.set]) for one in whole if one.set in lsn)


def prune(archive: Archive) -> None:
    """Let WAL go that no set of a site needs, and pages that have nothing left on it."""
    if archive.retained_at and time.monotonic() - archive.retained_at < RETENTION_EVERY_S:
        return
    archive.retained_at = time.monotonic()
    learn_starts(archive)
    for shelf in archive.shelves.values():
        oldest = archive.starts.get(shelf.site, 0)
        if not shelf.reached or not oldest or shelf.site in archive.unsure or archive.cluster is None:
            continue
        drop_files(archive.service, shelf, expired_files(shelf.files, oldest, archive.cluster.segment_bytes))
        for hour, page in list(shelf.pages.items()):
            if page.entries and not any(one.file in shelf.files for one in page.entries):
                numbers = pages(shelf.files).get(hour, ())
                drop_files(
                    archive.service, shelf, [f"index/{hour}-{n:06d}.{end}" for n in numbers for end in ("json", "sig")]
                )
                shelf.pages.pop(hour, None)
