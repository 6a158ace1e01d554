"""Hosts that a run of ours powered off as a fence are powered on again before they rejoin."""

from __future__ import annotations

from collections.abc import Iterable

import tenacity

from recoverd.errors import Unreachable
from recoverd.step import observe
from recoverd.world import world
from tasks.fencing import devices_of, power_on
from tasks.hosts import view_host
from tasks.views import Answer, HostView

BOOT_LIMIT_S = 120.0


def power_on_again(service: str, host: str) -> bool:
    """Power a host on where a run of ours has powered it off, or the options say so; whether it then answers."""
    here, wanted = world(), world().inventory.service(service)
    devices = devices_of(wanted, host)
    device = cut_off_by(_steps_done(service), host, devices)
    if not device and here.run.options.get("power_on") and devices:
        device = devices[0]
    if not device:
        return False
    power_on(service, host, device)
    return here.dry_run or wait_for_boot(service, host).answer is Answer.YES


@observe("wait until {host} answers over SSH", time_limit_s=BOOT_LIMIT_S + 30)
def wait_for_boot(service: str, host: str) -> HostView:
    """A host that boots needs a while until its sshd answers.

    Raises:
        Unreachable: It does not answer within two minutes.
    """
    wanted = world().inventory.service(service)
    waiting = tenacity.Retrying(
        stop=tenacity.stop_after_delay(BOOT_LIMIT_S),
        wait=tenacity.wait_fixed(0.2),
        retry=tenacity.retry_if_result(lambda view: view.answer is Answer.SILENT),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    view: HostView = waiting(view_host, wanted, host, connect_timeout_s=1.0)
    if view.answer is not Answer.YES:
        raise Unreachable(
            f"{host} was powered on, but does not answer: {view.problem}", f"look at the console of {host}"
        )
    return view


def _steps_done(service: str) -> list[tuple[str, bool]]:
    here = world()
    if here.journal is None:
        return []
    runs = {row.id for row in here.journal.list_runs(target=service)}
    return [
        (entry.step or "", bool(entry.body.get("changed")))
        for entry in here.journal.entries(kinds=["step.done"])
        if entry.run in runs
    ]


def cut_off_by(entries: Iterable[tuple[str, bool]], host: str, devices: Iterable[str]) -> str:
    """The fence device by which a run of ours powered a host off and none powered it on again; empty if none.

    Args:
        entries: Step and whether it changed something, of all runs on the service, oldest first.
        host: The host.
        devices: Its fence devices.
    """
    found, known = "", set(devices)
    for step, changed in entries:
        name, _, rest = step.partition("(")
        words = rest.rstrip(")").split(",")
        if changed and len(words) == 3 and words[1] == host and words[2] in known:
            found = {"power_off": words[2], "power_on": ""}.get(name, found)
    return found
