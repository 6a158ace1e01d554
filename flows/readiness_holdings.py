"""Would the backup of a service come back, whatever engine makes it? Pure rules over what its sites hold."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from flows.finding import Finding, Level
from flows.predicting import duration
from tasks.holdings import Holdings, SiteHoldings


def judge_holdings(seen: Holdings, max_age_s: float, now: datetime) -> Iterator[Finding]:
    """Each site answers, its newest whole set is young enough, and nothing is known against any set.

    Args:
        seen: What the sites hold.
        max_age_s: Seconds after which a set counts as too old.
        now: The controller's clock.
    """
    ages = [age for site in seen.sites if (age := _age_s(site, now)) is not None]
    for site in seen.sites:
        where, age_s = f"site {site.site}", _age_s(site, now)
        if not site.reached:
            yield Finding("problem", "backups", where, site.problem, f"recoverd sites {seen.service}")
            continue
        if age_s is None:
            level: Level = "warning" if ages else "problem"
            hint = f"recoverd run backup {seen.service} --reason …"
            yield Finding(level, "backups", where, "it holds no set that is whole", hint)
        elif age_s > max_age_s:
            level = "problem" if min(ages) > max_age_s else "warning"
            what = f"its newest whole set ends {duration(age_s)} ago; max_age_s is {duration(max_age_s)}"
            yield Finding(level, "backups", where, what, f"recoverd runs --procedure backup --target {seen.service}")
        else:
            yield Finding("ok", "backups", where, f"its newest whole set ends {duration(age_s)} ago")
        yield from _against(seen.service, site, where)


def _against(service: str, site: SiteHoldings, where: str) -> Iterator[Finding]:
    bad = [one for one in site.sets if one not in site.whole]
    if bad:
        words = bad[-1].summary + (f", and {len(bad) - 1} more sets are not whole" if bad[1:] else "")
        yield Finding("warning", "backups", where, words, f"recoverd sites verify {service}")


def _age_s(site: SiteHoldings, now: datetime) -> float | None:
    return (now - site.whole[-1].consistent_at).total_seconds() if site.reached and site.whole else None
