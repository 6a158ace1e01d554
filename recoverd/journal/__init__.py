"""The journal: every fact, written down once, chained by hashes; and the projections that are read every day.

    journal = Journal.open()
    with journal.transaction() as tx:
        tx.append("step.intended", who="recoverd", run=run, step="fence", body={"device": "pdu-1"})

Layers, top down: journal (the face) > transaction > runs, alerts (writes) > reads > database, tables > entries.
"""

from recoverd.journal.entries import Entry
from recoverd.journal.journal import Journal
from recoverd.journal.rows import (
    ENDED,
    TRANSITIONS,
    AlertRow,
    Answer,
    ApprovalDecision,
    ApprovalRow,
    ApprovalState,
    LockRow,
    Mode,
    QuarantineRow,
    RunRow,
    State,
    Trigger,
)
from recoverd.journal.transaction import Transaction
from recoverd.journal.verify import Anchor, Problem, Verification, verify_export
from recoverd.journal.watch import Marker

__all__ = [
    "ENDED",
    "TRANSITIONS",
    "AlertRow",
    "Anchor",
    "Answer",
    "ApprovalDecision",
    "ApprovalRow",
    "ApprovalState",
    "Entry",
    "Journal",
    "LockRow",
    "Marker",
    "Mode",
    "Problem",
    "QuarantineRow",
    "RunRow",
    "State",
    "Transaction",
    "Trigger",
    "Verification",
    "verify_export",
]
