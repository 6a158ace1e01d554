"""Decisions of a restore: which set, how far, from which sites. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from recoverd.backup.chains import Chain, Shelf, follow
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.backup.target import Kind, Target, parse_target
from recoverd.step import decide
from tasks.archived import Archive
from tasks.sets import Survey
from tasks.views import Facts, lsn_to_text

_BEST_FIRST = (
    Health.GOOD, Health.LISTED, Health.HIDDEN, Health.INCOMPLETE, Health.DAMAGED, Health.TAMPERED,
)  # fmt: skip
_CONSISTENT = Target(kind=Kind.SET)
_JUST_NOW = timedelta(seconds=120)
_CLOCKS = timedelta(seconds=2)  # a set that ended so shortly before a moment may have ended after it, by another clock


class Point(Facts):
    """What is restored.

    Attributes:
        set: Empty where nothing can be.
        target: Where recovery ends: see `tasks.scratch.recovery_settings`.
        sites: Those that are read from, the best first.
        passed_over: Sets and sites that are not used, with the reason.
        timeline: The timeline that recovery follows; empty for that of the set.
        end_lsn: All WAL before this position is there; 0 where a set is restored to its own end.
        unsigned: Segments at the end that no signed index speaks of.
        reachable: What can be restored to, in words.
    """

    set: str
    target: str
    sites: tuple[str, ...]
    passed_over: tuple[str, ...] = ()
    refusal: str = ""
    timeline: str = ""
    end_lsn: int = 0
    unsigned: tuple[str, ...] = ()
    reachable: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = [self.reachable] if self.reachable else []
        if self.unsigned:
            words.append(f"nobody has signed for its last WAL, {', '.join(self.unsigned)}")
        rest = "".join(f"; {one}" for one in (*words, *self.passed_over))
        if self.refusal:
            return f"nothing can be restored: {self.refusal}"
        return f"{self.set} to {self.target}, from {', '.join(self.sites)}{rest}"


@decide("choose what {service} is restored from")
def choose_point(
    service: str,
    survey: Survey,
    wanted_set: str,
    wanted_sites: tuple[str, ...],
    to: str = "",
    timeline: str = "",
    archive: Archive | None = None,
) -> Point:
    """The answer is kept when the run is resumed."""
    return pick_point(survey, wanted_set, wanted_sites, to, timeline, archive)


def pick_point(
    survey: Survey,
    wanted_set: str = "",
    wanted_sites: tuple[str, ...] = (),
    to: str = "",
    timeline: str = "",
    archive: Archive | None = None,
) -> Point:
    """The newest set from which WAL leads to the target without a gap, put together from the sites that answer.

    A set need be whole on no single site, and WAL neither: each file is taken from wherever it is good.

    Args:
        survey: What the sites hold of sets.
        wanted_set: The id of a set; empty for the best one.
        wanted_sites: Names of sites; empty for all.
        to: The target; empty for the newest state: that at the end of the WAL or, without any, of the set. A set that is named
            without a target is restored to its own end.
        timeline: The timeline to follow; empty for the newest.
        archive: The WAL on the sites.
    """
    passed_over = [f"{site.site} is not reached ({site.problem})" for site in survey.sites if not site.reached]
    passed_over += [
        f"{one.site} is in quarantine" for one in survey.sites if one.quarantined and one.site not in wanted_sites
    ]
    unknown = [name for name in wanted_sites if name not in {site.site for site in survey.sites}]
    if unknown:
        return Point(set="", target="", sites=(), refusal=f"there is no site {unknown[0]}")
    shelf = archive.shelf if archive else Shelf()
    target = _target(to, wanted_set, shelf)
    sets = [one for one in survey.manifests if wanted_set in {"", one.set}]
    usable = [
        (one, sites)
        for one in sorted(sets, key=lambda one: one.set, reverse=True)
        if (sites := _usable(survey, one, wanted_sites))
    ]
    gone = {one.set for one in sets} - {one.set for one, _ in usable}
    passed_over += [f"{name} is usable on no site that answers" for name in sorted(gone, reverse=True)]
    if not usable:
        what = f"no site has the set {wanted_set}" if wanted_set else "no site that answers has a set that is believed"
        return Point(
            set="", target="", sites=(), passed_over=tuple(passed_over), refusal="; ".join([what, *passed_over])
        )
    if target.kind is Kind.SET:
        best, sites = usable[0]
        return _point(survey, best, sites, passed_over, target)
    reasons: list[str] = []
    may = sites_to_read(survey, wanted_sites)
    for manifest, sites in usable:
        found = _reach(manifest, shelf, archive, may, target, timeline)
        if isinstance(found, Chain):
            return _point(survey, manifest, sites, [*passed_over, *reasons], target, found)
        reasons.append(f"{manifest.set}: {found}")
    reach = "; ".join(reachable(survey, shelf, wanted_sites))
    first = min(one.ended_at for one, _ in usable)
    why = f"its first backup was finished at {_clock(first)}" if target.kind is Kind.TIME and target.at < first else ""
    why = why or "; ".join(reasons)
    return Point(
        set="", target="", sites=(), passed_over=tuple(passed_over), reachable=reach,
        refusal=f"{target.text} is not to be reached: {why}. What can be reached: {reach}",
    )  # fmt: skip


def _target(to: str, wanted_set: str, shelf: Shelf) -> Target:
    if to:
        return parse_target(to)
    if wanted_set or not any(one.sites for one in shelf.files.values()):
        return _CONSISTENT
    return Target(kind=Kind.LATEST)


def _point(
    survey: Survey,
    manifest: Manifest,
    sites: tuple[str, ...],
    passed_over: list[str],
    target: Target,
    chain: Chain | None = None,
) -> Point:
    bad = [
        f"{site.site} holds it {survey.health(site.site, manifest.set).value}"
        for site in survey.sites
        if site.reached and survey.health(site.site, manifest.set) not in {Health.GOOD, Health.LISTED}
    ]
    words = f"WAL leads from {_clock(manifest.ended_at)} to {_clock(chain.end_at)}" if chain else ""
    return Point(
        set=manifest.set, target=target.text, sites=sites, passed_over=(*passed_over, *bad),
        timeline=str(chain.timeline) if chain else "", end_lsn=chain.end_lsn if chain else 0,
        unsigned=chain.unsigned if chain else (), reachable=words,
    )  # fmt: skip


def _reach(
    manifest: Manifest, shelf: Shelf, archive: Archive | None, sites: tuple[str, ...], target: Target, timeline: str
) -> Chain | str:
    """The WAL that leads from a set to the target; else why it does not."""
    if archive is not None and archive.system_identifier not in {"", manifest.system_identifier}:
        return f"the WAL is of another cluster ({archive.system_identifier})"
    if target.kind is Kind.TIME and manifest.ended_at > target.at - _CLOCKS:
        return f"it was finished at {_clock(manifest.ended_at)}, not before that"
    if target.kind is Kind.LSN and manifest.end_lsn > target.lsn:
        return f"it ends at {lsn_to_text(manifest.end_lsn)}, after that"
    line = _timeline(manifest, shelf, timeline)
    if isinstance(line, str):
        return line
    if target.kind in {Kind.TIME, Kind.LSN}:  # a target that signed WAL leads to needs no other
        chain = follow(manifest, shelf, line, sites)
        if covers(chain, target):
            return chain.until(target.at) if target.kind is Kind.TIME else chain.up_to(target.lsn)
    longer = follow(manifest, shelf, line, sites, unsigned=True)
    if covers(longer, target):
        return longer
    if longer.hole:
        return f"there is a hole in the WAL: {longer.hole}"
    return f"WAL ends at {lsn_to_text(longer.end_lsn)}, received at {_clock(longer.end_at)}"


def moment_on_its_way(to: str, archive: Archive, now: datetime) -> str:
    """The moment to restore to, if it has just been and the sites do not have its WAL yet; else empty.

    After a mistake somebody is quick, and asks for what the sites are given within a minute.
    """
    target = parse_target(to) if to else _CONSISTENT
    fresh = target.kind is Kind.TIME and now - target.at < _JUST_NOW and archive.shelf.files
    return target.at.isoformat() if fresh and not archive.reaches(target.at) else ""


def covers(chain: Chain, target: Target) -> bool:
    """Whether all WAL up to the target is there. Of a transaction or a name nobody knows where it stands: PostgreSQL tells."""
    if target.kind is Kind.TIME:
        return chain.end_at >= target.at
    if target.kind is Kind.LSN:
        return chain.end_lsn >= target.lsn
    return not chain.hole if target.kind is Kind.LATEST else True


def _timeline(manifest: Manifest, shelf: Shelf, wanted: str) -> int | str:
    """The newest timeline that comes of the set, or the one that is named; else why it cannot be."""
    if wanted and not wanted.isdigit():
        return f"{wanted!r} is no timeline"
    if wanted:
        leads = shelf.leads_to(manifest, int(wanted))
        return int(wanted) if leads else f"timeline {wanted} does not come of its timeline {manifest.timeline}"
    newest = max((*shelf.timelines, manifest.timeline))
    if shelf.leads_to(manifest, newest):
        return newest
    return f"timeline {newest}, the newest, does not come of it: users have gone on from before its end"


def reachable(survey: Survey, shelf: Shelf, sites: tuple[str, ...] = ()) -> Iterator[str]:
    """What can be restored to, a line a set, the oldest first."""
    for manifest in survey.manifests:
        if not _usable(survey, manifest, sites):
            continue
        line = next((one for one in shelf.timelines if shelf.leads_to(manifest, one)), manifest.timeline)
        chain = follow(manifest, shelf, line, sites_to_read(survey, sites), unsigned=True)
        words = f"{manifest.set}: {_clock(manifest.ended_at)}"
        if chain.end_lsn > manifest.end_lsn:
            words += f" to {_clock(chain.end_at)} on timeline {line} ({lsn_to_text(manifest.end_lsn)} to {lsn_to_text(chain.end_lsn)})"
        yield words + (f", then a hole: {chain.hole}" if chain.hole else "")


def sites_to_read(survey: Survey, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those that may be read from: the ones that are named, else all that are not in quarantine."""
    return wanted or tuple(one.site for one in survey.sites if not one.quarantined)


def _clock(at: datetime) -> str:
    return f"{at.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _usable(survey: Survey, manifest: Manifest, wanted: tuple[str, ...]) -> tuple[str, ...]:
    sites = [
        (site.site, survey.health(site.site, manifest.set))
        for site in survey.sites
        if site.reached and (site.site in wanted if wanted else not site.quarantined)
    ]
    usable = [
        (name, health) for name, health in sites if health.usable or (health is Health.TAMPERED and name in wanted)
    ]
    return tuple(name for name, _ in sorted(usable, key=lambda one: _BEST_FIRST.index(one[1])))
