"""The fencing part of procedures: layer after layer until one is proven, or a person takes it upon them."""

from __future__ import annotations

from typing import Any

from flows.history import alarm_of
from flows.verdict import Diagnosis, judge
from recoverd.errors import RecoverdError, Stale, Unsafe
from recoverd.gate import gate
from recoverd.journal import Journal
from recoverd.step import Act, Outcome
from recoverd.world import world
from tasks.fencing import devices_of, fence_by_ssh, power_off
from tasks.views import Answer, ServiceView


def fence_primary(service: str, host: str, view: ServiceView) -> Outcome | None:
    """Make sure that the server on `host` takes no more writes: over SSH, else by its devices in their order.

    Returns:
        The proof; None when a person approved going on without one.

    Raises:
        Unsafe: No layer could be proven, and the policy does not let a person decide.
    """
    failures: list[str] = []
    wanted = world().inventory.service(service)
    _forget_a_fence_that_is_gone(service, host)
    if view.host(host).answer is Answer.YES:
        try:
            return fence_by_ssh(service, host)
        except Stale:
            raise
        except RecoverdError as error:
            failures.append(f"over SSH: {error.message}")
    else:
        failures.append(f"over SSH: {view.host(host).problem}")
    for device in devices_of(wanted, host):
        try:
            return power_off(service, host, device)
        except Stale:
            raise
        except RecoverdError as error:
            failures.append(f"by {device}: {error.message}")
    _ask_to_go_on(service, host, failures)
    return None


def _forget_a_fence_that_is_gone(service: str, host: str) -> None:
    """A run that goes on later does not trust the fence of its earlier execution: it may have been taken away since.

    Once it has promoted somebody, it is too late for that, and users come first.
    """
    here = world()
    if here.journal is None or _has_promoted(here.journal, here.run.id):
        return
    ways: list[tuple[Act[Any], tuple[str, ...]]] = [(fence_by_ssh, (service, host))]
    ways += [(power_off, (service, host, device)) for device in devices_of(here.inventory.service(service), host)]
    for act, arguments in ways:
        key = f"{act.function.__name__}({','.join(arguments)})"
        if here.journal.outcome(here.run.id, key) is None or _holds(act, arguments):
            continue
        body = {"title": f"fence {host}", "summary": "the fence does not hold any more", "by": here.run.id}
        here.journal.append("step.undone", who="recoverd", run=here.run.id, step=key, body=body)


def _has_promoted(journal: Journal, run: str) -> bool:
    done = journal.entries(run=run, kinds=["step.done"])
    return any((entry.step or "").startswith("promote(") for entry in done)


def _holds(act: Act[Any], arguments: tuple[str, ...]) -> bool:
    try:
        return act.ask(*arguments) is not None
    except Stale:
        raise
    except RecoverdError:
        return False


def fence_returned(service: str, diagnosis: Diagnosis) -> str:
    """An old primary that came back writable is fenced; the one that users belong to is left alone."""
    from tasks.observation import observe_service

    for host in diagnosis.returned:
        view = observe_service(service)
        now = judge(view, alarm_of(service))
        if host in view.primaries and host not in now.returned:  # a run that goes on later
            raise Stale(f"{host} was found to have come back, but now: {now.summary}", now.hint or "nothing was fenced")
        fence_primary(service, host, view)
    summary = (
        f"{', '.join(diagnosis.returned)} came back as a primary and was fenced; {diagnosis.primary} serves {service}"
    )
    note_summary(summary)
    return summary


def note_summary(summary: str) -> None:
    """Keep one sentence of result with the run."""
    here = world()
    if here.journal is not None and not here.dry_run:
        with here.journal.transaction() as tx:
            tx.note_run(here.run.id, summary=summary)


def _ask_to_go_on(service: str, host: str, failures: list[str]) -> None:
    reasons = "; ".join(failures)
    if world().policy.unfenced_promotion == "never":
        raise Unsafe(
            f"{host} could not be fenced, so nothing is promoted: {reasons}",
            f"cut {host} off by hand (power, network), give its member a fence device, and run it again",
        )
    gate(
        f"promote although {host} is not fenced",
        {"service": service, "not fenced": host},
        f"{host} could not be fenced ({reasons}). Promote another server of {service} all the same? "
        f"If {host} still runs, there will be two primaries: approve only when you know that it is off",
    )
