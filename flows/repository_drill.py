"""What a drill of pgBackRest's repositories restores, and what it brought. Pure but for the decision's entry.

A set at random, to the end of its WAL: the archive tells when segments came, not when somebody committed last, and PostgreSQL
takes a moment after the last commit for an error. Whoever wants a moment gives one: `--to`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime

from flows.drilling import Asked, Chosen, next_turn
from flows.engine import Brought
from flows.repositories import Offer, pick_offers, stretch_of
from recoverd.backup.target import Kind, parse_target
from recoverd.drills import MIXED, Drill
from recoverd.journal import Entry
from recoverd.step import decide
from recoverd.timeline.phases import decision_of, name_of
from tasks.pgbackrest import RepoView


@decide("choose what the drill of {service} restores")
def choose_drill(
    service: str, run: str, views: tuple[RepoView, ...], sites: Sequence[str], past: Sequence[Drill], asked: Asked
) -> Chosen:
    """The answer is kept when the run is resumed."""
    return pick_drill(run, views, sites, past, asked)


def pick_drill(
    run: str, views: tuple[RepoView, ...], sites: Sequence[str], past: Sequence[Drill], asked: Asked
) -> Chosen:
    """The turn that is longest ago, and a set at random among those that lead to the end of their WAL.

    Args:
        run: Id of the run: it decides the chance, so that the same run always picks the same.
        views: What the repositories hold.
        sites: Their names, in the order of the inventory.
        past: Drills of the service, the oldest first.
        asked: What a person wants; the rest is chosen.
    """
    turn = asked.site or next_turn(sites, past)
    named = tuple(sites) if turn == MIXED else tuple(turn.split(","))
    unknown = [name for name in named if name not in sites]
    if unknown:
        return Chosen(turn=turn, refusal=f"there is no site {unknown[0]}")
    found = pick_offers(views, parse_target(Kind.LATEST.value), "", named)
    chosen = Chosen(
        turn=turn, sites="" if turn == MIXED else ",".join(named), newest_at=_newest_at(views, found.offers),
        held=tuple(dict.fromkeys(one.label for view in views if view.reached for one in view.info.sets)),
    )  # fmt: skip
    if asked.set or asked.to:
        return chosen.model_copy(update={"set": asked.set, "to": asked.to, "why": "as asked for"})
    if found.refusal:
        return chosen.model_copy(update={"refusal": "; ".join([found.refusal, *found.passed_over])})
    sets = sorted({one.set for one in found.offers})
    number = random.Random(run).randrange(len(sets))  # noqa: S311 - no secret, and the same again after a restart
    update = {"set": sets[number], "to": Kind.LATEST.value, "why": f"at random among {len(sets)}"}
    return chosen.model_copy(update=update)


def _newest_at(views: tuple[RepoView, ...], offers: tuple[Offer, ...]) -> datetime | None:
    """When the last WAL came that any of the offers leads to."""
    read = tuple(view for view in views if view.reached)
    ends = [
        stretch_of(view, one, read).until
        for offer in offers
        for view in read
        for one in view.info.sets
        if (view.site, one.label) == (offer.site, offer.set)
    ]
    return max((end for end in ends if end is not None), default=None)


def what_was_brought(entries: Sequence[Entry]) -> Brought:
    """By the last set that was restored: what could not be had before it is among the bad files."""
    done = [entry.body["data"] for entry in entries if entry.kind == "step.done" and name_of(entry) == "bring_set"]
    point = str(decision_of(entries, "choose_offers").get("target") or "")
    if not done:
        return Brought(point=point)
    return Brought(set=done[-1]["set"], sites=(done[-1]["site"],), point=point, bytes=int(done[-1]["bytes"]))
