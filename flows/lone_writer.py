"""Whether anybody else may take writes: asked before a server is started as the primary, by a run that may go on late."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from flows.fence import fence_primary
from recoverd.errors import Look, RecoverdError
from recoverd.world import world
from tasks.epochs import note_epochs
from tasks.fencing import power_off
from tasks.observation import observe_service
from tasks.views import Answer, ServiceView

_MAKES_A_PRIMARY = ("promote(", "reinstate(", "start_restored(")


def told_by_others() -> set[str]:
    """Servers of the service that other runs have told to be its primary since this one was requested."""
    here = world()
    if here.journal is None:
        return set()
    return {
        str(entry.body["arguments"]["host"])
        for entry in here.journal.entries(kinds=["step.intended"], after=here.run.seq)
        if entry.run != here.run.id
        and (entry.step or "").startswith(_MAKES_A_PRIMARY)
        and entry.body["arguments"].get("service") == here.run.target
    }


def was_away() -> bool:
    """Whether others may have acted since this run first meant to stop a server: it had died, or another run had the lock.

    Not so while it only waited for a person: what other runs do then needs the lock, and is known from it.
    """
    here = world()
    if here.journal is None or here.lease is None:
        return False
    meant = here.journal.entries(run=here.run.id, kinds=["step.intended"])
    first = next((entry.seq for entry in meant if (entry.step or "").startswith(("fence_by_ssh(", "power_off("))), None)
    released = False
    for entry in here.journal.entries(kinds=["lock.acquired", "lock.released"], after=first or 0) if first else ():
        if entry.body["target"] != here.lease.target:
            continue
        taken = entry.kind == "lock.acquired"
        if taken and (entry.run != here.run.id or not released):
            return True
        released = not taken
    return False


def proven_off() -> set[str]:
    """Hosts that this run has powered off, and that their device still says are off."""
    here = world()
    off = set()
    for entry in here.journal.entries(run=here.run.id, kinds=["step.intended"]) if here.journal else ():
        if not (entry.step or "").startswith("power_off("):
            continue
        with suppress(RecoverdError):
            if power_off.ask(**entry.body["arguments"]) is not None:
                off.add(str(entry.body["arguments"]["host"]))
    return off


def moved_on(view: ServiceView, spoken_of: Collection[str], told: Collection[str]) -> str:
    """Who serves users by now, apart from those that a run has spoken of; empty for nobody."""
    others = [host for host in view.primaries if host not in spoken_of]
    if others:
        return f"{others[0]} has become the primary of {view.service} since this run began"
    unseen = sorted(host for host in told if host not in spoken_of and not _stands_by(view, host))
    return (
        f"{unseen[0]} was told to promote itself since this run began, and is not seen to be a standby"
        if unseen
        else ""
    )


def other_writer(
    view: ServiceView, host: str, told: Collection[str], all_answer: bool, off: Collection[str] = ()
) -> str:
    """Why no primary may be started on a host; empty where it may.

    Args:
        view: What is seen.
        host: Where it would be started.
        told: Servers that others have told to be the primary since.
        all_answer: A member of which nothing is known counts too.
        off: Hosts that are proven to be off.
    """
    if others := [other for other in view.primaries if other != host]:
        return f"{others[0]} takes writes by now"
    if unseen := sorted(other for other in told if other not in {host, *off} and not _stands_by(view, other)):
        return f"{unseen[0]} was told to promote itself, and is not seen to be a standby"
    if all_answer and (silent := [other for other in unknown(view, host) if other not in off]):
        return f"{silent[0]} cannot be asked whether it takes writes by now"
    return ""


def unknown(view: ServiceView, host: str) -> tuple[str, ...]:
    """Members, apart from one, that are seen neither as a standby nor as stopped."""
    return tuple(
        seen.host
        for seen in view.hosts
        if seen.host != host
        and not _stands_by(view, seen.host)
        and not (seen.answer is Answer.YES and not seen.running and not seen.processes)
    )


def refuse_another_writer(service: str, host: str) -> None:
    """Before restored data is started: no other member may take writes, also where this run was away for hours.

    Members of which nothing is known are fenced once more, which is nothing new where their fence still holds.

    Raises:
        Look: Another server takes writes, or was told to.
    """
    here = world()
    if here.dry_run or here.journal is None or here.journal.outcome(here.run.id, f"start_restored({service},{host})"):
        return
    note_epochs(service)
    view = observe_service(service)
    if why := other_writer(view, host, told_by_others(), all_answer=False):
        raise Look(
            f"the restored data on {host} is not started: {why}",
            f"`recoverd run rejoin {service}` lets {host} follow it; or stop that server, then resume the run",
        )
    for other in unknown(view, host):
        fence_primary(service, other, view)


def _stands_by(view: ServiceView, host: str) -> bool:
    """It answers as a standby, or would start as one, and nobody has told it to promote itself just now."""
    server, seen = view.server(host), view.host(host)
    if seen.promoting:
        return False
    stopped = seen.answer is Answer.YES and not seen.running and not seen.processes and seen.standby_signal
    return stopped or (server.answer is Answer.YES and server.in_recovery)
