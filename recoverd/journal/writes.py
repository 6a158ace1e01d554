"""What the writing halves of a transaction have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from recoverd.journal.entries import Entry
from recoverd.journal.reads import Reads


class Writes(Reads):
    """A transaction as its writing halves see it."""

    connection: Connection

    def append(
        self,
        kind: str,
        *,
        who: str,
        run: str | None = None,
        step: str | None = None,
        incident: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Write one fact."""
        raise NotImplementedError

    def now(self) -> datetime:
        """The journal's clock."""
        raise NotImplementedError
