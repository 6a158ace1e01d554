"""Runs of procedures on a lab, executed in this process without Prefect around them, and what they left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.catalogue import procedure
from deployments.start import start
from lab import Lab
from lab.roles import role, writers
from recoverd.errors import RecoverdError
from recoverd.journal import Entry, Journal, Mode, RunRow
from recoverd.settings import settings

SERVICE = "orders-db"


@dataclass
class Controller:
    """A recoverd of its own: a home directory with a journal, and the lab's inventory."""

    lab: Lab
    home: Path
    inventory: Path
    journal: Journal
    target: str = SERVICE

    def request(self, name: str = "failover", *, mode: Mode = "act", by: str = "sre", **options: Any) -> RunRow:
        """Start a run as a person would."""
        return start(
            name,
            self.target,
            trigger="hand",
            requester=by,
            reason="a test",
            mode=mode,
            options=options,
            journal=self.journal,
        )

    def execute(self, run: RunRow) -> RunRow:
        """Execute it here; whatever it raises is in the row."""
        with suppress(RecoverdError):  # the run's own record says so, and the tests read that
            procedure(run.procedure).flow().fn(run.target, run.id, run.reason, run.options)
        return self.journal.get_run(run.id)

    def run(self, name: str = "failover", **options: Any) -> RunRow:
        """Request and execute."""
        return self.execute(self.request(name, **options))

    def entries(self, run: RunRow, *kinds: str) -> list[Entry]:
        """What the run wrote down."""
        return list(self.journal.entries(run=run.id, kinds=kinds or None))

    def done(self, run: RunRow) -> list[str]:
        """The names of the acts that brought their effect about, in order."""
        return [name(entry) for entry in self.entries(run, "step.done") if entry.body["changed"]]

    def changed_nothing(self, run: RunRow) -> bool:
        """Whether the run never even meant to change anything."""
        return not self.entries(run, "step.intended", "step.done")

    def policy(self, **lines: object) -> None:
        """Change the policy of the copy of the inventory that this controller has."""
        path = self.inventory / "policies.yaml"
        text = path.read_text()
        for key, value in lines.items():
            kept = [line for line in text.splitlines() if not line.strip().startswith(f"{key}:")]
            text = "\n".join([*kept, f"    {key}: {value}", ""])
        path.write_text(text)


@contextmanager
def controller(lab: Lab, home: Path) -> Iterator[Controller]:
    """A controller whose home is `home`, for as long as the block lasts."""
    inventory = home / "inventory"
    shutil.copytree(lab.inventory, inventory, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOVERD_HOME", str(home))
        patch.setenv("RECOVERD_INVENTORY", str(inventory))
        settings.cache_clear()
        journal = Journal.open()
        try:
            yield Controller(lab, home, inventory, journal)
        finally:
            journal.close()
    settings.cache_clear()


def name(entry: Entry) -> str:
    """The step's function, without its arguments."""
    return (entry.step or "").partition("(")[0]


def roles(lab: Lab) -> dict[str, str]:
    """What every database host's PostgreSQL is now, asked from inside; a host that is off is `off`."""
    return {host.name: role(host) if lab.is_on(host.name) else "off" for host in lab.layout.databases}


def only_writer(lab: Lab) -> str:
    """The one server that takes writes; the test fails when there is none, or two."""
    found = writers(lab.layout)
    assert len(found) == 1, found
    return found[0]


def address_holders(lab: Lab) -> list[str]:
    """Hosts that hold the service's virtual address."""
    return [host.name for host in lab.status().hosts if host.virtual_address]
