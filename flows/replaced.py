"""What a replacement cost: how long users were without the service, and how much of their work is not in what was restored."""

from __future__ import annotations

from datetime import datetime

from flows.accounting import Phase, phases
from flows.copying import Copy
from flows.ending import Ending
from flows.seat import Seat
from recoverd.step import observe
from recoverd.world import world
from tasks.proof import WriteProof
from tasks.views import Facts


class Account(Facts):
    """The measured cost of a replacement against the service's objectives.

    Attributes:
        began_at: What recovery time is measured from: the alert's startsAt; for a run by hand, its request.
        rto_s: From there to the first committed write through an entry point; None when nothing was proven.
        stopped_at: When the service took its last write: when it was fenced; None when nobody took writes before.
        outage_s: From there to that first write.
        reached_at: Up to when what was restored has commits.
        rpo_s: From there to the fence, or to the request where nobody took writes: work of that time is not in it.
        kept: Where the old data is.
    """

    service: str
    host: str
    set: str
    target: str
    began_at: datetime
    phases: tuple[Phase, ...]
    rto_s: float | None
    rto_objective_s: int
    stopped_at: datetime | None
    outage_s: float | None
    reached_at: datetime | None
    rpo_s: float | None
    rpo_objective_s: int | None
    kept: str
    missing_standbys: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The run in one sentence."""
        took = "with no write proven" if self.rto_s is None else f"in {self.rto_s:.2f} s"
        words = [f"the data of {self.service} on {self.host} was replaced with {self.set} as of {self.target} {took}"]
        if self.outage_s is not None:
            words.append(f"writes were interrupted for {self.outage_s:.2f} s")
        if self.rpo_s is not None:
            words.append(f"{self.rpo_s:.1f} s of work before that are not in it, but in the old data")
        words.append(f"the old data is kept as {self.kept}" if self.kept else "there was no old data on that host")
        return "; ".join([*words, *self.missing_standbys])


@observe("account for the replacement of {service}", time_limit_s=60.0)
def account(
    service: str, seat: Seat, copy: Copy, proofs: tuple[WriteProof, ...], ending: Ending, missing: tuple[str, ...]
) -> Account:
    """Measure the run by its own journal."""
    here = world()
    objectives = here.inventory.service(service).objectives
    entries = [] if here.journal is None else list(here.journal.entries(run=here.run.id))
    starts_at = here.run.options.get("starts_at")
    began = datetime.fromisoformat(str(starts_at).replace("Z", "+00:00")) if starts_at else here.run.created_at
    write = min((proof.committed_at for proof in proofs), default=None)
    fences = [
        entry.at
        for entry in entries
        if entry.kind == "step.intended" and (entry.step or "").startswith("fence_by_ssh(")
    ]
    stopped = min(fences, default=None) if seat.primaries else None
    reached = max((at for at in (copy.reached_at, copy.heartbeat_at) if at is not None), default=None)
    old = here.journal.outcome(here.run.id, f"put_in_place({service},{seat.host})") if here.journal else None
    return Account(
        service=service, host=seat.host, set=copy.set, target=copy.target, began_at=began,
        phases=phases(began, here.run.created_at, entries, [proof.committed_at for proof in proofs]),
        rto_s=None if write is None else (write - began).total_seconds(), rto_objective_s=objectives.rto_s,
        stopped_at=stopped, outage_s=(write - stopped).total_seconds() if write and stopped else None, reached_at=reached,
        rpo_s=((stopped or began) - reached).total_seconds() if reached else None, rpo_objective_s=objectives.rpo_s,
        kept=str(old["data"]["kept"]) if old else "", missing_standbys=(*ending.missing, *missing),
    )  # fmt: skip
