"""Finds entries that were edited, removed or moved, in the database or in an exported file, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from sqlalchemy import func, select

from recoverd.errors import Invalid
from recoverd.journal.database import Database
from recoverd.journal.entries import GENESIS, Entry, canonical, digest, parse_instant
from recoverd.journal.tables import entries, head

PAGE = 1000
MAX_PROBLEMS = 100
MAX_LINE_CHARS = 64 << 20  # no entry is so long: what is read at most of a file without lines
MOVED_WITHIN = 1000  # how far from its place a moved entry is recognised; beyond, it is called edited

What = Literal["edited", "removed", "reordered", "replaced", "unreadable"]


@dataclass(frozen=True)
class Anchor:
    """Number and hash of an entry, kept outside the journal."""

    seq: int
    hash: str


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: at which entry, and how."""

    seq: int
    what: What
    detail: str


@dataclass(frozen=True)
class Verification:
    """The result of reading a chain.

    Attributes:
        count: Entries read.
        end: The last entry read.
        problems: What is wrong, in order; at most 100.
        complete: False when there were more problems than are listed.
    """

    count: int
    end: Anchor
    problems: tuple[Problem, ...]
    complete: bool = True

    @property
    def ok(self) -> bool:
        """Whether the chain is whole."""
        return not self.problems


class _Exportable(Protocol):
    def entries(self) -> Iterator[Entry]: ...

    def anchor(self) -> Anchor: ...


def verify_chain(database: Database, anchor: Anchor | None = None) -> Verification:
    """Verify the journal in `database` up to its present head."""
    bounds = select(head.c.seq, head.c.hash, select(func.max(entries.c.seq)).scalar_subquery().label("last"))
    found = database.read(bounds)
    checker = _Checker(anchor)
    end = Anchor(0, GENESIS) if not found else Anchor(found[0].seq, found[0].hash)
    if not found:
        checker.report(0, "removed", "the head of the chain is missing")
    for item in _stored(database, max(end.seq, (found[0].last or 0) if found else 0)):
        checker.take(item)
    return checker.finish(end if found else None)


def verify_export(path: Path, anchor: Anchor | None = None) -> Verification:
    """Verify a file that `Journal.export` wrote.

    Raises:
        Invalid: It cannot be read, or is something else: none of its first hundred lines is an entry.
    """
    checker, end, foreign, ours = _Checker(anchor), None, "", False
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_CHARS), ""), 1):
                item = _parsed(line)
                ours = ours or not isinstance(item, str) or item == _REWRITTEN
                if isinstance(item, Anchor):
                    end = item
                elif isinstance(item, Entry):
                    checker.take(item)
                else:
                    checker.report(checker.seq + 1, "unreadable", f"line {number} {item}")
                    foreign = foreign or f"line {number} {item}"
                if number >= MAX_PROBLEMS and not ours:
                    break
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from error
    if foreign and not ours:
        raise Invalid(
            f"{path} is no export of a journal: {foreign}", "name a file that `recoverd journal export` has written"
        )
    if end is None:
        checker.report(checker.seq + 1, "removed", "the file ends before its last line")
    return checker.finish(end)


def export_chain(journal: _Exportable, fp: IO[str]) -> Anchor:
    """Write every entry up to the present head, then a line with the head."""
    end = journal.anchor()
    for entry in journal.entries():
        if entry.seq > end.seq:
            break
        fp.write(entry.line() + "\n")
    fp.write(canonical({"end": {"seq": end.seq, "hash": end.hash}}) + "\n")
    return end


class _Checker:
    """Takes entries one after another and remembers only the last one."""

    def __init__(self, anchor: Anchor | None) -> None:
        self.seq, self.hash, self.count = 0, GENESIS, 0
        self._anchor = anchor
        self._anchor_seen = anchor is None or anchor.seq == 0
        self._problems: list[Problem] = []
        self._complete = True

    def report(self, seq: int, what: What, detail: str) -> None:
        """Note a problem."""
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(Problem(seq, what, detail))
        else:
            self._complete = False

    def take(self, entry: Entry) -> None:
        """Check the next entry against itself and against the one before."""
        self.count += 1
        if entry.seq <= self.seq:
            self.report(entry.seq, "reordered", f"it stands after entry {self.seq}")
            return
        if entry.seq > self.seq + 1:
            self.report(self.seq + 1, "removed", _span(self.seq + 1, entry.seq - 1))
        elif entry.prev_hash != self.hash and digest(entry) == entry.hash:
            self.report(entry.seq, "replaced", f"it does not follow from entry {self.seq}")
        if digest(entry) != entry.hash:
            self._report_change(entry)
        self._compare_anchor(entry)
        self.seq, self.hash = entry.seq, entry.hash

    def finish(self, end: Anchor | None) -> Verification:
        """Check that the chain ends where it is said to end."""
        if end is not None and self.seq < end.seq:
            self.report(self.seq + 1, "removed", _span(self.seq + 1, end.seq) + " at the end")
        elif end is not None and (self.seq, self.hash) != (end.seq, end.hash):
            self.report(self.seq, "replaced", f"the chain's head names entry {end.seq} with another hash")
        if not self._anchor_seen and self._anchor is not None and self._anchor.seq > self.seq:
            self.report(self.seq + 1, "removed", _span(self.seq + 1, self._anchor.seq) + ", known from the anchor")
        return Verification(self.count, Anchor(self.seq, self.hash), tuple(self._problems), self._complete)

    def _report_change(self, entry: Entry) -> None:
        enough = len(self._problems) >= MAX_PROBLEMS  # the search is dear, and nobody would read its answer
        near = () if enough else range(max(1, entry.seq - MOVED_WITHIN), entry.seq + MOVED_WITHIN + 1)
        was = next((seq for seq in near if digest(replace(entry, seq=seq)) == entry.hash), None)
        if was is None:
            self.report(entry.seq, "edited", "its fields do not give its hash")
        else:
            self.report(entry.seq, "reordered", f"it was written as entry {was}")

    def _compare_anchor(self, entry: Entry) -> None:
        if self._anchor is None or entry.seq != self._anchor.seq:
            return
        self._anchor_seen = True
        if entry.hash != self._anchor.hash:
            self.report(entry.seq, "replaced", "the anchor names another hash")


def _stored(database: Database, last: int) -> Iterator[Entry]:
    """Entries as they lie in the database; one that cannot be read is given with a body that fails its hash."""
    after = -(2**62)
    while after < last:
        statement = select(entries).where(entries.c.seq > after, entries.c.seq <= last).order_by(entries.c.seq)
        page = database.read(statement.limit(PAGE))
        yield from (_entry(dict(row._mapping)) for row in page)
        if len(page) < PAGE:
            return
        after = page[-1].seq


def _entry(values: dict[str, Any]) -> Entry:
    """A stored row; what is not exactly as it was written makes the hash fail."""
    try:
        body = json.loads(values["body"])
        whole = canonical(body) == values["body"]
        at = parse_instant(values["at"])
    except (ValueError, TypeError, RecursionError):
        return Entry(**{**values, "at": _NEVER, "body": {"unreadable": str(values["body"])}})
    return Entry(**{**values, "at": at, "body": body if whole else {"rewritten": values["body"]}})


_NEVER = parse_instant("1970-01-01T00:00:00.000000Z")
_REWRITTEN = "is not as it was written"
_FIELDS = frozenset(Entry.__dataclass_fields__)


def _parsed(line: str) -> Entry | Anchor | str:
    """What a line of an export holds, or why it holds nothing."""
    try:
        values = json.loads(line)
        if set(values) == {"end"}:
            return Anchor(int(values["end"]["seq"]), str(values["end"]["hash"]))
        if set(values) != _FIELDS:
            return "is no entry of a journal"
        if canonical(values) != line.rstrip("\n"):
            return _REWRITTEN
        return _entry({**values, "body": canonical(values["body"])})
    except json.JSONDecodeError:
        return "is not JSON" if line.strip() else "is empty"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "is no entry of a journal"


def _span(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"
