"""What it cost: the recovery time by phase, and what of the data is lost or may be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import Field

from flows.ending import Ending
from flows.fence import note_summary
from flows.verdict import Diagnosis
from recoverd.journal import Entry
from recoverd.step import observe
from recoverd.timeline.phases import milestone_of
from recoverd.world import world
from tasks.proof import WriteProof
from tasks.salvage import Loss, survey_loss
from tasks.views import Answer, Facts


class Phase(Facts):
    """A stretch of the recovery: what ended it, when, and how long it took."""

    name: str
    ended_at: datetime
    seconds: float


class Account(Facts):
    """The measured cost of a failover against the service's objectives.

    Attributes:
        began_at: What recovery time is measured from: the alert's startsAt; for a run by hand, its request.
        rto_s: From there to the first committed write through an entry point; None when nothing was proven.
        rto_objective_s: What the inventory allows.
        loss: WAL that never reached the new primary.
        rpo_objective_bytes: What the inventory allows; None where it gives seconds.
        dropped: By standby that was not promoted: bytes of WAL that it held beyond the new primary.
    """

    service: str
    old_primary: str
    new_primary: str
    began_at: datetime
    phases: tuple[Phase, ...]
    rto_s: float | None
    rto_objective_s: int
    loss: Loss
    rpo_objective_bytes: int | None
    missing_standbys: tuple[str, ...] = ()
    dropped: dict[str, int] = Field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The run in one sentence."""
        took = "with no write proven" if self.rto_s is None else f"in {self.rto_s:.2f} s"
        words = [f"{self.service} failed over from {self.old_primary} to {self.new_primary} {took}"]
        words.append(self.loss.summary)
        words += [
            f"{host} holds {size} bytes of WAL that {self.new_primary} does not have; they are saved when it rejoins"
            for host, size in self.dropped.items()
        ]
        if self.missing_standbys:
            words.append("; ".join(self.missing_standbys))
        return "; ".join(words)


@observe("account for the failover of {service}", time_limit_s=60.0)
def account(
    service: str,
    diagnosis: Diagnosis,
    new: str,
    proofs: tuple[WriteProof, ...],
    ending: Ending,
    dropped: dict[str, int] | None = None,
) -> Account:
    """Measure the run by its own journal, and what was lost as far as the old primary can still be asked.

    Args:
        service: The service.
        diagnosis: What was the matter, with the old primary.
        new: The new primary.
        proofs: The writes that users' hosts committed.
        ending: What was true in the end.
        dropped: By standby: bytes of WAL that it held beyond the new primary when that was chosen.
    """
    here = world()
    objectives = here.inventory.service(service).objectives
    began_at, entries = _beginning(), _entries()
    reached = phases(began_at, here.run.created_at, entries, [proof.committed_at for proof in proofs])
    first_write = min((proof.committed_at for proof in proofs), default=None)
    found = Account(
        service=service,
        old_primary=diagnosis.primary,
        new_primary=new,
        began_at=began_at,
        phases=reached,
        rto_s=None if first_write is None else (first_write - began_at).total_seconds(),
        rto_objective_s=objectives.rto_s,
        loss=_loss(service, diagnosis.primary, new),
        rpo_objective_bytes=None if objectives.rpo_s is not None else objectives.rpo_bytes,
        missing_standbys=ending.missing,
        dropped=dropped or {},
    )
    note_summary(found.summary)
    return found


def phases(
    began_at: datetime, received_at: datetime, entries: Iterable[Entry], writes: Sequence[datetime]
) -> tuple[Phase, ...]:
    """The phases of a failover, from the entries of its run; one that did not happen is left out."""
    done: dict[str, datetime] = {"received": received_at}
    for entry in entries:
        name = milestone_of(entry)
        if name is not None:
            done[name] = entry.at
        if entry.kind == "run.started":
            done.setdefault("started", entry.at)
    if writes:
        done["write proven"] = min(writes)
    marks = sorted((at, name) for name, at in done.items())
    before = [began_at, *(at for at, _ in marks)]
    return tuple(
        Phase(name=name, ended_at=at, seconds=round((at - earlier).total_seconds(), 4))
        for (at, name), earlier in zip(marks, before, strict=False)
    )


def _beginning() -> datetime:
    here = world()
    starts_at = here.run.options.get("starts_at")
    return datetime.fromisoformat(str(starts_at).replace("Z", "+00:00")) if starts_at else here.run.created_at


def _entries() -> list[Entry]:
    here = world()
    return [] if here.journal is None else list(here.journal.entries(run=here.run.id))


def _loss(service: str, old: str, new: str) -> Loss:
    from tasks.hosts import view_host

    here = world()
    wanted = here.inventory.service(service)
    if view_host(wanted, old, connect_timeout_s=here.policy.probe_timeout_s).answer is not Answer.YES:
        return Loss(known=False, reason=f"{old} is off; what it had not sent is saved and counted when it rejoins")
    return survey_loss(service, old, new)
