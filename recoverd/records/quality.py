"""How many records are right, by rule and over time. Whoever reports on it reads the entries of the journal alone."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from recoverd.journal import Journal, Transaction

CHECKED = "data.checked"


class Accuracy(BaseModel):
    """What one rule found at one time.

    Attributes:
        at: When it was looked at, UTC.
        total: Rows that it can judge.
        wrong: Those of them that are wrong.
        least_percent: What the inventory asks for.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: str
    rule: str
    at: datetime
    total: int
    wrong: int
    least_percent: float

    @property
    def percent(self) -> float:
        """Of rows that are right; 100 where there are none."""
        return 100.0 * (self.total - self.wrong) / self.total if self.total else 100.0

    @property
    def good(self) -> bool:
        """Whether it is as the inventory asks."""
        return self.percent >= self.least_percent

    @property
    def shown(self) -> str:
        """Percent, never rounded up to what it is not: 99.99 where one of a million is wrong."""
        return f"{int(self.percent * 100) / 100:.2f} %"

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        asked = "" if self.good else f", and {self.least_percent:g} % are asked for"
        return f"{self.rule}: {self.shown} of {self.total} rows are right, {self.wrong} are wrong{asked}"


def note_accuracy(tx: Transaction, found: Accuracy, run: str) -> None:
    """Write down what a rule found."""
    body = {"summary": found.summary, "percent": found.percent, **found.model_dump(mode="json")}
    tx.append(CHECKED, who="recoverd", run=run, body=body)


def past(record: Journal | Transaction, service: str, rule: str = "") -> tuple[Accuracy, ...]:
    """What rules of a service have found, the oldest first."""
    found = (Accuracy.model_validate(entry.body) for entry in record.entries(kinds=[CHECKED]))
    return tuple(one for one in found if one.service == service and rule in {"", one.rule})


def trend(earlier: tuple[Accuracy, ...], now: Accuracy) -> str:
    """How it stands against the last time, in words."""
    if not earlier:
        return "first look"
    change = now.percent - earlier[-1].percent
    since = f"since {earlier[-1].at:%Y-%m-%d %H:%M} UTC"
    return f"as {since}" if change == 0 else f"{'up' if change > 0 else 'down'} {abs(change):.2f} {since}"
