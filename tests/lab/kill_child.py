"""Executes one run and kills itself, as kill -9 would, right before or right after it writes one named entry.

    python kill_child.py RUN WHEN KIND STEP      WHEN: before | after | never

`before` an outcome is the middle of a step: the effect is there, and nobody has written it down.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from deployments.catalogue import procedure
from recoverd.journal import Journal
from recoverd.settings import settings


def main(run: str, when: str, kind: str, step: str) -> None:
    """Arm the trap, then execute."""
    journal = Journal.open(settings().journal_address)
    row = journal.get_run(run)
    Journal.append = _trapped(Journal.append, when, kind, step)  # type: ignore[method-assign]
    procedure(row.procedure).flow().fn(row.target, row.id, row.reason, row.options)


def _trapped(append: Callable[..., Any], when: str, kind: str, step: str) -> Callable[..., Any]:
    def trap(self: Journal, written: str, **facts: Any) -> Any:
        hit = when != "never" and written == kind and (facts.get("step") or "") == step
        if hit and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        entry = append(self, written, **facts)
        if hit:
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    return trap


if __name__ == "__main__":
    main(*sys.argv[1:])
