"""Containments as the journal has them: which stand, where, and which should have ended by now."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from recoverd.journal import Journal, Transaction

CONTAINED = "contain.begun"
"""Written before the first host is touched, so that a run that dies half-way is released in time, too."""


class Containment(BaseModel):
    """What one run contains.

    Attributes:
        target: What the run was on, as it was named.
        hosts: The hosts that this meant.
        until: When it ends by itself; None: when it is released.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    target: str
    hosts: tuple[str, ...]
    accounts: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    until: datetime | None = None

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        what = " and ".join(filter(None, (", ".join(self.accounts), ", ".join(self.networks))))
        until = f"until {self.until:%Y-%m-%d %H:%M:%S} UTC" if self.until else "until it is released"
        return f"{what} contained on {', '.join(self.hosts)} {until}"


def note_containment(tx: Transaction, containment: Containment) -> Containment:
    """Write down what a run is about to contain, once: the first deadline counts, also when the run is resumed."""
    for entry in tx.entries(run=containment.run, kinds=[CONTAINED]):
        return Containment.model_validate(entry.body)
    body = {"summary": containment.summary, **containment.model_dump(mode="json")}
    tx.append(CONTAINED, who="recoverd", run=containment.run, body=body)
    return containment


def standing(record: Journal | Transaction, host: str | None = None) -> tuple[Containment, ...]:
    """Containments that nobody has taken back, of one host or of any, the oldest first.

    A run that is still under way stands, too; one that never changed anything does not.
    """
    found = (Containment.model_validate(entry.body) for entry in record.entries(kinds=[CONTAINED]))
    return tuple(one for one in found if (host is None or host in one.hosts) and _stands(record, one.run))


def overdue(containments: Iterable[Containment], now: datetime) -> tuple[Containment, ...]:
    """Those whose time is over. Pure."""
    return tuple(one for one in containments if one.until is not None and one.until <= now)


def _stands(record: Journal | Transaction, run: str) -> bool:
    row = record.find_run(run)
    if row is None or row.state in {"undone", "refused"}:
        return False
    return not row.ended or any(True for _ in record.entries(run=run, kinds=["step.intended"], limit=1))
