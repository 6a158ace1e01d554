"""What a process has ready before it knows its run: the inventory read, the connections and the journal open.

It is used only if the inventory's files are as they were when they were read, and every connection must say a word
before it is used (see `Connections`): nothing here makes a run work with what is no longer so.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from recoverd.connections import Connections
from recoverd.inventory import Inventory, load
from recoverd.journal import Journal
from recoverd.settings import settings

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Prepared:
    """An inventory as it was read, and connections to its hosts."""

    directory: Path
    stamp: Stamp
    inventory: Inventory
    connections: Connections

    @property
    def is_current(self) -> bool:
        """Whether the files are still as they were."""
        return _stamp(self.directory) == self.stamp


_guard = threading.Lock()
_ready: list[Prepared] = []
_journals: dict[str, Journal] = {}


def prepare(directory: Path) -> Prepared:
    """Read an inventory and keep it for the run to come, with connections that are to be opened on it.

    Raises:
        Invalid: It cannot be used.
    """
    stamp = _stamp(directory)
    inventory = load(directory)
    made = Prepared(directory, stamp, inventory, Connections(inventory))
    with _guard:
        old = list(_ready)
        _ready[:] = [made]
    for one in old:
        one.connections.close()
    return made


def prepared(directory: Path) -> Prepared:
    """What is ready for this inventory; made now where nothing is, or where the files have changed."""
    with _guard:
        found = _ready[0] if _ready else None
    return found if found is not None and found.directory == directory and found.is_current else prepare(directory)


def taken(directory: Path) -> Prepared:
    """The same, handed over: the caller closes the connections."""
    found = prepared(directory)
    with _guard:
        _ready[:] = [one for one in _ready if one is not found]
    return found


def keep_journal() -> Journal:
    """Open the journal of the settings for the runs of this process, with all that a run will ask of it asked once."""
    journal = _journals[settings().journal_address] = Journal.open()
    journal.rehearse()
    return journal


def kept_journal() -> Journal:
    """The journal that was kept, else one that is opened now."""
    return _journals.get(settings().journal_address) or Journal.open()


def _stamp(directory: Path) -> Stamp:
    """Name, size and time of change of every file, nanoseconds."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tuple((str(path), (found := path.stat()).st_mtime_ns, found.st_size) for path in files)
