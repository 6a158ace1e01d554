"""Executes one run and stops itself (SIGSTOP) right after it writes one named entry: a controller that is paused.

python sleep_child.py RUN KIND STEP
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from deployments.catalogue import procedure
from recoverd.journal import Journal
from recoverd.settings import settings


def main(run: str, kind: str, step: str) -> None:
    """Arm the trap, then execute."""
    journal = Journal.open(settings().journal_address)
    row = journal.get_run(run)
    append = Journal.append

    def doze(self: Journal, written: str, **facts: Any) -> Any:
        entry = append(self, written, **facts)
        if written == kind and facts.get("step") == step:
            os.kill(os.getpid(), signal.SIGSTOP)
        return entry

    Journal.append = doze  # type: ignore[method-assign, assignment]
    procedure(row.procedure).flow().fn(row.target, row.id, row.reason, row.options)


if __name__ == "__main__":
    main(*sys.argv[1:])
