"""Following a run live: one moment after the other as the journal gets them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.cli.output import clean, console

if TYPE_CHECKING:
    from datetime import datetime

    from recoverd.journal import Journal, RunRow

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 1, "refused": 3, "waiting": 4, "undone": 5}
TAKEN_BACK = EXIT_CODES["undone"]
LOOK_AGAIN_S = 1.0


def follow(journal: Journal, run: str, *, timeout_s: float, until_waiting: bool) -> RunRow:
    """Print what happens in a run on standard error until it ends.

    Args:
        journal: Where it is written down.
        run: Its full id.
        timeout_s: How long at most.
        until_waiting: Also return when it waits for a person; a run that gave way to another goes on by itself.

    Returns:
        The run as it is then.

    Raises:
        TimedOut: It has not ended in that time. The run goes on.
    """
    from recoverd.errors import TimedOut
    from recoverd.locks import gave_way_to
    from recoverd.timeline.build import beginning

    deadline = time.monotonic() + timeout_s
    row = journal.get_run(run)
    began_at, _ = beginning(row, journal.get_alert(row.alert) if row.alert else None)
    printer = _Printer(journal, run, began_at)
    while True:
        marker = journal.marker()
        row = journal.get_run(run)
        printer.catch_up()
        if row.ended or (until_waiting and row.state == "waiting" and gave_way_to(journal, row) is None):
            return row
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimedOut(
                f"run {run} is still {row.state} after {timeout_s:g} s", f"it goes on: recoverd show {run} --follow"
            )
        journal.wait_for_change(marker, min(left_s, LOOK_AGAIN_S))


def exit_code(journal: Journal, row: RunRow) -> int:
    """How a command that waited for a run exits: by its state, and whether a failed one took back all it had done."""
    if row.state == "failed" and _took_all_back(journal, row):
        return TAKEN_BACK
    return EXIT_CODES.get(row.state, 1)


def _took_all_back(journal: Journal, row: RunRow) -> bool:
    from flows.undoing import KINDS, read_backwards

    entries = list(journal.entries(run=row.id, kinds=KINDS))
    left = read_backwards(entries)
    return any(entry.kind == "step.undone" for entry in entries) and not (left.steps or left.left or left.final)


class _Printer:
    """Prints the entries that are new since the last time."""

    def __init__(self, journal: Journal, run: str, began_at: datetime) -> None:
        self._journal, self._run, self._began_at = journal, run, began_at
        self._seen = 0
        self._out = console(error=True)

    def catch_up(self) -> None:
        """Print what has been written since the last call."""
        from rich.text import Text

        from recoverd.timeline import moment_lines
        from recoverd.timeline.moments import moment
        from recoverd.timeline.text import WIDTH

        width = self._out.width - 1 if self._out.is_terminal else WIDTH
        for entry in self._journal.entries(run=self._run, after=self._seen):
            self._seen = entry.seq
            if entry.kind == "step.intended":
                continue  # its outcome follows
            for line in moment_lines(moment(entry, self._began_at), width):
                text = Text.assemble(*((clean(words), style) for words, style in line))
                text.rstrip()
                self._out.print(text, soft_wrap=True)
