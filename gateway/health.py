"""What has to work before alerts are taken, each part by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import httpx

from recoverd.errors import RecoverdError
from recoverd.journal import Journal

Check = Callable[[], str]
"""Says "ok", or in a few words what is wrong. It has a time limit of its own and raises nothing."""


class Health:
    """The gate in front of the alerts, and what /readyz tells."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._open = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether senders that try again are let in. It opens once, when all parts have come up."""
        return self._open.is_set()

    def open(self) -> None:
        """Let them in. A part that fails later is told by /readyz; what is on disk waits for it."""
        self._open.set()

    def shut(self) -> None:
        """Turn away those who try again: recoverd is ending."""
        self._open.clear()

    def parts(self) -> dict[str, str]:
        """Each part, and "ok" or what is wrong with it."""
        found = {name: check() for name, check in self._checks.items()}
        return {"gate": "ok" if self.is_open else "recoverd is starting or ending", **found}


def journal_writable(journal: Journal) -> str:
    """Whether a transaction can be had; one that writes nothing."""
    try:
        with journal.transaction():
            return "ok"
    except RecoverdError as error:
        return error.message


def answers(url: str) -> str:
    """Whether an HTTP address answers well, within two seconds."""
    try:
        answer = httpx.get(url, timeout=2.0, trust_env=False)
    except httpx.HTTPError as error:
        return f"no answer: {type(error).__name__}"
    return "ok" if answer.is_success else f"it answers {answer.status_code}"
