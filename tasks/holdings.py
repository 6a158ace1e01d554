"""What the sites of a backup hold, in words that fit every engine: sets, their health, and what each leads to."""

from __future__ import annotations

from datetime import datetime

from recoverd.backup.compare import Finding, Health
from tasks.views import Facts


class Holding(Facts):
    """A set on one site.

    Attributes:
        set: The engine's name of it.
        kind: Such as full or incr.
        consistent_at: When it was finished: the first moment that can be had from it.
        reaches_to: The newest moment that can be had with the WAL on this site; None where there is none beyond the set.
        size: Bytes on the site.
        findings: What is wrong with it, or with the WAL after it.
    """

    set: str
    kind: str
    health: Health
    consistent_at: datetime
    reaches_to: datetime | None = None
    size: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        rest = f" ({'; '.join(one.evidence for one in self.findings[:3])})" if self.findings else ""
        return f"{self.set} is {self.health.value}{rest}"


class SiteHoldings(Facts):
    """One site.

    Attributes:
        reached: Whether it answered; the rest means nothing otherwise.
        problem: Why it did not, or what is wrong with it as a whole.
        sets: The oldest first.
    """

    site: str
    reached: bool
    problem: str = ""
    sets: tuple[Holding, ...] = ()

    @property
    def whole(self) -> tuple[Holding, ...]:
        """Sets that nothing is known against, the oldest first."""
        return tuple(one for one in self.sets if one.health in {Health.GOOD, Health.LISTED})


class Holdings(Facts):
    """All sites of a service's backup."""

    service: str
    engine: str
    sites: tuple[SiteHoldings, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        words = []
        for site in self.sites:
            bad = len(site.sets) - len(site.whole)
            rest = f", {bad} of them not whole" if bad else ""
            rest += f", {site.problem}" if site.problem else ""
            words.append(
                f"{site.site}: {len(site.sets)} sets{rest}" if site.reached else f"{site.site}: {site.problem}"
            )
        return "; ".join(words)

    @property
    def wrong(self) -> tuple[str, ...]:
        """What a person should know of, a line each."""
        words = [f"{site.site}: {site.problem}" for site in self.sites if site.problem]
        words += [f"{site.site}: {one.summary}" for site in self.sites for one in site.sets if one not in site.whole]
        return tuple(words)

    def site(self, name: str) -> SiteHoldings:
        """The site of that name."""
        return next(one for one in self.sites if one.site == name)
