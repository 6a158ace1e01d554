"""Decisions about drills: whose turn it is, which point is restored, when the next one is due. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.drills import MIXED, Drill
from recoverd.inventory import Backup, DrillRules
from recoverd.step import decide
from tasks.sets import Survey
from tasks.views import Facts

LATEST = "latest"
AGAIN_AFTER_FAILURE_DAYS = 1
AFTER_SET = timedelta(seconds=10)
"""A moment closer to the end of a set than this may lie before it, by another clock."""


class Chosen(Facts):
    """What a drill restores.

    Attributes:
        turn: A site, or `mixed`.
        sites: What the restore is told to read from, with commas; empty for all.
        set: The set; empty where the restore chooses one for `to`.
        to: As `--to` of a restore; empty for the end of the set.
        newest_at: The newest moment that could be restored from those sites; None where there is none.
        held: The sets that any site held then.
    """

    turn: str
    sites: str = ""
    set: str = ""
    to: str = ""
    newest_at: datetime | None = None
    held: tuple[str, ...] = ()
    why: str = ""
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refusal:
            return f"nothing can be drilled: {self.refusal}"
        return f"{self.turn}: {self.set or 'the best set'}{f' to {self.to}' if self.to else ''} ({self.why})"

    @property
    def options(self) -> dict[str, str]:
        """As options of a restore."""
        given = {"site": self.sites, "set": self.set, "to": self.to}
        return {name: value for name, value in given.items() if value}


class Asked(Facts):
    """What a person asked of a drill; empty texts where they did not."""

    site: str = ""
    set: str = ""
    to: str = ""


@decide("choose what the drill of {service} restores")
def choose_drill(
    service: str,
    run: str,
    survey: Survey,
    backup: Backup,
    past: Sequence[Drill],
    asked: Asked,
    reach: Mapping[str, Mapping[str, datetime]],
) -> Chosen:
    """The answer is kept when the run is resumed."""
    return pick_drill(run, survey, backup, past, asked, reach)


def pick_drill(
    run: str,
    survey: Survey,
    backup: Backup,
    past: Sequence[Drill],
    asked: Asked,
    reach: Mapping[str, Mapping[str, datetime]] | None = None,
) -> Chosen:
    """The turn that is longest ago, and a point at random among those that it could restore.

    Args:
        run: Id of the run: it decides the chance, so that the same run always picks the same.
        survey: What the sites hold.
        backup: Of the service.
        past: Its drills, the oldest first.
        asked: What a person wants; the rest is chosen.
        reach: By turn, by set: when the last WAL that leads on from it was received; none where there is no such WAL.
    """
    names = [site.name for site in backup.sites]
    turn = asked.site or next_turn(names, past)
    sites = names if turn == MIXED else turn.split(",")
    unknown = [name for name in sites if name not in names]
    if unknown:
        return Chosen(turn=turn, refusal=f"there is no site {unknown[0]}")
    usable = [one for one in survey.manifests if _stands(survey, one, sites)]
    ends = {one.set: max(one.ended_at, (reach or {}).get(turn, {}).get(one.set, one.ended_at)) for one in usable}
    known = Chosen(
        turn=turn, sites="" if turn == MIXED else ",".join(sites), newest_at=max(ends.values(), default=None),
        held=tuple(one.set for one in survey.manifests),
    )  # fmt: skip
    if asked.set or asked.to:
        return known.model_copy(update={"set": asked.set, "to": asked.to, "why": "as asked for"})
    if not usable:
        silent = [site for site in survey.sites if site.site in sites and not site.reached]
        away = [f"{site.site} is not reached ({site.problem})" for site in silent]
        why = "; ".join([f"{', '.join(sites)} holds no set that is whole", *away])
        return known.model_copy(update={"refusal": why})
    return known.model_copy(update=_at_random(run, usable, ends))


def _at_random(run: str, usable: Sequence[Manifest], ends: Mapping[str, datetime]) -> dict[str, str]:
    """A set, or a moment between its end and that of the next one, so far as WAL leads there.

    Not beyond the next: a real restore would begin with that one, and the drill is to take as long.
    """
    chance = random.Random(run)  # noqa: S311 - no secret, and the same again after a restart
    number = chance.randrange(len(usable))
    one, later = usable[number], usable[number + 1 :]
    until = min([ends[one.set], *(after.ended_at for after in later[:1])])
    begin = one.ended_at + AFTER_SET
    if until <= begin:
        return {"set": one.set, "why": f"at random among {len(usable)}"}
    moment = begin + chance.random() * (until - begin)
    return {"to": f"{moment:%Y-%m-%d %H:%M:%S}Z", "why": f"at random, after {one.set}"}


def _stands(survey: Survey, manifest: Manifest, sites: Sequence[str]) -> bool:
    """Whether a set is to be expected from these sites: whole on one of them, or in pieces on several."""
    found = [survey.health(site, manifest.set) for site in sites]
    return any(one in {Health.GOOD, Health.LISTED} for one in found) or sum(one.usable for one in found) > 1


def next_turn(sites: Sequence[str], past: Sequence[Drill]) -> str:
    """The site, or all of them at once, whose last drill is longest ago; those that never had one first.

    A drill that failed counts as well: else the others would wait until that site is mended.
    """
    turns = [*sites, MIXED] if len(sites) > 1 else list(sites)
    last = dict.fromkeys(turns, -1) | {
        drill.turn: number for number, drill in enumerate(past) if drill.turn in turns and drill.counts
    }
    return min(turns, key=lambda turn: last[turn])


class Standing(Facts):
    """Where a service stands with its drills.

    Attributes:
        since: What its age counts from: the last drill that passed, else its first backup; None where there is neither.
        due_at: When the next one starts by itself; None where none does.
        overdue_at: When the last good one is too old; None where nobody minds.
    """

    service: str
    last_passed_at: datetime | None = None
    since: datetime | None = None
    due_at: datetime | None = None
    overdue_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether the next drill should start."""
        return self.due_at is not None and self.due_at <= now

    def is_overdue(self, now: datetime) -> bool:
        """Whether the last good drill is too old."""
        return self.overdue_at is not None and self.overdue_at <= now


def standing_of(
    service: str, rules: DrillRules, past: Sequence[Drill], first_backup_at: datetime | None, *, can: bool = True
) -> Standing:
    """When the next drill of a service is due, and when it is overdue.

    After one that failed the next comes a day later: what was mended is to be proven soon.

    Args:
        service: The service.
        rules: Of its inventory.
        past: Its drills, the oldest first.
        first_backup_at: Its first backup that succeeded: from then on there is something to rehearse.
        can: Whether drills can start by themselves: there is a drill host.
    """
    counting = [one for one in past if one.counts]
    passed = [one for one in counting if one.passed]
    since = passed[-1].at if passed else first_backup_at
    due = None
    if can and rules.every_days and since is not None:
        due = since + timedelta(days=rules.every_days)
        if counting and not counting[-1].passed:
            due = counting[-1].at + timedelta(days=min(AGAIN_AFTER_FAILURE_DAYS, rules.every_days))
    limit = rules.age_limit_days
    return Standing(
        service=service, last_passed_at=passed[-1].at if passed else None, since=since, due_at=due,
        overdue_at=since + timedelta(days=limit) if limit and since is not None else None,
    )  # fmt: skip
