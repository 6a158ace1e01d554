"""The text that goes with saved WAL: how to read it with standard tools, on a day when recoverd is not there."""

from __future__ import annotations

from tasks.changes import Told
from tasks.salvage import Loss
from tasks.views import lsn_to_text

_TEXT = """\
What {host} had committed and {primary} does not have ({service})
{line}
{pieces}
{transactions} transactions, {bytes} bytes of WAL, {changes} row changes decoded.
{notes}
wal/            the WAL files themselves, as they were on {host}
records-N.txt   what pg_waldump said of them, for timeline N
salvage.jsonl   one row change a line: xid, committed_at, database, table, action, key, row, old
salvage.sql     suggestions that would put inserted rows back, where their key is still free; read before use
SHA256SUMS      check with: sha256sum -c SHA256SUMS

Reading it
    jq -c 'select(.action == "insert") | [.table, .key]' salvage.jsonl
    jq -r '[.committed_at, .xid, .action, .table] | @tsv' salvage.jsonl
    pg_waldump -p wal -t {timeline} -s {start}

action  insert, update, delete: as PostgreSQL did it; sequence: `row` has the last value that was given out
row     the row as it stood at the end on {host}; null where a later lost transaction changed it again
old     the row before an update or delete, read from {primary} at the same place; null where it is not known
Transactions that were committed but whose client got no answer are among these.
"""


def readme(service: str, host: str, primary: str, loss: Loss, told: Told, reason: str) -> str:
    """The README.txt of a salvage directory.

    Args:
        service, host, primary: What it is about.
        loss: What was measured.
        told: What was decoded.
        reason: Why not all was decoded; empty when it was.
    """
    notes = [f"Not decoded: {reason}"] if reason else []
    if told.catalog:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(told.catalog.items()) if count)
        notes.append(f"Definitions were changed too (CREATE, ALTER, DROP, statistics), seen in: {counts}")
    if told.unknown:
        notes.append(f"Changes of files that belong to no table any more: {dict(told.unknown)}")
    first = loss.pieces[0]
    title = f"What {host} had committed and {primary} does not have ({service})"
    return _TEXT.format(
        host=host,
        primary=primary,
        service=service,
        line="=" * len(title),
        pieces="\n".join(piece.summary for piece in loss.pieces),
        transactions=loss.transactions,
        bytes=loss.bytes,
        changes=len(told.lines),
        notes="".join(f"{note}\n" for note in notes),
        timeline=first.timeline,
        start=lsn_to_text(first.start),
    )
