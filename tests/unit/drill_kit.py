"""Drills of the past and surveys of sites, for tables."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from recoverd.backup import keys
from recoverd.backup.compare import Health, SetHealth
from recoverd.backup.manifest import Manifest, Part
from recoverd.drills import Drill
from recoverd.inventory import Backup
from tasks.sets import SiteView, Survey

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
SITES = ("own", "second", "offsite")
NAMES = ("20261101T000000Z-aaaa", "20261110T000000Z-bbbb", "20261120T000000Z-cccc")
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


def backup(**restore: Any) -> Backup:
    """Three sites, a drill host."""
    return Backup.model_validate(
        {
            "name": "orders-db",
            "sites": [
                {"name": "own", "kind": "host", "host": "db-2", "path": "/b"},
                {"name": "second", "kind": "host", "host": "backup-1", "path": "/b"},
                {"name": "offsite", "kind": "s3", "bucket": "orders"},
            ],
            "recipients": [RECIPIENT],
            "trusted_key": "/key",
            "identity": {"env": "IDENTITY"},
            "signing_key": {"env": "SIGNING"},
            "restore": {"drill_host": "backup-1", **restore},
        }
    )


def drill(turn: str, *, days_ago: float = 0, passed: bool = True, **facts: Any) -> Drill:
    """One of the past."""
    at = NOW - timedelta(days=days_ago)
    known: dict[str, Any] = {"run": "dr-1", "service": "orders-db", "host": "backup-1", "bytes": 100, "rto_s": 4.0}
    known |= {"why": "" if passed else "no bytes"}
    return Drill(turn=turn, at=at, passed=passed, **(known | facts))


def manifest(name: str, ended_at: datetime | None = None) -> Manifest:
    """A set of one part."""
    part = Part(name=keys.part_name(1), size=7, sha256="0" * 64, md5="0" * 32)
    end = ended_at or keys.begun_at(name)
    return Manifest(
        service="orders-db", set=name, source="db-2", begun_at=end, ended_at=end, server_version=150008, parts=(part,)
    )


def surveyed(*, away: tuple[str, ...] = (), names: tuple[str, ...] = NAMES, **healths: dict[str, Health]) -> Survey:
    """All sets whole everywhere as far as a listing shows, but for what is said of a site."""
    views = [
        SiteView(site=site, reached=False, problem="no answer")
        if site in away
        else SiteView(
            site=site,
            reached=True,
            sets=tuple(
                SetHealth(site=site, set=name, health=healths.get(site, {}).get(name, Health.LISTED)) for name in names
            ),
        )
        for site in SITES
    ]
    return Survey(service="orders-db", sites=tuple(views), manifests=tuple(manifest(name) for name in names))
