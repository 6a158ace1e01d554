"""Keeping a service's WAL coming to its sites, one turn at a time: see that it is received, give it to the other sites, sign, prune.

A turn repeats nothing that is done and leaves nothing half done: killed anywhere, the next one goes on. What it remembers
between turns only spares it questions.
"""

from __future__ import annotations

import time
from functools import partial

from flows.giving import give_to_all, sign_pages
from flows.slotting import mind_slots
from flows.standing import MOST_SAMPLES, SiteStanding, Standing, since, site_standing
from flows.stocking import (
    Archive,
    acknowledge,
    barred,
    foreign,
    holes,
    learn_starts,
    look_again,
    look_at_sites,
    newest_held,
    prune,
    safe_until,
    take_notes,
)
from recoverd.backup.wal import Segment
from recoverd.errors import Look, RecoverdError, Refused, Stale, TryAgain
from recoverd.inventory import HostSite
from recoverd.world import world
from tasks.archive import Shelf, close_ways
from tasks.receiving import (
    Cluster,
    Receiver,
    begin_receiving,
    kick,
    look_at_receiver,
    receiving_site,
    skip_to,
    stop_receiving,
)
from tasks.slots import Member, drop_slot, look_at_members, oldest_segment, primary_of

APART_FOR_S = 15.0


def turn(archive: Archive) -> Standing:
    """One turn: everything that is due, then how it stands. Raises Refused where nobody could receive; else it says what is wrong."""
    service, here = archive.service, receiving_site(archive.service).name
    members = look_at_members(service)
    lead = _meet(archive, members)
    look_at_sites(archive)
    receiver, problem = _see_that_it_receives(archive, members, lead)
    take_notes(archive, receiver, here)
    safe = (0, 0) if barred(archive, here) else safe_until(archive, receiver, here)
    slots = mind_slots(service, members, archive.cluster, safe, holes(archive, receiver))
    if receiver.running and not barred(archive, here):
        try:
            give_to_all(archive, here)
            unsigned = sign_pages(archive)
            problem = problem or unsigned
            if not unsigned:
                acknowledge(archive, receiver)
        except (TryAgain, Look) as error:  # the receiver's host went away in between
            problem = problem or error.message
    prune(archive)
    return _stand(archive, here, receiver, lead, problem, slots)


def look_only(archive: Archive) -> Standing:
    """How it stands, changing nothing."""
    here, members = receiving_site(archive.service).name, look_at_members(archive.service)
    lead = _meet(archive, members)
    look_at_sites(archive)
    receiver, problem = _ask(archive)
    take_notes(archive, receiver, here)
    learn_starts(archive)
    archive.given = max(
        (one for page in archive.signed.values() for one in page.entries if one.partial_end),
        key=lambda one: one.last_at, default=None,
    )  # fmt: skip
    return _stand(archive, here, receiver, lead, problem, (), guess=True)


def end(service: str) -> Standing:
    """End the receiver, take its ways and its slots away. What is on the sites stays.

    Slots first, for they fill disks; and wherever a receiver may be, for the inventory may have changed since it began. What
    does not answer keeps nothing else from it, and is said.
    """
    sites, said = world().inventory.backup_of(service).sites, []
    hosts = [site for site in sites if isinstance(site, HostSite)]
    calls = [partial(drop_slot, service, host) for host in world().inventory.service(service).hosts]
    calls += [partial(stop_receiving, service, site) for site in hosts]
    calls += [partial(close_ways, service, site.host, [one.name]) for site in hosts for one in sites]
    for call in calls:
        try:
            call()
        except Stale:
            raise
        except RecoverdError as error:
            said.append(error.message)
    try:
        standing = look_only(Archive(service))
    except Refused as error:
        standing = Standing(service=service, receiver="", state="down", problem=error.message)
    return standing.model_copy(update={"problem": "; ".join([*dict.fromkeys(said)]) or standing.problem})


def _meet(archive: Archive, members: tuple[Member, ...]) -> Member | None:
    lead = primary_of(members)
    if lead is not None:
        if archive.cluster is None:  # what pages said before may have been another cluster's
            archive.cluster = Cluster(lead.system_identifier, lead.segment_bytes)
            archive.whole, archive.signed, archive.seen = {}, {}, 0
            archive.looked_at = 0.0
        archive.timeline = lead.timeline
        archive.samples.append((time.time(), lead.lsn))
    return lead


def _ask(archive: Archive) -> tuple[Receiver, str]:
    try:
        found = look_at_receiver(archive.service, archive.cluster, archive.seen, archive.acknowledged)
        if found.seen < archive.seen:  # the notes were cut
            found = look_at_receiver(archive.service, archive.cluster)
    except RecoverdError as error:
        return Receiver(), error.message
    return found, ""


def _see_that_it_receives(archive: Archive, members: tuple[Member, ...], lead: Member | None) -> tuple[Receiver, str]:
    service = archive.service
    receiver, problem = _ask(archive)
    if not receiver.running:  # its host may be away, or its disk another one
        look_again(archive, [archive.shelves[receiving_site(service).name]])
    if problem:
        return receiver, problem
    if words := _must_not(archive):
        return receiver, words
    if archive.cluster is None:
        return receiver, "no server of the service answers" if not receiver.running else ""
    try:
        if not receiver.running or not receiver.current:
            # Slots first: from the moment that WAL is received, a server that is promoted must have kept it.
            mind_slots(service, members, archive.cluster, (0, 0))
            begin_receiving(service, archive.cluster, after=newest_held(archive), known=bool(archive.signed))
        elif receiver.removed and lead is not None:
            _step_over(archive, lead)
        elif _is_apart(archive, receiver, lead):
            kick(service)
        else:
            return receiver, ""
        return _ask(archive)
    except RecoverdError as error:
        return receiver, error.message


def _must_not(archive: Archive) -> str:
    """Why nothing may be received as things are; nothing where it may."""
    ours = archive.cluster.system_identifier if archive.cluster is not None else ""
    others = [
        f"{one.site}: {words}" for one in archive.shelves.values() if (words := foreign(one.pages.values(), ours))
    ]
    return barred(archive, receiving_site(archive.service).name) or "; ".join(others)


def _is_apart(archive: Archive, receiver: Receiver, lead: Member | None) -> bool:
    """Whether it has hung for long on a server that is not the primary, such as one that was frozen and will not say goodbye."""
    if not receiver.receiving or lead is None or lead.sent_lsn:
        archive.apart_since = 0.0
        return False
    archive.apart_since = archive.apart_since or time.monotonic()
    return time.monotonic() - archive.apart_since > APART_FOR_S


def _step_over(archive: Archive, lead: Member) -> None:
    """The primary has not kept what comes next: go on with the oldest that it has. The hole is said like any other."""
    oldest = oldest_segment(archive.service, lead.host, lead.timeline)
    if oldest and archive.cluster is not None:
        first = Segment.parse(oldest, archive.cluster.segment_bytes)
        before = Segment(first.timeline, first.number - 1, first.size)
        world().say(f"{lead.host} does not have what comes next; going on with {oldest}")
        skip_to(archive.service, before.name)
        archive.given_up = first.start_lsn


def _stand(
    archive: Archive,
    here: str,
    receiver: Receiver,
    lead: Member | None,
    problem: str,
    slots: tuple[str, ...],
    *,
    guess: bool = False,
) -> Standing:
    problem = problem or receiver.problem
    state = "receives" if receiver.receiving and not problem else "waits" if receiver.running else "down"
    if lead is not None and receiver.fresh and receiver.growing is not None:
        reached = archive.reaches.get(receiver.growing.file, 0)
        archive.reaches[receiver.growing.file] = max(reached, lead.sent_lsn)
    if len(archive.reaches) > MOST_SAMPLES:
        archive.reaches = dict(list(archive.reaches.items())[-MOST_SAMPLES // 2 :])
    sites = tuple(
        _stand_of(archive, shelf, receiver if shelf.site == here else None, guess) for shelf in archive.shelves.values()
    )
    return Standing(
        service=archive.service, receiver=here, state=state, problem=problem, primary=lead.host if lead else "",
        primary_lsn=lead.lsn if lead else 0, sites=sites, slots=slots,
    )  # fmt: skip


def _stand_of(archive: Archive, shelf: Shelf, receiver: Receiver | None, guess: bool) -> SiteStanding:
    entries = [one for one in archive.whole.values() if shelf.has(one)]
    if receiver is not None and receiver.growing is not None:
        entries.append(receiver.growing)
    if archive.given is not None and shelf.has(archive.given):
        entries.append(archive.given)
    size = archive.cluster.segment_bytes if archive.cluster else 16 << 20
    found = site_standing(
        shelf.site, entries, size=size, reaches=archive.reaches, samples=tuple(archive.samples), now=time.time(),
        since_lsn=since(archive.restorable.get(shelf.site, ()), archive.timeline, archive.histories), guess=guess,
        histories=archive.histories, ahead_of_notes=receiver is None,
    )  # fmt: skip
    return found.model_copy(
        update={"reached": shelf.reached, "apart": shelf.apart, "problem": shelf.problem, "forged": shelf.forged}
    )
