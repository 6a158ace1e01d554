"""`recoverd watch`: sentinels in the foreground, which raise their alerts into the same intake as those of `serve`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from deployments.catalogue import PROCEDURES
from deployments.start import start
from flows.history import remembered
from flows.verdict import judge
from gateway.intake import Intake
from gateway.metrics import Metrics
from gateway.routes import RouteTable
from gateway.sentinel import Sentinel
from gateway.writer import Writer
from recoverd.execution import rehearsal
from recoverd.inventory import Inventory
from recoverd.journal import Journal
from recoverd.settings import Settings
from tasks.observation import look


def watch_services(
    config: Settings, inventory: Inventory, names: Sequence[str], *, once: bool, say: Callable[[str], None]
) -> None:
    """Watch services until interrupted.

    Args:
        config: Where the journal is. The runs that alerts start are executed by the `recoverd serve` on it.
        inventory: What exists.
        names: The services.
        once: Look at each once, say what is seen, and end.
        say: Told every look.
    """
    journal = Journal.open(config.journal_address)
    if once:
        with contextlib.closing(journal):
            for name in names:
                with rehearsal("watch", name, inventory):
                    say(f"{name}: {judge(look(name, probe_write=True), remembered(journal, name)).summary}")
        return
    writer = Writer(journal)
    metrics = Metrics(journal, lambda: writer.waiting)
    intake = Intake(journal, writer, RouteTable(inventory, PROCEDURES), start, metrics)
    watching = [Sentinel(inventory.service(name), inventory, intake, journal, say) for name in names]
    writer.start()
    for sentinel in watching:
        sentinel.start()
    try:
        while all(sentinel.ready() for sentinel in watching):
            time.sleep(0.5)
    finally:
        for sentinel in watching:
            sentinel.stop()
        writer.stop()
        journal.close()
