"""What a run carries with it: reached by steps through `world()`, never passed as an argument.

Names cross process borders, objects do not: a step gets the names of services and hosts, and looks up here what they
mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from recoverd.connections import Connections
from recoverd.errors import RecoverdError
from recoverd.inventory import Inventory, Policy, Service
from recoverd.journal import Journal, RunRow
from recoverd.locks import Lease


@dataclass(frozen=True)
class PlannedStep:
    """One line of a plan: what a step found, or would do."""

    kind: str
    key: str
    title: str
    finding: str
    changes: bool = False
    irreversible: str = ""


@dataclass
class World:
    """Everything one run works with.

    Attributes:
        run: The run's row as it was when this execution began.
        lease: The lock on the target; None in a dry run, which needs none.
        beside: Other locks that the run holds.
        leases: By host, the locks of a run on hosts; it has no `lease` then.
        dry_run: Acts only say what they would do.
        planned: What a dry run has gathered, in order.
        say: Told one line a step, for a terminal or a log.
    """

    run: RunRow
    inventory: Inventory
    journal: Journal | None
    connections: Connections
    lease: Lease | None = None
    beside: list[Lease] = field(default_factory=list)
    leases: Mapping[str, Lease] = field(default_factory=dict)
    dry_run: bool = False
    planned: list[PlannedStep] = field(default_factory=list)
    say: Callable[[str], None] = lambda _line: None

    @property
    def service(self) -> Service:
        """The service that the run works on."""
        return self.inventory.service(self.run.target)

    @property
    def policy(self) -> Policy:
        """The policy of that service, or of the backup of files."""
        return self.inventory.policy_of(self.run.target)

    @property
    def epoch(self) -> int:
        """The epoch of the lock, which hosts compare; 0 in a dry run."""
        return self.lease.epoch if self.lease else 0

    def epoch_of(self, host: str) -> int:
        """The epoch of the lock on a host, for a run on hosts; that of the run's target otherwise."""
        return self.leases[host].epoch if host in self.leases else self.epoch

    def check_leases(self, host: str = "") -> None:
        """Raise Stale unless the run still holds its target, or of its hosts this one; without a name all of them."""
        if self.lease is not None:
            self.lease.check()
        for name, lease in self.leases.items():
            if host in {"", name}:
                lease.check()

    def foresee(self, kind: str, key: str, title: str, finding: str) -> None:
        """Add a line to the plan of a dry run."""
        self.planned.append(PlannedStep(kind, key, title, finding))
        self.say(f"{title}: {finding}")


_current: ContextVar[World] = ContextVar("recoverd_world")


def world() -> World:
    """The world of the run that is being executed.

    Raises:
        RecoverdError: No run is being executed; a programming error.
    """
    try:
        return _current.get()
    except LookupError:
        raise RecoverdError(
            "a step was called outside of a run", "start it with `recoverd run` or `recoverd plan`"
        ) from None


@contextmanager
def entered(here: World) -> Iterator[World]:
    """Make a world the current one."""
    token = _current.set(here)
    try:
        yield here
    finally:
        _current.reset(token)
