"""How long a restore would take, by the drills and restores of the past. The rule is pure; it reads the journal for plans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from statistics import median

from flows.measuring import phase_seconds
from recoverd.backup.manifest import Manifest
from recoverd.drills import Drill, past_drills
from recoverd.journal import Journal, RunRow
from recoverd.timeline.phases import name_of
from recoverd.world import world
from tasks.views import Facts

MOST_SAMPLES = 20
_GROWING = {"fetch", "unpack"}


class Sample(Facts):
    """A restore of the past: what it brought, how long bringing it took, and how long all the rest."""

    bytes: int
    moving_s: float
    fixed_s: float


class Prediction(Facts):
    """How long a restore would take.

    Attributes:
        rto_s: None while there is nothing to tell it from.
        samples: How many restores and drills it was told from.
    """

    rto_s: float | None
    samples: int

    @property
    def summary(self) -> str:
        """One line for a plan."""
        if self.rto_s is None:
            return "no drill yet, so nobody knows how long it takes: recoverd drill restore SERVICE"
        return f"about {duration(self.rto_s)}, by {self.samples} drills and restores of the past"


def predict(samples: Sequence[Sample], size: int) -> Prediction:
    """The median of the fixed parts, and the bytes at the median of the rates: one odd day does not change it."""
    moved = [one for one in samples if one.bytes > 0 and one.moving_s > 0]
    if not moved:
        return Prediction(rto_s=None, samples=0)
    rate = median(one.bytes / one.moving_s for one in moved)
    return Prediction(rto_s=median(one.fixed_s for one in moved) + size / rate, samples=len(moved))


def sample_of(size: int, seconds: dict[str, float]) -> Sample:
    """A restore of the past, by its phases."""
    moving = sum(value for phase, value in seconds.items() if phase in _GROWING)
    return Sample(bytes=size, moving_s=moving, fixed_s=sum(seconds.values()) - moving)


def of_drills(drills: Iterable[Drill]) -> list[Sample]:
    """Drills that passed in one go."""
    return [sample_of(one.bytes, one.seconds) for one in drills if one.passed and not one.interrupted]


def of_restores(journal: Journal, service: str) -> list[Sample]:
    """Restores that succeeded in one go, the newest first."""
    rows = journal.list_runs(procedure="restore", target=service, states=["succeeded"], limit=MOST_SAMPLES)
    return [sample for row in rows if (sample := _of_restore(journal, row)) is not None]


def _of_restore(journal: Journal, row: RunRow) -> Sample | None:
    entries = list(journal.entries(run=row.id, kinds=["step.observed", "step.decided", "step.done", "run.resumed"]))
    if any(entry.kind == "run.resumed" for entry in entries):
        return None
    seen = next((entry.body["facts"] for entry in entries if name_of(entry) == "survey_sites"), None)
    chosen = next((entry.body["decision"] for entry in entries if name_of(entry) == "choose_point"), None)
    if not seen or not chosen:
        return None
    sizes = [sum(part["size"] for part in one["parts"]) for one in seen["manifests"] if one["set"] == chosen.get("set")]
    return sample_of(sizes[0], phase_seconds(entries)) if sizes else None


def foresee_times(service: str, manifest: Manifest, until: datetime | None = None) -> None:
    """Add to a plan how long the restore would take, and how old the data would be. A run that acts knows soon enough.

    Args:
        service: The service.
        manifest: Of the set that is restored.
        until: Where the WAL ends that leads on from it; None without any.
    """
    here = world()
    if not here.dry_run:
        return
    journal = here.journal or Journal.open()
    drills = past_drills(journal, service)[-MOST_SAMPLES:]
    found = predict([*of_drills(drills), *of_restores(journal, service)], manifest.size)
    end = until or manifest.ended_at
    what = f"{'the WAL' if until else 'the set'} ends at {end:%Y-%m-%d %H:%M:%S} UTC"
    age = duration((datetime.now(timezone.utc) - end).total_seconds())
    here.foresee("observe", "predict_rto", "predict how long it takes (RTO)", found.summary.replace("SERVICE", service))
    here.foresee(
        "observe",
        "predict_rpo",
        "predict what is lost (RPO)",
        f"{what}, {age} ago: what was written since is not in it",
    )


def duration(seconds: float) -> str:
    """Seconds in words: `8.4 s`, `12 min`, `3 h 20 min`, `4 d 2 h`."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 72 else f"{hours // 24} d {hours % 24} h"
