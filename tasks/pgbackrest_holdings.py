"""What the repositories of pgBackRest hold, in the words that fit every engine, and the WAL chain that it does not check."""

from __future__ import annotations

from recoverd.backup.compare import Finding, Health
from recoverd.backup.repository import RepoSet, Shelf
from recoverd.backup.stretch import Stretch, follow, newest_line
from recoverd.step import observe
from tasks.holdings import Holding, Holdings, SiteHoldings
from tasks.pgbackrest import RepoView


@observe("see what the repositories of {service} hold")
def see_holdings(service: str, views: tuple[RepoView, ...]) -> Holdings:
    """Which sets each lists, or has read, and how far the WAL of each leads."""
    return holdings(service, views)


def holdings(service: str, views: tuple[RepoView, ...]) -> Holdings:
    """What was seen, in the words that fit every engine. Pure."""
    return Holdings(service=service, engine="pgbackrest", sites=tuple(_site(view) for view in views))


def _site(view: RepoView) -> SiteHoldings:
    if not view.reached:
        return SiteHoldings(site=view.site, reached=False, problem=view.problem)
    sets = tuple(_holding(view, one) for one in view.info.sets)
    return SiteHoldings(site=view.site, reached=True, problem=_problem(view), sets=sets)


def _problem(view: RepoView) -> str:
    if view.verified is None:
        return ""
    words = [view.verified.problem] if view.verified.problem else []
    words += [f"of its WAL {one.words}" for one in view.verified.archives if not one.whole]
    return "; ".join(words)


def own_stretch(view: RepoView, one: RepoSet) -> Stretch:
    """The WAL after a set that its own repository has, on the newest line that the set leads to."""
    shelf = view.shelves.get(one.archive, Shelf())
    histories = view.histories.get(one.archive, {})
    timeline = newest_line(one, histories)
    return follow(one, {view.site: shelf}, timeline, histories.get(timeline, ()))


def _holding(view: RepoView, one: RepoSet) -> Holding:
    found = own_stretch(view, one)
    findings = [Finding(key="wal", health=Health.DAMAGED, evidence=words) for words in found.doubts]
    if found.hole:
        stretch = found.hole if found.hole == found.hole_end else f"{found.hole} to {found.hole_end}"
        findings.append(Finding(key=found.hole, health=Health.INCOMPLETE, evidence=f"WAL is missing: {stretch}"))
    elif not found.covers(one):
        findings.append(Finding(key=one.last, health=Health.INCOMPLETE, evidence=f"WAL is missing: {one.last}"))
    if one.flawed:
        findings.append(Finding(key=one.label, health=Health.DAMAGED, evidence="it has pages with wrong checksums"))
    findings += _found_by_reading(view, one)
    worst = [health for health in (Health.DAMAGED, Health.INCOMPLETE) if health in {each.health for each in findings}]
    proven = view.verified is not None and any(each.name == one.label for each in view.verified.sets)
    return Holding(
        set=one.label, kind=one.kind, health=worst[0] if worst else Health.GOOD if proven else Health.LISTED,
        consistent_at=one.ended_at, reaches_to=found.until if found.covers(one) else None, size=one.stored,
        findings=tuple(findings),
    )  # fmt: skip


def _found_by_reading(view: RepoView, one: RepoSet) -> list[Finding]:
    """What `verify` says against the set, or against one that it takes files from."""
    if view.verified is None:
        return []
    return [
        Finding(key=each.name, health=Health.DAMAGED, evidence=f"{each.name}: {each.words}")
        for each in view.verified.sets
        if not each.whole and each.name in {one.label, *one.needs}
    ]
