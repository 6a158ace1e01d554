"""The steps around a fix: its plan made once for a run, looked at, and the rows that were left to others."""

from __future__ import annotations

from recoverd.errors import Refused
from recoverd.records.names import literal, quoted
from recoverd.records.wish import Wish, read_wish, takedown_wish
from recoverd.redact import MASK
from recoverd.step import Effect, act, observe
from recoverd.words import counted
from recoverd.world import world
from tasks.records_kept import Kept, find_plan
from tasks.records_plans import make_plan
from tasks.records_session import primary_session
from tasks.views import Facts

PLAN_LIMIT_S = 24 * 3600.0
MOST_SHOWN = 100


class LeftAlone(Facts):
    """Rows of a plan that were changed or deleted by others since it was made, by their keys; the first hundred of each."""

    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """For a sentence."""
        parts = [
            f"{words} {', '.join(keys[:10])}"
            for words, keys in (("changed", self.changed), ("gone", self.gone))
            if keys
        ]
        return "; ".join(parts)

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{counted(len(self.changed), 'row')} changed, {counted(len(self.gone), 'row')} gone since the plan: {self.shown}"


@observe("look for plan {digits} in the data of {service}")
def look_for_plan(service: str, digits: str) -> Kept | None:
    """The plan whose hash begins so; None where there is none. Raises as `find_plan`."""
    return find_plan(service, digits=digits)


def wish_of_run() -> Wish:
    """What the run is asked for, in the words of a fix.

    Raises:
        Invalid: It cannot be meant so.
        Refused: The journal has masked what looks like a secret in it, so that it says something else now.
    """
    run = world().run
    if any(isinstance(value, str) and MASK in value for value in run.options.values()):
        raise Refused(
            f"what was asked for holds {MASK}: the journal keeps nothing that looks like a secret",
            f"make the plan first, then run it by its hash: recoverd plan {run.procedure} {run.target} …",
        )
    if run.procedure != "takedown":
        return read_wish(run.options)
    return takedown_wish(world().inventory.data_of(run.target).takedown(str(run.options["rule"])), run.options)


def _is_prepared(service: str) -> Effect | None:
    kept = find_plan(service, owner=world().run.id)
    return Effect(kept.summary, {"hash": kept.hash, "rows": kept.manifest.rows}) if kept else None


@act("make the plan of the fix for {service}", ask=_is_prepared, time_limit_s=PLAN_LIMIT_S, retries=0)
def prepare_fix(service: str) -> None:
    """Make the plan of this run. It changes no record: the plan is a table in schema `recoverd`, and needs no taking back."""
    here = world()
    make_plan(service, wish_of_run(), here.run.id, here.run.requester)


@observe("look at the rows of plan {plan} that were left to others")
def look_at_conflicts(service: str, plan: str) -> LeftAlone:
    """Their keys, by what happened to them. Raises Refused where the plan is gone."""
    kept = find_plan(service, digits=plan)
    if kept is None:
        raise Refused(f"the plan {plan[:12]} is not there any more", "nothing more can be said of it")
    fix = kept.manifest
    key = " || ', ' || ".join(f"p.{quoted(one)}::text" for one in fix.kept_key)
    found: dict[str, tuple[str, ...]] = {}
    for why in ("changed", "gone"):
        sql = (
            f"select {key} as key from recoverd.fix_conflicts c join {fix.sql} p on p._n = c.n "
            f"where c.fix = {literal(fix.name)} and c.why = {literal(why)} order by p._n limit {MOST_SHOWN}"
        )
        found[why] = tuple(str(row["key"]) for row in primary_session(service).rows(sql, timeout_s=30.0))
    return LeftAlone(**found)
