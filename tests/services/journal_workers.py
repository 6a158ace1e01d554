"""What the journal's tests run in processes of their own: `python journal_workers.py ADDRESS WHAT …`."""

from __future__ import annotations

import os
import sys

from recoverd.journal import Journal


def append(journal: Journal, name: str, times: str) -> None:
    """Entries one by one."""
    for number in range(int(times)):
        journal.append("step.done", who=name, run=name, body={"number": number})


def hang(journal: Journal, name: str) -> None:
    """Commit one entry, then stop in the middle of the next transaction, telling so."""
    journal.append("step.intended", who=name, run=name)
    with journal.transaction() as tx:
        tx.append("step.done", who=name, run=name)
        tx.create_run("failover", "orders", trigger="hand", requester=name, reason="never")
        tx.flush()
        print("inside", flush=True)
        sys.stdin.read()


def stream(journal: Journal, name: str) -> None:
    """Append until killed; print each number once it is committed."""
    number = 0
    while True:
        number += 1
        journal.append("step.done", who=name, run=name, body={"number": number})
        print(number, flush=True)


if __name__ == "__main__":
    address, what, *arguments = sys.argv[1:]
    {"append": append, "hang": hang, "stream": stream}[what](Journal.open(address), *arguments)
    os._exit(0)
