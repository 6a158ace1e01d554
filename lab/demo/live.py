"""A run as it happens: each entry of the journal as a line, with the time since the fault."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from datetime import datetime

from lab.demo.screen import Screen
from lab.ledger import Ledger
from recoverd.errors import Look, TimedOut
from recoverd.journal import Entry, Journal, RunRow
from recoverd.timeline.moments import moment, since_words

# What a reviewer wants and a spectator does not: it is all in `recoverd show`.
QUIET = {
    "step.intended",
    "evidence.stored",
    "sentinel.observed",
    "lock.acquired",
    "lock.released",
    "alert.accepted",
    "incident.opened",
    "incident.changed",
    "wal.changed",
    "step.progress",
}
STYLES = {
    "fault": "bold red", "alert": "yellow", "run": "bold", "look": "dim", "decision": "cyan", "change": "green",
    "proof": "bold green", "account": "bold", "trouble": "red", "approval": "magenta", "users": "bold green",
    "repair": "bold",
}  # fmt: skip
LOOK_AGAIN_S = 0.5
TELLING_GAP_S = 0.3


class Live:
    """Prints what is written to the journal from now on.

    Args:
        began_at: What times count from.
        ledger: Reads the writer's ledger, to tell when users can write again.
    """

    def __init__(
        self, screen: Screen, journal: Journal, began_at: datetime, ledger: Callable[[], Ledger] | None = None
    ) -> None:
        self.screen, self.journal, self.began_at, self.ledger = screen, journal, began_at, ledger
        self.users_back = False
        self.seen = max((entry.seq for entry in journal.entries()), default=0)

    def follow(self, find: Callable[[], RunRow | None], *, waiting_for: str, timeout_s: float) -> RunRow:
        """Print until the run that `find` finds has ended, and return it.

        Raises:
            TimedOut: It did not appear or end within `timeout_s`.
            Look: It waits for a person, or did not succeed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            marker = self.journal.marker()
            row = find()
            self.catch_up()
            if row is not None and row.state == "succeeded":
                return row
            if row is not None and (row.ended or row.state == "waiting"):
                raise Look(f"{row.procedure} {row.id} is {row.state}: {row.summary}", f"recoverd show {row.id}")
            if (left_s := deadline - time.monotonic()) <= 0:
                what = "no run was started" if row is None else f"run {row.id} is still {row.state}"
                raise TimedOut(f"{what} after {timeout_s:g} s", "recoverd runs; the logs named below")
            self.screen.wait(f"{self.since()}  {waiting_for if row is None else f'{row.procedure} is under way'} …")
            self.journal.wait_for_change(marker, min(left_s, LOOK_AGAIN_S))

    def since(self) -> str:
        """The time since the beginning, in words."""
        return since_words((datetime.now(self.began_at.tzinfo) - self.began_at).total_seconds())

    def catch_up(self) -> None:
        """Print what is new, in order of time."""
        found = self._users_line()
        for entry in self.journal.entries(after=self.seen):
            self.seen = entry.seq
            if entry.kind not in QUIET:
                one = moment(entry, self.began_at)
                what: str = "alert" if entry.kind.startswith("alert.") else one.what
                found.append((one.since_s, what, _plain_words(entry) or one.text or one.title))
        for since_s, what, text in sorted(found):
            self.show(since_s, what, text)

    def _users_line(self) -> list[tuple[float, str, str]]:
        """Once, when app-1's writes are acknowledged again."""
        if self.users_back or self.ledger is None:
            return []
        gap_s, began = self.ledger().longest_gap()
        since_s = began + gap_s - self.began_at.timestamp()
        self.users_back = gap_s > TELLING_GAP_S and since_s > 0
        words = f"app-1 writes again: for {gap_s:.2f} s none of its writes was acknowledged"
        return [(since_s, "users", words)] if self.users_back else []

    def show(self, since_s: float, what: str, text: str) -> None:
        """Print a line: time, sort, what came of it."""
        lead = f"{since_words(since_s):>11}  {what:<9} "
        first, *rest = textwrap.wrap(text, self.screen.width - len(lead)) or [""]
        self.screen.line((lead[:13], ""), (lead[13:], STYLES.get(what, "")), (first, STYLES.get(what, "")))
        for line in rest:
            self.screen.line((" " * len(lead), ""), (line, STYLES.get(what, "")))


def _plain_words(entry: Entry) -> str:
    """Shorter words for a spectator; empty where the record's own will do."""
    body = entry.body
    if entry.kind == "run.requested":
        return f"{body.get('procedure')} of {body.get('target')} requested by {entry.who}"
    if entry.kind not in ("alert.received", "alert.resolved"):
        return ""
    alert = body.get("alert") or {}
    name = (alert.get("labels") or {}).get("alertname", "an alert")
    if entry.kind == "alert.resolved":
        return f"{name} is over, says {entry.who}"
    return f"{name} came from {entry.who}: {(alert.get('annotations') or {}).get('summary', '')}".rstrip(": ")
