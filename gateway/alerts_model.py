"""What every sender's message becomes before anything is decided: alerts, and what was decided about each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, NewType

from recoverd.errors import Invalid

Status = Literal["firing", "resolved"]
Trigger = Literal["alert", "sentinel"]

Key = NewType("Key", str)
"""Tells an alert from every other: scope, fingerprint, start and status. The same key never acts twice."""

Outcome = Literal["started", "recorded", "refused", "duplicate", "resolved"]


class ParseError(Invalid):
    """An authenticated body, or a part of it, says nothing that can be understood: it goes into quarantine."""


@dataclass(frozen=True)
class Alert:
    """One alert, as its sender described it.

    Attributes:
        fingerprint: The sender's name for the set of labels.
        status: Whether it fires or is over.
        labels: What it is about; routes match on these.
        annotations: Text for people.
        starts_at: When it began to fire, in UTC.
        ends_at: When it ended, in UTC; None while it fires.
        scope: Fingerprints are unique within it: the kind of sender, with the tenant where there are several.
        raw: The alert as it came, for review.
    """

    fingerprint: str
    status: Status
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None = None
    scope: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """The deduplication key.

        The start counts in whole milliseconds: Alertmanager's webhook gives nanoseconds, its API cuts them to
        milliseconds, and one alert must have one key on both ways in. The source is left out, so that two Alertmanagers
        of one cluster, each a source with a secret of its own, do not act twice on the alert that both send.
        """
        start = self.starts_at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return Key(f"{self.scope}/{self.fingerprint}/{start}/{self.status}")


@dataclass(frozen=True)
class Rejected:
    """A part of a body that could not be understood, while the rest could."""

    raw: object
    reason: str


@dataclass(frozen=True)
class Parsed:
    """What a body held.

    Attributes:
        alerts: In the order of the body.
        rejected: Parts that could not be understood.
        truncated: How many alerts the sender left out of the body.
    """

    alerts: tuple[Alert, ...]
    rejected: tuple[Rejected, ...] = ()
    truncated: int = 0


@dataclass(frozen=True)
class Sender:
    """Who brings alerts in: a source of alerts.yaml, or recoverd's own sentinel."""

    name: str
    trigger: Trigger = "alert"


SENTINEL = Sender("sentinel", "sentinel")


@dataclass(frozen=True)
class Verdict:
    """What the intake decided about one alert, once it is on disk.

    Attributes:
        key: The alert's deduplication key.
        outcome: "started" a run; "recorded" only; "refused" by a limit; "duplicate" of one known; "resolved".
        reason: Why, as a sentence for the reviewer.
        run: The run that was started, or that absorbed the alert.
        loud: It asked for something that cannot or may not be: a person should hear of it.
    """

    key: Key
    outcome: Outcome
    reason: str
    run: str | None = None
    loud: bool = False
