"""The built-in engine as the interface has it: the same bytes on every site (flows/backup.py, flows/restore.py)."""

from __future__ import annotations

from flows import backup, restore
from recoverd.backup.manifest import Manifest
from tasks.holdings import Holding, Holdings, SiteHoldings
from tasks.sets import SiteView, Survey, survey


class BuiltIn:
    """The engine `builtin`."""

    name = "builtin"

    def survey(self, service: str, *, read: bool) -> Holdings:
        """Hold the sites against the signed manifests."""
        return as_holdings(survey(service, read=read))

    def back_up(self, service: str) -> str:
        """Stream one set to all sites at once."""
        return backup.carry_out(service)

    def restore(self, service: str) -> str:
        """Put a set together from whichever sites have its parts."""
        return restore.carry_out(service)


def as_holdings(seen: Survey) -> Holdings:
    """What was seen, in the words that fit every engine. Pure."""
    known = {one.set: one for one in seen.manifests}
    return Holdings(service=seen.service, engine=BuiltIn.name, sites=tuple(_site(site, known) for site in seen.sites))


def _site(site: SiteView, known: dict[str, Manifest]) -> SiteHoldings:
    sets = tuple(
        Holding(
            set=one.set, kind="full", health=one.health, consistent_at=known[one.set].ended_at,
            size=known[one.set].size, findings=one.findings,
        )
        for one in site.sets
        if one.set in known
    )  # fmt: skip
    return SiteHoldings(site=site.site, reached=site.reached, problem=site.problem, sets=sets)
