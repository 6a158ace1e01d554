"""Isolated hosts as the journal has them: which stand, since when, whether it was proven, and how they are let back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recoverd.journal import Journal, Transaction
from recoverd.words import counted

ISOLATING, PROVEN, RELEASED = "isolate.begun", "isolate.proven", "release.done"
"""The first is written before the first host is touched: a run that dies half-way leaves hosts that must be let back, too."""


class Ward(BaseModel):
    """One host that a run has isolated, or was about to.

    Attributes:
        run: The run that did.
        target: What that run was on, as it was named.
        at: When it began: scans before that say nothing.
        layers: What cuts it off, in order.
        proven: Whether peers have found it cut off; None: nobody has come so far as to ask.
        why: What the proof said last.
        control: What peers reached before, by which they are asked again; what it means is recoverd/isolation/proof.py's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    host: str
    run: str
    target: str
    at: datetime
    layers: tuple[str, ...] = ()
    proven: bool | None = None
    why: str = ""
    control: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def summary(self) -> str:
        """One line."""
        state = {True: "proven", False: "not proven", None: "not yet proven"}[self.proven]
        return f"{self.host} isolated since {self.at:%Y-%m-%d %H:%M:%S} UTC by {self.run}, {state}"


def note_isolating(journal: Journal, run: str, target: str, layers: Mapping[str, Sequence[str]]) -> None:
    """Write down which hosts a run is about to isolate, and by what; once, also when it is resumed."""
    with journal.transaction() as tx:
        if any(True for _ in tx.entries(run=run, kinds=[ISOLATING], limit=1)):
            return
        body = {
            "summary": f"{counted(len(layers), 'host')} to be isolated: {', '.join(layers)}",
            "target": target,
            "layers": {host: list(some) for host, some in layers.items()},
        }
        tx.append(ISOLATING, who="recoverd", run=run, body=body)


def note_proof(
    journal: Journal, run: str, host: str, *, proven: bool, why: str, control: Mapping[str, Any] | None = None
) -> None:
    """Write down what peers said of a host; the newest counts.

    Args:
        control: What they reached before; none: what was written down of it stays.
    """
    body: dict[str, Any] = {"summary": why, "host": host, "proven": proven}
    if control is not None:
        body["control"] = dict(control)
    journal.append(PROVEN, who="recoverd", run=run, body=body)


def note_released(journal: Journal, run: str, host: str, of: Iterable[str]) -> None:
    """Write down that a host is back, and which runs had isolated it."""
    body = {"summary": f"{host} is let back", "host": host, "of": list(of)}
    journal.append(RELEASED, who="recoverd", run=run, body=body)


def standing(record: Journal | Transaction, host: str | None = None) -> tuple[Ward, ...]:
    """Hosts that a run has begun to isolate and nobody has let back, the oldest first; one a host and a run.

    A host that its run never touched (too many others had failed, or it was refused) does not stand.
    """
    found: dict[tuple[str, str], Ward] = {}
    for entry in record.entries(kinds=[ISOLATING, PROVEN, RELEASED]):
        run, body = str(entry.run), entry.body
        if entry.kind == ISOLATING:
            for name, layers in body["layers"].items():
                found[name, run] = Ward(host=name, run=run, target=body["target"], at=entry.at, layers=tuple(layers))
        elif entry.kind == PROVEN and (ward := found.get((body["host"], run))):
            more = {"control": body["control"]} if "control" in body else {}
            found[ward.host, run] = ward.model_copy(update={"proven": body["proven"], "why": body["summary"], **more})
        elif entry.kind == RELEASED:
            for earlier in body["of"]:
                found.pop((body["host"], earlier), None)
    touched = {run: _touched(record, run) for run in {ward.run for ward in found.values()}}
    return tuple(ward for ward in found.values() if host in {None, ward.host} and ward.host in touched[ward.run])


def by_host(wards: Iterable[Ward]) -> dict[str, tuple[Ward, ...]]:
    """The same, a host at a time, in their order."""
    found: dict[str, tuple[Ward, ...]] = {}
    for ward in wards:
        found[ward.host] = (*found.get(ward.host, ()), ward)
    return found


def _touched(record: Journal | Transaction, run: str) -> set[str]:
    """Hosts that a run meant to change something on."""
    intended = record.entries(run=run, kinds=["step.intended"])
    return {str(entry.body.get("arguments", {}).get("host", "")) for entry in intended}
