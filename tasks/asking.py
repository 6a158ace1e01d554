"""Questions to the scratch server of a restore."""

from __future__ import annotations

from recoverd.errors import Look
from recoverd.world import world
from tasks.restoring import data_dir, on_its_host

MOST_ANSWER_BYTES = 1 << 20
_FAILED = "psql ended with"
_ERRORS = ("ERROR:", "FATAL:", "PANIC:", "error:")
_warned: set[tuple[str, str]] = set()


def ask_scratch(service: str, host: str, database: str, sql: str, *, timeout_s: float = 620.0) -> str:
    """The answer of a query, read-only, as psql prints it without decoration. What the server warns of is said, once a run.

    Raises:
        Look: It failed; with the server's words.
    """
    done = on_its_host(
        "scratch", service, host, VERB="query", PGDATA=data_dir(service, host), DATABASE=database,
        SQL=sql, MOST_BYTES=str(MOST_ANSWER_BYTES), timeout_s=timeout_s,
    )  # fmt: skip
    lines = done.err.strip().splitlines()
    if lines and lines[-1].startswith(_FAILED):
        words = next((line for line in lines if any(kind in line for kind in _ERRORS)), lines[0])
        raise Look(f"the restored server says: {words}", "the data may be damaged")
    for line in lines:
        if "WARNING:" in line and (world().run.id, line) not in _warned:
            _warned.add((world().run.id, line))
            world().say(f"the restored server warns: {line}")
    return str(done.out).strip()
