"""A check of readiness says of every engine's backups what would stand in the way of a restore."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from flows.readiness_holdings import judge_holdings
from recoverd.backup.compare import Finding, Health
from tasks.holdings import Holding, Holdings, SiteHoldings

NOW = datetime(2026, 11, 26, 4, tzinfo=timezone.utc)
DAY_S = 86400.0


def site(name: str, *ages_h: float, health: Health = Health.LISTED, problem: str = "") -> SiteHoldings:
    sets = tuple(
        Holding(
            set=f"set-{age:g}", kind="full", health=health, consistent_at=NOW - timedelta(hours=age),
            findings=() if health is Health.LISTED else (Finding(key="wal", health=health, evidence="WAL is missing: X"),),
        )
        for age in sorted(ages_h, reverse=True)
    )  # fmt: skip
    return SiteHoldings(site=name, reached=not problem, problem=problem, sets=sets)


@pytest.mark.parametrize(
    ("sites", "levels"),
    [
        ((site("own", 2), site("second", 30)), ["ok", "warning"]),
        ((site("own", 30), site("second", 30)), ["problem", "problem"]),
        ((site("own", 2), site("second")), ["ok", "warning"]),
        ((site("own"), site("second")), ["problem", "problem"]),
        ((site("own", 2), site("second", problem="it does not answer")), ["ok", "problem"]),
        ((site("own", 2), site("second", 2, health=Health.INCOMPLETE)), ["ok", "warning", "warning"]),
    ],
)
def test_what_would_stand_in_the_way_is_told(sites: tuple[SiteHoldings, ...], levels: list[str]) -> None:
    seen = Holdings(service="orders-db", engine="pgbackrest", sites=sites)
    found = list(judge_holdings(seen, DAY_S, NOW))
    assert [one.level for one in found] == levels
    assert all(one.hint for one in found if one.level != "ok")
