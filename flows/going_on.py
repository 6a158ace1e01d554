"""A run that goes on later: after a crash, an approval, a resume. What it decided then may be about the past by now."""

from __future__ import annotations

from flows.verdict import Diagnosis, judge
from recoverd.errors import Stale
from recoverd.journal import Journal
from recoverd.world import world
from tasks.views import ServiceView


def has_begun(step: str = "") -> bool:
    """Whether this run has meant to change anything already, or has begun with a step."""
    here = world()
    if here.journal is None:
        return False
    meant = here.journal.entries(run=here.run.id, kinds=["step.intended"])
    return any((entry.step or "").startswith(step) for entry in meant)


def is_stopping() -> bool:
    """Whether this run has begun to stop the service; until then, nothing of it is touched."""
    return any(has_begun(step) for step in ("fence_by_ssh(", "power_off(", "put_in_place("))


def told_to_promote(run: str = "", journal: Journal | None = None) -> set[str]:
    """Servers that a run, else this one, has told to promote themselves, in whichever of its executions."""
    here = world()
    record = journal or here.journal
    if record is None:
        return set()
    meant = record.entries(run=run or here.run.id, kinds=["step.intended"])
    return {str(entry.body["arguments"]["host"]) for entry in meant if (entry.step or "").startswith("promote(")}


def refuse_another_primary(service: str, view: ServiceView, old: str) -> None:
    """Promote nobody beside a primary that this run knows nothing of: somebody else has taken over since.

    Raises:
        Stale: A server takes writes that is not the `old` primary, and that this run has not told to.
    """
    told = told_to_promote()
    others = [host for host in view.primaries if host != old and host not in told]
    if others:
        raise Stale(
            f"{others[0]} has become the primary of {service} since this run began with {old}",
            "nothing more is changed by this run; start a new one where it is needed",
        )


def refuse_if_past(service: str, diagnosis: Diagnosis, view: ServiceView) -> None:
    """Stop where the old primary serves again and nobody was promoted, or where somebody else has taken over.

    In the first execution of a run the view is the one that was diagnosed, and nothing is refused here. Once the fence has
    begun, a primary that is only silent is no reason to stop: going on is safer then.
    """
    if world().dry_run:
        return
    refuse_another_primary(service, view, diagnosis.primary)
    now = judge(view)
    if now.verdict.calls_for_failover and now.primary == diagnosis.primary:
        return
    if (diagnosis.primary in view.primaries and not told_to_promote()) or not has_begun():
        raise Stale(
            f"{diagnosis.primary} was found {diagnosis.verdict.value}, but now: {now.summary}",
            f"start it again if {service} still needs it",
        )
