"""Decisions about backups by pgBackRest: which repositories take one, and whether it is one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from flows.keeping import ENOUGH_SITES, Spread
from recoverd.step import decide
from tasks.holdings import Holdings
from tasks.views import Facts


class Destinations(Facts):
    """Where a backup goes."""

    sites: tuple[str, ...]
    away: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refusal:
            return f"no backup: {self.refusal}"
        rest = f"; left out: {'; '.join(self.away)}" if self.away else ""
        return f"to {', '.join(self.sites)}{rest}"


@decide("choose the repositories that take the backup of {service}")
def choose_destinations(service: str, seen: Holdings) -> Destinations:
    """Those that answer. The answer is kept when the run is resumed."""
    sites = tuple(site.site for site in seen.sites if site.reached)
    away = tuple(f"{site.site} ({site.problem})" for site in seen.sites if not site.reached)
    refusal = ""
    if len(sites) < ENOUGH_SITES:
        refusal = f"{len(sites)} sites can be reached, and a backup needs {ENOUGH_SITES}: {'; '.join(away)}"
    return Destinations(sites=sites, away=away, refusal=refusal)


class Backed(Spread):
    """How good a backup is, over all sites."""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"the backup is {self.word}: {', '.join(self.whole) or 'whole on no site'}{self.rest}"


@decide("judge the backup of {service}")
def judge_taken(service: str, seen: Holdings, taken: dict[str, str], failed: dict[str, str]) -> Backed:
    """By what is there afterwards; the answer is kept when the run is resumed."""
    return weigh_taken(seen, taken, failed)


def weigh_taken(seen: Holdings, taken: Mapping[str, str], failed: Mapping[str, str]) -> Backed:
    """A set counts where it is there with all of its WAL, and nothing was found against it.

    Args:
        seen: What the sites hold now.
        taken: The new set of each site.
        failed: Why a site has none.
    """
    whole, lacking = [], []
    for site in seen.sites:
        found = next((one for one in site.sets if one.set == taken.get(site.site)), None)
        if found is not None and found in site.whole:
            whole.append(f"{found.set} on {site.site}")
        else:
            why = failed.get(site.site) or (found.summary if found else site.problem or "it does not list the new set")
            lacking.append(f"{site.site} ({why})")
    return Backed(whole=tuple(whole), lacking=tuple(lacking))
