"""Whether a host counts as clean: told from the scans that the journal has, and from nothing else.

A scan speaks for a host only when it came to its end, read all that it was to read, found nothing, and began after the host was
isolated: what was found before that may have come again. It knows what its signatures knew: old ones need a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from recoverd.journal import Journal, Transaction
from recoverd.words import counted

SCAN_DONE = "scan.done"
OLD_AFTER = timedelta(days=7)
"""Signatures older than this, when a scan began, do not let a host in by themselves."""


class Scan(BaseModel):
    """What one scan of a host came to.

    Attributes:
        run: The run that scanned.
        at: When it began, by the journal's clock.
        paths: What it looked through.
        files: How many files it was to read.
        found: Files that it knew, which are still where they were.
        unread: Files that it could not read, or that were too large or too deep for it, or whose names it cannot be told.
        through: It came to its end in time.
        engine: Version of ClamAV.
        database: Version of the signatures, or what their files are.
        database_at: Day of the newest of them.
        signatures: How many there are.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    host: str
    at: datetime
    paths: tuple[str, ...]
    files: int = 0
    found: tuple[str, ...] = ()
    unread: int = 0
    through: bool = False
    engine: str = ""
    database: str = ""
    database_at: datetime | None = None
    signatures: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing of it speaks against the host."""
        return self.through and self.files > 0 and self.signatures > 0 and not self.found and not self.unread

    @property
    def old(self) -> bool:
        """Whether its signatures were too old, or of an unknown age, when it began."""
        return self.database_at is None or self.at - self.database_at > OLD_AFTER

    @property
    def by(self) -> str:
        """The signatures, for a sentence."""
        day = f" of {self.database_at:%Y-%m-%d}" if self.database_at else " of an unknown day"
        return f"signatures {self.database or 'without a version'}{day}"

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        where = f"{counted(self.files, 'file')} of {self.host} below {', '.join(self.paths)}"
        if not self.through:
            return f"the scan of {where} did not come to its end"
        parts = [f"{counted(len(self.found), 'file')} infected"] if self.found else []
        parts += [f"{counted(self.unread, 'file')} could not be read"] if self.unread else []
        said = ", ".join(parts) or "nothing found"
        return f"{where}: {said}, by {self.by}" + (", which is old" if self.old else "")


class Cleanliness(BaseModel):
    """Whether a host may be let in for what its scans say.

    Attributes:
        clean: A scan speaks for it, by signatures that are new enough.
        asks: A scan speaks for it, but a person has to say yes.
        why: The reason, for the gate or the record.
        scan: The scan that decides; None where there is none.
    """

    model_config = ConfigDict(frozen=True)

    clean: bool
    asks: bool
    why: str
    scan: Scan | None = None


def note_scan(journal: Journal, scan: Scan) -> None:
    """Write down what a scan came to. A scan may be repeated: the newest counts."""
    journal.append(
        SCAN_DONE, who="recoverd", run=scan.run, body={"summary": scan.summary, **scan.model_dump(mode="json")}
    )


def past_scans(record: Journal | Transaction, host: str | None = None) -> tuple[Scan, ...]:
    """All scans, of one host or of any, in the order in which they ended."""
    found = (Scan.model_validate(entry.body) for entry in record.entries(kinds=[SCAN_DONE]))
    return tuple(one for one in found if host in {None, one.host})


def cleanliness(scans: Iterable[Scan], host: str, isolated_at: datetime) -> Cleanliness:
    """Whether a host that was isolated is clean since: the newest scan that began after that decides. Pure."""
    since = [scan for scan in scans if scan.host == host and scan.at > isolated_at]
    if not since:
        return Cleanliness(clean=False, asks=False, why=f"{host} has not been scanned since it was isolated")
    newest = since[-1]
    if not newest.clean:
        return Cleanliness(clean=False, asks=False, why=newest.summary, scan=newest)
    if newest.old:
        return Cleanliness(clean=False, asks=True, why=f"{newest.summary}: a person has to say yes", scan=newest)
    return Cleanliness(clean=True, asks=False, why=newest.summary, scan=newest)
