"""What recoverd needs of a site of a backup, be it a directory on a host or a bucket: see tasks/sites.py for both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from recoverd.backup.compare import Held

PROBE_TIMEOUT_S = 3.0


class Site(Protocol):
    """What recoverd needs of a site. Keys are relative to the site; see recoverd/backup/keys.py."""

    name: str

    def probe(self, *, timeout_s: float = PROBE_TIMEOUT_S) -> Room:
        """Ask whether it is there at all. Raises TryAgain, NotAllowed, Tampered."""
        ...

    def listing(self, key: str) -> dict[str, Held]:
        """The files below a directory, by their path in it, with sizes only."""
        ...

    def read_all(self, key: str) -> dict[str, Held]:
        """The same, after reading every byte of each, with hashes."""
        ...

    def hashes(self, key: str, names: Collection[str]) -> dict[str, Held]:
        """Those of some files below a directory, after reading every byte of them; without those that are not there."""
        ...

    def older(self, key: str) -> dict[str, list[Held]]:
        """What a plain read does not get any more, the newest first; empty where nothing is kept, or nobody may ask."""
        ...

    def proven(self, key: str, versions: Mapping[str, str]) -> dict[str, Held]:
        """Hashes of older versions, by file, after reading every byte of them."""
        ...

    def hidden(self, key: str) -> set[str]:
        """Directories right below one, of which older versions may be all that is left."""
        ...

    def read(self, key: str, version: str = "") -> bytes:
        """A small file. Raises Look when it is not there."""
        ...

    def write(self, key: str, content: bytes, *, lasting: bool = True) -> None:
        """A small file, once; one that is not lasting needs no lock. Raises Refused when other bytes are there."""
        ...

    def remove(self, key: str) -> None:
        """A directory with all that is in it."""
        ...

    def drop(self, key: str) -> None:
        """One file."""
        ...


class Room:
    """What a site says of itself.

    Attributes:
        free_bytes: None where nobody can tell.
        clock_s: Its clock, in seconds since 1970; None likewise.
    """

    def __init__(self, free_bytes: int | None = None, clock_s: float | None = None) -> None:
        self.free_bytes, self.clock_s = free_bytes, clock_s
