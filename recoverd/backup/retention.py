"""Which sets a site is to hold. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from recoverd.backup import keys
from recoverd.inventory import Retention


def wanted(names: Collection[str], retention: Retention, now: datetime) -> frozenset[str]:
    """Of all sets that there are, those that a site's retention would keep there: their absence is a fault.

    The others may be on it or not: one that was let go is not brought back.
    """
    newest = sorted(names)[-retention.sets :]
    young = now - timedelta(days=retention.days)
    return frozenset(newest) | {name for name in names if retention.days and keys.begun_at(name) >= young}
