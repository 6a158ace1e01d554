"""What the journal says of a service's past: when it failed over, who was promoted, and who was only told to."""

from __future__ import annotations

from datetime import datetime

from flows.verdict import Alarm
from recoverd.journal import Journal, State
from recoverd.world import world
from tasks.views import Answer, ServiceView

_MAY_HAVE_PROMOTED: tuple[State, ...] = ("succeeded", "failed", "cancelled", "requested", "running", "waiting")


def alarm_of(service: str) -> Alarm:
    """What the alert behind this run claims, and what the journal knows of the service's past."""
    here = world()
    options = here.run.options
    starts_at = options.get("starts_at")
    known = remembered(here.journal, service, apart_from=here.run.id)
    return known.model_copy(
        update={
            "starts_at": datetime.fromisoformat(str(starts_at).replace("Z", "+00:00")) if starts_at else None,
            "instance": str(options.get("instance") or ""),
            "last_failover_at": last_failover(service),
        }
    )


def remembered(journal: Journal | None, service: str, apart_from: str = "") -> Alarm:
    """The host that a run of ours promoted last, and to which timeline; for those who look without an alert, too.

    Args:
        journal: The journal; None where there is none, and nothing is known.
        service: The service.
        apart_from: A run that does not count.
    """
    if journal is None:
        return Alarm()
    for row in journal.list_runs(target=service, limit=20, states=_MAY_HAVE_PROMOTED):
        if row.id == apart_from or row.procedure not in {"failover", "switchover"}:
            continue
        for entry in journal.entries(run=row.id, kinds=["step.done"]):
            if (entry.step or "").startswith("promote("):
                data = entry.body["data"]
                return Alarm(last_promoted=str(data["host"]), promoted_timeline=int(data.get("timeline") or 0))
    return Alarm()


def last_failover(service: str, procedures: tuple[str, ...] = ("failover", "switchover")) -> datetime | None:
    """When the service's primary was last moved by one of the procedures, other than in this run."""
    here = world()
    if here.journal is None:
        return None
    ended = [
        row.ended_at
        for procedure in procedures
        for row in here.journal.list_runs(procedure=procedure, target=service, states=["succeeded"], limit=5)
        if row.id != here.run.id and row.ended_at is not None
    ]
    return max(ended, default=None)


def half_promoted(service: str, view: ServiceView, primary: str) -> list[str]:
    """Servers that an earlier run told to promote themselves and that do not say now that they are standbys.

    Such a run may have died or been cancelled in the middle; the server may take writes on the other side of a cut.
    """
    here, last = world(), last_failover(service)
    if here.journal is None:
        return []
    told: set[str] = set()
    for procedure in ("failover", "switchover"):
        for row in here.journal.list_runs(procedure=procedure, target=service, limit=20):
            if row.id == here.run.id or (last is not None and row.created_at < last):
                continue
            meant = here.journal.entries(run=row.id, kinds=["step.intended"])
            told |= {
                str(entry.body["arguments"]["host"]) for entry in meant if (entry.step or "").startswith("promote(")
            }
    standbys = {server.host for server in view.servers if server.answer is Answer.YES and server.in_recovery}
    return sorted(told - standbys - {primary})
