"""A lock a host, for runs on many hosts: all of them are taken or none, one thread renews them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recoverd.errors import RecoverdError, Stale
from recoverd.journal import Journal
from recoverd.locks import Lease, acquire_within


def lock_of(host: str) -> str:
    """What a run on a host locks."""
    return f"host:{host}"


@contextmanager
def holding(journal: Journal, hosts: Sequence[str], run: str, ttl_s: float) -> Iterator[dict[str, Lease]]:
    """The leases of a run on these hosts, by host, for as long as the block lasts.

    Raises:
        Busy: Another run holds one of them, and this one has changed nothing; none is taken then.
        GaveWay: Likewise, and this one has begun to change things.
    """
    with journal.transaction() as tx:  # in one order, so that two runs never wait for each other
        leases = {host: acquire_within(tx, journal, lock_of(host), run, ttl_s) for host in sorted(hosts)}
    stop = threading.Event()
    keeper = threading.Thread(
        target=_keep, args=(list(leases.values()), ttl_s / 3, stop), name=f"leases {run}", daemon=True
    )
    keeper.start()
    try:
        yield {host: leases[host] for host in hosts}
    finally:
        stop.set()
        keeper.join(timeout=ttl_s)
        with journal.transaction() as tx:
            for lease in leases.values():
                lease.release_within(tx)


def _keep(leases: list[Lease], every_s: float, stop: threading.Event) -> None:
    """Renew all of them, again and again; `check` still guards each act. One that is lost is lost, and the others are kept."""
    while not stop.wait(every_s):
        for lease in list(leases):
            try:
                lease.renew()
            except Stale:
                leases.remove(lease)
            except RecoverdError:
                continue  # a locked or lost database: try again while time is left
