"""Having hosts refuse older runs: before one server is promoted, no other may be promoted any more by a run that is late.

A host refuses an epoch that is older than the newest it has seen (tasks/scripts/prelude.sh), and it only knows of runs that
did something there. So the epoch is noted on all of them. That changes nothing of the service, and may be repeated at will.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial

from recoverd.errors import RecoverdError, Stale
from recoverd.inventory import Service
from recoverd.step import observe
from recoverd.world import world
from tasks.hosts import run_script
from tasks.together import together
from tasks.views import Answer, Facts, ServiceView

NOTE_TIMEOUT_S = 2.0


class Epochs(Facts):
    """Which hosts refuse runs that are older than this one."""

    epoch: int
    noted: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if not self.epoch:
            return "a plan has no epoch, and notes none"
        words = f"{', '.join(self.noted) or 'no host'} refuses runs older than epoch {self.epoch}"
        return f"{words}; not reached: {', '.join(self.missing)}" if self.missing else words


@observe("have the hosts of {service} refuse older runs")
def note_epochs(service: str) -> Epochs:
    """Note this run's epoch on every member's host that can be reached, at once.

    Raises:
        Stale: One of them has seen a newer run: this one has lost its target.
    """
    here = world()
    if here.dry_run:
        return Epochs(epoch=0, noted=(), missing=())
    wanted = here.inventory.service(service)
    noted = together({host: partial(note_epoch, wanted, host) for host in wanted.hosts})
    return Epochs(
        epoch=here.epoch,
        noted=tuple(host for host, done in noted.items() if done),
        missing=tuple(host for host, done in noted.items() if not done),
    )


@contextmanager
def noting_epochs(service: str, view: ServiceView, apart_from: str) -> Iterator[Callable[[], ServiceView]]:
    """Note it beside what the block does, so that nobody waits for it.

    Only on hosts that could be asked at the last look, for one that is silent would take its time; and not on one that is
    fenced in the block, which notes it with that.

    Yields:
        A function that waits until all are done, and gives the view with the epochs that were noted. What a late run has
        told a host to do shows in any look after that, and nothing more can come. Raises Stale where a host has seen a
        newer run.
    """
    here = world()
    wanted = here.inventory.service(service)
    hosts = [host.host for host in view.hosts if host.answer is Answer.YES and host.host != apart_from]
    with ThreadPoolExecutor(max_workers=max(1, len(hosts)), thread_name_prefix="epoch") as pool:
        noting = {host: pool.submit(copy_context().run, note_epoch, wanted, host) for host in hosts}

        def noted() -> ServiceView:
            done = {host for host, future in noting.items() if future.result()}
            known = (
                host.model_copy(update={"epoch": here.epoch}) if host.host in done else host for host in view.hosts
            )
            return view.model_copy(update={"hosts": tuple(known)})

        yield noted


def note_epoch(service: Service, host: str) -> bool:
    """Note it on one host; False where that was not possible in time. A dry run, which has no epoch, notes nothing.

    Raises:
        Stale: The host has seen a newer run.
    """
    here = world()
    if here.dry_run:
        return False
    try:
        here.connections.ssh(host, timeout_s=here.policy.probe_timeout_s)
        run_script("guard", service, host, {}, timeout_s=NOTE_TIMEOUT_S)
    except Stale:
        raise
    except RecoverdError as error:
        here.say(f"{host} may still obey an older run: {error.message}")
        return False
    return True
