"""What a server's WAL says: where two timelines part, and what transactions changed, read from pg_waldump's lines.

Source: PostgreSQL documentation, "Timelines" and "pg_waldump"; the words after `desc:` are those of versions 15 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.views import lsn_to_int, lsn_to_text

FOREVER = 1 << 64


@dataclass(frozen=True)
class Stretch:
    """A part of a server's WAL.

    Attributes:
        timeline: The timeline it was written on.
        start: First position, in bytes since the beginning of time.
        end: The position after it; FOREVER for the timeline that goes on.
    """

    timeline: int
    start: int
    end: int = FOREVER


def history(text: str, timeline: int) -> tuple[Stretch, ...]:
    """All WAL that led to a timeline, from the text of its history file (empty for timeline 1)."""
    found, start = [], 0
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not words[0].isdigit():
            continue
        end = lsn_to_int(words[1]) or 0
        found.append(Stretch(int(words[0]), start, end))
        start = end
    return (*found, Stretch(timeline, start))


def parted(mine: Sequence[Stretch], other: Sequence[Stretch]) -> tuple[Stretch, ...]:
    """My WAL that the other does not have: empty when mine leads to the other's without a branch of its own."""
    left = list(mine)
    for theirs in other:
        if not left or left[0].timeline != theirs.timeline or left[0].start != theirs.start:
            break
        if left[0].end != theirs.end:
            last = left.pop(0)
            return (Stretch(last.timeline, theirs.end, last.end), *left) if last.end > theirs.end else tuple(left)
        left.pop(0)
    return tuple(left)


def segments_of(timeline: int, start: int, end: int, segment_bytes: int) -> tuple[str, ...]:
    """Names of the files that hold WAL from `start` to `end` (exclusive).

    >>> segments_of(1, 0x3FFFFFF, 0x4000001, 16 << 20)
    ('000000010000000000000003', '000000010000000000000004')
    """
    per_file = (1 << 32) // segment_bytes
    numbers = range(start // segment_bytes, (max(end, start + 1) - 1) // segment_bytes + 1)
    return tuple(f"{timeline:08X}{number // per_file:08X}{number % per_file:08X}" for number in numbers)


@dataclass(frozen=True)
class Commit:
    """A transaction that committed.

    Attributes:
        xid: Its id, and with it those of its subtransactions.
        at: When, as the server wrote it (UTC).
        lsn: Where its commit record stands.
    """

    xid: int
    at: str
    lsn: str
    subxids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Change:
    """What one record did to one table.

    Attributes:
        xid: The transaction or subtransaction that did it.
        action: insert, update, delete, truncate or sequence.
        database: Its oid.
        filenode: The file of the table, which pg_class knows by pg_relation_filenode().
        old: ctid of the row version that was there; None for an insert.
        new: ctid of the row version that came; None for a delete. For several rows at once, a block: (7,0).
    """

    xid: int
    action: str
    database: int
    filenode: int
    old: tuple[int, int] | None = None
    new: tuple[int, int] | None = None


@dataclass
class Dump:
    """What pg_waldump printed, understood.

    Attributes:
        end: Position after the last whole record; 0 when there was none.
        cut: Whether lines were left out for a limit.
    """

    commits: list[Commit] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    end: int = 0
    cut: bool = False

    @property
    def commit_of(self) -> dict[int, Commit]:
        """The commit by the id of each transaction and subtransaction in it."""
        return {xid: commit for commit in self.commits for xid in (commit.xid, *commit.subxids)}

    def committed(self) -> list[Change]:
        """The changes that became true, in the order in which they were made."""
        commits = self.commit_of
        return [change for change in self.changes if change.xid in commits]


_RECORD = re.compile(
    r"^rmgr: (?P<rmgr>\w+)\s+len \(rec/tot\):\s*\d+/\s*(?P<total>\d+), tx:\s*(?P<xid>\d+), "
    r"lsn: (?P<lsn>[0-9A-F]+/[0-9A-F]+), prev [0-9A-F/]+, desc: (?P<desc>.*)$"
)
_BLOCK = re.compile(r"blkref #(\d+): rel \d+/(\d+)/(\d+) (?:fork (\w+) )?blk (\d+)")
_COMMIT = re.compile(r"^COMMIT(?:_PREPARED (?P<xid>\d+):)? (?P<at>[^;]+)(?:;|$)")
_SUBXACTS = re.compile(r"subxacts:((?: \d+)+)")
_TRUNCATE = re.compile(r"nrelids:? (\d+).*?relids:?((?: \d+)+)")


def read_dump(lines: Iterable[str], *, most_changes: int) -> Dump:
    """Understand the lines of pg_waldump; what is not about rows, sequences or commits is passed over."""
    dump = Dump()
    for line in lines:
        found = _RECORD.match(line)
        if found is None:
            continue
        dump.end = (lsn_to_int(found["lsn"]) or 0) + int(found["total"])
        if found["rmgr"] == "Transaction":
            dump.commits += _commit(found)
        elif len(dump.changes) >= most_changes:
            dump.cut = True
        else:
            dump.changes += _change(found)
    return dump


def _commit(found: re.Match[str]) -> list[Commit]:
    said = _COMMIT.match(found["desc"])
    if said is None:
        return []
    subxacts = _SUBXACTS.search(found["desc"])
    ids = tuple(int(word) for word in subxacts[1].split()) if subxacts else ()
    return [Commit(int(said["xid"] or found["xid"]), said["at"].strip(), lsn_to_text(lsn_to_int(found["lsn"])), ids)]


def _change(found: re.Match[str]) -> list[Change]:
    """The change of a Heap, Heap2 or Sequence record; none for one that changes no row."""
    desc, xid = found["desc"], int(found["xid"])
    verb = desc.split(maxsplit=1)[0].partition("+")[0] if desc else ""
    blocks = {int(ref): (int(db), int(rel), int(blk)) for ref, db, rel, fork, blk in _BLOCK.findall(desc) if not fork}
    if verb == "TRUNCATE":
        return _truncated(desc, xid)
    if 0 not in blocks:
        return []
    database, filenode, block = blocks[0]
    if found["rmgr"] == "Sequence":
        return [Change(xid, "sequence", database, filenode)]
    if verb == "INSERT":
        return [Change(xid, "insert", database, filenode, new=(block, _offset(desc, "off")))]
    if verb == "MULTI_INSERT":
        return [Change(xid, "insert", database, filenode, new=(block, 0))]
    if verb == "DELETE":
        return [Change(xid, "delete", database, filenode, old=(block, _offset(desc, "off")))]
    if verb in {"UPDATE", "HOT_UPDATE"}:
        before = blocks.get(1, blocks[0])[2]
        old, new = (before, _offset(desc, "old_off", "off")), (block, _offset(desc, "new_off", "new off"))
        return [Change(xid, "update", database, filenode, old=old, new=new)]
    return []


def _truncated(desc: str, xid: int) -> list[Change]:
    # PostgreSQL names the tables by their oids here, not by their files.
    found = _TRUNCATE.search(desc)
    return [Change(xid, "truncate", 0, int(oid)) for oid in found[2].split()] if found else []


def _offset(desc: str, *names: str) -> int:
    for name in names:
        found = re.search(rf"(?:^|[ ,]){name}:? (\d+)", desc)
        if found:
            return int(found[1])
    return 0
