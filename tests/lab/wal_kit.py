"""What the tests of continuous WAL share: a keeper that takes its turns by hand, and WAL to be kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from failover_kit import SERVICE, Controller
from lab_kit import connect, value

from flows.archiving import end, turn
from flows.standing import Standing
from flows.stocking import Archive
from gateway.keeper import keeping
from lab import Lab
from recoverd.backup.keys import WAL_FILE
from recoverd.backup.wal import SEGMENT
from recoverd.inventory import load

MEMORY = f"/dev/shm/recoverd/{SERVICE}"


@dataclass
class Kept:
    """A keeper of the lab's service."""

    archive: Archive

    def turn(self) -> Standing:
        """One turn."""
        return turn(self.archive)

    def until(self, that: Callable[[Standing], bool], *, timeout_s: float = 60) -> Standing:
        """Turn until something holds; the test fails when it does not in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            standing = self.turn()
            print(standing.summary)
            if that(standing):
                return standing
            assert time.monotonic() < deadline, standing
            time.sleep(0.3)


@contextmanager
def kept(recoverd: Controller) -> Iterator[Kept]:
    """Keep the service's WAL; the receiver and the slots are gone afterwards."""
    with keeping(SERVICE, load(recoverd.inventory), recoverd.journal):
        try:
            made = Kept(Archive(SERVICE))
            made.until(lambda now: now.state == "receives" and all(one.newest for one in now.sites))
            yield made
        finally:
            end(SERVICE)


def write_wal(
    lab: Lab, host: str = "db-1", *, words: str = "marker", switch: bool = False, random: bool = False
) -> int:
    """Some WAL on the primary, flushed; where it ends. With `switch`, the segment is whole after it.

    Args:
        lab: The lab.
        host: The primary.
        words: What stands in it.
        switch: Begin a new segment.
        random: So much that cannot be packed that it needs room on a disk.
    """
    text = f"repeat('{words}', 100)"
    if random:
        text = "(select string_agg(md5(random()::text), '') from generate_series(1, 30000))"
    with closing(connect(lab, lab.host(host).address)) as connection:
        value(connection, f"select pg_logical_emit_message(true, 'test', {text})")
        if switch:
            value(connection, "select pg_switch_wal()")
        end_lsn = value(connection, "select pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
    return int(str(end_lsn))


def names_on(keeper: Kept, site: str) -> set[str]:
    """The whole segments that a site holds, as it was last listed or given."""
    files = keeper.archive.shelves[site].files
    return {match[2] for file in files if (match := WAL_FILE.match(file)) and SEGMENT.match(match[2])}


def reached(standing: Standing, lsn: int, *sites: str) -> bool:
    """Whether sites (none: all) have all WAL before a position."""
    return all(one.covered_lsn >= lsn for one in standing.sites if not sites or one.site in sites)
