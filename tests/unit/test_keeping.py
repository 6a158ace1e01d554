"""Where a backup is taken, when it counts, what may go, and what is restored: tables."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from flows.keeping import expired, pick_source, weigh
from flows.points import pick_point
from recoverd.backup import keys
from recoverd.backup.compare import Health, SetHealth
from recoverd.backup.manifest import Manifest, Part
from recoverd.inventory import Backup, Retention
from tasks.sets import SiteView, Survey
from tasks.views import Answer, HostView, Receiver, ServerView, ServiceView

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
SITES = ("own", "second", "offsite")
NAMES = ("20261101T000000Z-aaaa", "20261110T000000Z-bbbb", "20261120T000000Z-cccc")
BACKUP = Backup.model_validate(
    {
        "name": "orders-db",
        "sites": [
            {"name": "own", "kind": "host", "host": "db-2", "path": "/b"},
            {"name": "second", "kind": "host", "host": "backup-1", "path": "/b"},
            {"name": "offsite", "kind": "s3", "bucket": "orders"},
        ],
        "recipients": ["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"],
        "trusted_key": "/key",
    }
)


def manifest(name: str) -> Manifest:
    part = Part(name=keys.part_name(1), size=7, sha256="0" * 64, md5="0" * 32)
    return Manifest(service="orders-db", set=name, source="db-2", begun_at=NOW, ended_at=NOW, parts=(part,))


def surveyed(*, away: tuple[str, ...] = (), names: tuple[str, ...] = NAMES, **healths: dict[str, Health]) -> Survey:
    """All sets good everywhere, but for what is said of a site."""
    views = [
        SiteView(site=site, reached=False, problem="no answer")
        if site in away
        else SiteView(
            site=site,
            reached=True,
            sets=tuple(
                SetHealth(site=site, set=name, health=healths.get(site, {}).get(name, Health.GOOD)) for name in names
            ),
        )
        for site in SITES
    ]
    return Survey(service="orders-db", sites=tuple(views), manifests=tuple(manifest(name) for name in names))


def service(*, primaries: tuple[str, ...] = ("db-1",), silent: tuple[str, ...] = ()) -> ServiceView:
    hosts = ("db-1", "db-2", "db-3")
    streaming = Receiver(status="streaming", sender_host="db-1", latest_end_lsn=1, last_message_at=1.0, slot="")
    return ServiceView(
        service="orders-db",
        at=NOW,
        hosts=tuple(HostView(host=host, answer=Answer.SILENT if host in silent else Answer.YES) for host in hosts),
        servers=tuple(
            ServerView(
                host=host,
                answer=Answer.SILENT if host in silent else Answer.YES,
                in_recovery=host not in primaries,
                receiver=None if host in primaries else streaming,
            )
            for host in hosts
        ),
        sights=(),
        addresses={host: host for host in hosts},
    )


@pytest.mark.parametrize(
    ("view", "away", "host", "refusal"),
    [
        (service(), (), "db-2", ""),
        (service(silent=("db-2",)), (), "db-3", ""),
        (service(primaries=("db-2",)), (), "db-2", ""),  # the primary, where it alone holds a site
        (service(primaries=()), (), "", "there are 0 primaries"),
        (service(primaries=("db-1", "db-3")), (), "", "there are 2 primaries"),
        (service(), ("offsite",), "db-2", ""),
        (service(), ("own",), "db-2", ""),
        (service(), ("own", "second"), "", "1 sites can be reached"),
    ],
)
def test_a_backup_is_taken_where_it_costs_least_or_refused(
    view: ServiceView, away: tuple[str, ...], host: str, refusal: str
) -> None:
    found = pick_source(view, surveyed(away=away), BACKUP, NAMES[0])
    assert found.host == host
    assert refusal in found.refusal
    assert bool(found.refusal) == bool(refusal)
    assert set(found.sites) == set(SITES) - set(away)


@pytest.mark.parametrize(
    ("away", "bad", "word", "complete"),
    [
        ((), {}, "is complete", True),
        (("offsite",), {}, "is degraded", True),
        ((), {"second": {NAMES[0]: Health.LISTED}}, "is degraded", True),  # nobody has read it
        (("offsite",), {"own": {NAMES[0]: Health.DAMAGED}}, "is NOT A BACKUP", False),
    ],
)
def test_a_backup_counts_when_two_sites_hold_it_whole(
    away: tuple[str, ...], bad: dict[str, dict[str, Health]], word: str, complete: bool
) -> None:
    found = weigh(NAMES[0], surveyed(away=away, names=NAMES[:1], **bad))
    assert (found.complete, word in found.summary) == (complete, True), found.summary


@pytest.mark.parametrize(
    ("retention", "bad", "gone"),
    [
        (Retention(sets=3), {}, ()),
        (Retention(sets=1), {}, NAMES[:2]),
        (Retention(sets=1, days=20), {}, NAMES[:1]),  # the second one is 15 days old
        (Retention(sets=1), {NAMES[2]: Health.DAMAGED}, NAMES[:1]),  # the newest whole one stays, and what is newer
        (Retention(sets=1), dict.fromkeys(NAMES, Health.DAMAGED), ()),
        (Retention(sets=1), {NAMES[0]: Health.ABSENT}, NAMES[1:2]),
    ],
)
def test_the_newest_whole_sets_stay(retention: Retention, bad: dict[str, Health], gone: tuple[str, ...]) -> None:
    assert expired("own", surveyed(own=bad), retention, NOW) == gone


ALL_BAD = {site: {NAMES[2]: Health.TAMPERED} for site in SITES}


@pytest.mark.parametrize(
    ("away", "bad", "wanted", "found"),
    [
        ((), {}, ("", ()), (NAMES[2], SITES)),
        ((), {}, (NAMES[0], ("second",)), (NAMES[0], ("second",))),
        (("own",), {}, ("", ()), (NAMES[2], ("second", "offsite"))),
        ((), {"own": {NAMES[2]: Health.DAMAGED}}, ("", ()), (NAMES[2], ("second", "offsite", "own"))),
        ((), {"own": {NAMES[2]: Health.TAMPERED}}, ("", ()), (NAMES[2], ("second", "offsite"))),
        ((), ALL_BAD, ("", ()), (NAMES[1], SITES)),  # the newest is usable nowhere: the one before it
        ((), {}, ("20991231T000000Z-zzzz", ()), ("", ())),
        ((), {}, ("", ("nowhere",)), ("", ())),
        (SITES, {}, ("", ()), ("", ())),
    ],
)
def test_the_newest_set_that_can_be_put_together_is_restored(
    away: tuple[str, ...],
    bad: dict[str, dict[str, Health]],
    wanted: tuple[str, tuple[str, ...]],
    found: tuple[str, tuple[str, ...]],
) -> None:
    point = pick_point(surveyed(away=away, **bad), *wanted)
    assert (point.set, point.sites) == found, point.summary
    assert bool(point.refusal) == (not point.set)
