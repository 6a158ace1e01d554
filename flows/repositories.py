"""Decisions about repositories of pgBackRest: what a restore tries, and in which order. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from recoverd.backup.compare import Health
from recoverd.backup.repository import RepoSet, Shelf
from recoverd.backup.stretch import Needed, Stretch, follow, newest_line
from recoverd.backup.target import Kind, Target, parse_target
from recoverd.step import decide
from tasks.pgbackrest import RepoView
from tasks.pgbackrest_holdings import holdings
from tasks.views import Facts

MOST_OFFERS = 6
CLOCKS = timedelta(seconds=60)
"""By how much the clocks of servers and repositories may differ. Past it, what leads to a moment is for PostgreSQL to say."""
_BEST_FIRST = (Health.GOOD, Health.LISTED, Health.INCOMPLETE, Health.DAMAGED)


class Offer(Facts):
    """A set that may be restored, with the WAL that leads from it to the target.

    Attributes:
        last: The last segment that is needed for the target, as far as its time in the archive tells.
        furthest: The last one that there is on the way, should the former not do.
    """

    site: str
    set: str
    system_identifier: str
    timeline: int
    stop_lsn: int
    segment_bytes: int
    last: str
    furthest: str
    wal_files: int
    size: int

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.set} of {self.site}, with WAL up to {self.last}"


class Offers(Facts):
    """What a restore tries, in this order.

    Attributes:
        target: As `tasks.restoring.recovery_settings` takes it.
        sites: Those whose WAL may be used.
    """

    target: str
    offers: tuple[Offer, ...]
    sites: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        rest = f"; {'; '.join(self.passed_over)}" if self.passed_over else ""
        if self.refusal:
            return f"nothing can be restored: {self.refusal}{rest}"
        return f"to {self.target} from {', else from '.join(one.summary for one in self.offers)}{rest}"


@decide("choose what {service} is restored from")
def choose_offers(
    service: str, views: tuple[RepoView, ...], target: str, wanted_set: str, wanted_sites: tuple[str, ...]
) -> Offers:
    """The answer is kept when the run is resumed."""
    return pick_offers(views, parse_target(target), wanted_set, wanted_sites)


def pick_offers(
    views: tuple[RepoView, ...], target: Target, wanted_set: str = "", wanted_sites: tuple[str, ...] = ()
) -> Offers:
    """The newest set of each site that leads to the target first, then older ones; the WAL may come from all of the sites."""
    unknown = [name for name in wanted_sites if name not in {view.site for view in views}]
    if unknown:
        return Offers(target=target.text, offers=(), refusal=f"there is no site {unknown[0]}")
    away = [f"{view.site} is left out ({view.problem})" for view in views if not view.reached]
    read = tuple(view for view in views if view.reached and (not wanted_sites or view.site in wanted_sites))
    health = {(site.site, one.set): one.health for site in holdings("", read).sites for one in site.sets}
    found: list[tuple[int, datetime, str, Offer]] = []
    for view in read:
        kept = []
        for one in view.info.sets:
            if wanted_set and one.label != wanted_set:
                continue
            offer, why = _offer(view, one, read, target)
            if offer is not None:
                kept.append((one, offer))
            else:
                away.append(f"{one.label} of {view.site}: {why}")
        for age, (one, offer) in enumerate(reversed(kept)):
            rank = age * len(_BEST_FIRST) + _BEST_FIRST.index(health[view.site, one.label])
            found.append((rank, one.ended_at, view.site, offer))
    found.sort(key=lambda each: (each[0], -each[1].timestamp()))
    offers = tuple(each[3] for each in found[:MOST_OFFERS])
    refusal = ""
    if not offers:
        refusal = f"no set leads to {target.text}" if any(view.info.sets for view in read) else "no site gives a set"
        refusal = f"no site has the set {wanted_set}" if wanted_set and not away else refusal
    return Offers(
        target=target.text, offers=offers, sites=tuple(view.site for view in read), passed_over=tuple(away[:20]),
        refusal=refusal,
    )  # fmt: skip


def _offer(view: RepoView, one: RepoSet, read: tuple[RepoView, ...], target: Target) -> tuple[Offer | None, str]:
    whole = stretch_of(view, one, read)
    if not whole.covers(one) or whole.last is None:
        return None, f"WAL is missing: {whole.hole or one.last}"
    why = _misses(one, whole, target)
    if why:
        return None, why
    needed = whole.up_to(target.at if target.kind is Kind.TIME else None, target.lsn if target.kind is Kind.LSN else 0)
    offer = Offer(
        site=view.site, set=one.label, system_identifier=one.system_identifier, timeline=whole.timeline,
        stop_lsn=one.stop_lsn, segment_bytes=whole.segment_bytes, last=needed.segments[-1].name, furthest=whole.segments[-1].name,
        wal_files=len(needed.segments), size=one.size + len(needed.segments) * whole.segment_bytes,
    )  # fmt: skip
    return offer, ""


def _misses(one: RepoSet, whole: Stretch, target: Target) -> str:
    """Why a set does not lead to the target; empty where it may."""
    hole = f", where {whole.hole} is missing on every site" if whole.hole else ""
    if target.kind is Kind.TIME:
        if target.at < one.ended_at:
            return f"it was finished only at {one.ended_at:%Y-%m-%d %H:%M:%S} UTC"
        if whole.until is None or target.at > whole.until + CLOCKS:
            return f"its WAL ends at {whole.until:%Y-%m-%d %H:%M:%S} UTC{hole}"
    if target.kind is Kind.LSN:
        if target.lsn < one.stop_lsn:
            return "it was finished only after that position"
        if target.lsn > whole.end_lsn:
            return f"its WAL ends before that position{hole}"
    if target.kind is Kind.LATEST and whole.hole:
        return f"WAL is missing on every site: {whole.hole}, and there is later WAL; restore to a moment before it"
    return ""


def stretch_of(view: RepoView, one: RepoSet, read: tuple[RepoView, ...]) -> Stretch:
    """The WAL after a set that all repositories have together, on the newest line that the set leads to."""
    shelves = {other.site: other.shelves.get(one.archive, Shelf()) for other in _of_cluster(one, read)}
    histories = {
        timeline: switches
        for other in _of_cluster(one, read)
        for timeline, switches in other.histories.get(one.archive, {}).items()
    }
    timeline = newest_line(one, histories)
    return follow(one, shelves, timeline, histories.get(timeline, ()))


def _of_cluster(one: RepoSet, read: tuple[RepoView, ...]) -> list[RepoView]:
    """Repositories whose part of that name is the same cluster's, for the names are made in each by itself."""
    return [
        view
        for view in read
        if {each.system_identifier for each in view.info.sets if each.archive == one.archive} <= {one.system_identifier}
    ]


def wal_of(offer: Offer, views: tuple[RepoView, ...], last: str) -> tuple[Needed, ...]:
    """What is fetched for an offer up to a segment, as the sites have it now: its timeline's history, and the segments.

    Empty where they do not have it any more.
    """
    for view in views:
        for one in view.info.sets:
            if view.site == offer.site and one.label == offer.set:
                whole = stretch_of(view, one, views)
                names = [each.name for each in whole.segments]
                if last not in names:
                    return ()
                history = _history(f"{offer.timeline:08X}.history", one.archive, views, whole.segments[0])
                return (*history, *whole.segments[: names.index(last) + 1])
    return ()


def _history(name: str, archive: str, views: tuple[RepoView, ...], like: Needed) -> tuple[Needed, ...]:
    holders = tuple(view.site for view in views if name in view.shelves.get(archive, Shelf()).histories)
    return (Needed(name=name, sha1="", sites=holders, at=like.at),) if holders else ()
