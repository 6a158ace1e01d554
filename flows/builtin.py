"""The built-in engine as the interface has it: the same bytes on every site (flows/backup.py, flows/restore.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from flows import backup, restore
from flows.drilling import Asked, Chosen, choose_drill
from flows.engine import Brought
from flows.reach import reach_of
from recoverd.backup.manifest import Manifest
from recoverd.drills import MIXED, Drill
from recoverd.errors import RecoverdError, Stale
from recoverd.journal import Entry
from recoverd.timeline.phases import decision_of, name_of
from recoverd.world import world
from tasks.archived import survey_wal
from tasks.holdings import Holding, Holdings, SiteHoldings
from tasks.sets import SiteView, Survey, survey, survey_sites


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

    def choose_drill(self, service: str, host: str, past: Sequence[Drill], asked: Asked) -> Chosen:
        """A set, or a moment that WAL leads to."""
        here, seen = world(), survey_sites(service)
        backup = here.inventory.backup_of(service)
        turns = dict.fromkeys([asked.site or MIXED, MIXED, *(site.name for site in backup.sites)])
        reach = _reach(service, host, seen, tuple(turns))
        return choose_drill(service, here.run.id, seen, backup, past, asked, reach)

    def brought(self, service: str, entries: Sequence[Entry]) -> Brought:
        """By what the restore chose, and by the manifest that it believed."""
        point = decision_of(entries, "choose_point")
        name = str(point.get("set") or "")
        return Brought(
            set=name, sites=tuple(point.get("sites") or ()), point=str(point.get("target") or ""),
            bytes=_size(entries, name),
        )  # fmt: skip


def _reach(service: str, host: str, seen: Survey, turns: tuple[str, ...]) -> dict[str, dict[str, datetime]]:
    """How far WAL leads; where that cannot be told, the restore itself will say why."""
    try:
        return reach_of(seen, survey_wal(service, host), turns)
    except Stale:
        raise
    except RecoverdError as error:
        world().say(f"nobody can tell how far the WAL of {service} leads: {error.message}")
        return {}


def _size(entries: Sequence[Entry], set_name: str) -> int:
    for entry in entries:
        if entry.kind == "step.observed" and name_of(entry) == "survey_sites":
            for manifest in entry.body["facts"]["manifests"]:
                if manifest["set"] == set_name:
                    return sum(part["size"] for part in manifest["parts"])
    return 0


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
