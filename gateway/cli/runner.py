"""Whether anything would execute a run: a run that nobody takes up is worse than an error."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from recoverd.errors import Unreachable

if TYPE_CHECKING:
    from pathlib import Path

    from recoverd.settings import Settings


def require_runner(config: Settings) -> None:
    """See that a `recoverd serve` works here. With a journal on PostgreSQL it may as well work on another machine.

    Raises:
        Unreachable: None does.
    """
    if config.journal_address.startswith("sqlite") and not is_served(config.home):
        raise Unreachable(
            f"no `recoverd serve` works in {config.home}, so nobody would take the run up",
            "start `recoverd serve`, then repeat; or leave the run for it with --queue; "
            "where recoverd itself is broken, follow `recoverd runbook`",
        )


def is_served(home: Path) -> bool:
    """Whether a living process holds the home directory."""
    try:
        descriptor = os.open(home / "serve.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # The lock is tried only where its last holder lives: a `serve` that starts at this instant must not meet ours.
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        if not holder.isdigit() or not os.path.isdir(f"/proc/{holder}"):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
