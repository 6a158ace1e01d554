"""Where timelines part, and what pg_waldump's lines mean."""

from __future__ import annotations

import pytest

from tasks.wal import FOREVER, Change, Stretch, history, parted, read_dump

FIRST = history("", 1)
SECOND = history("1\t0/5000000\tno recovery target specified\n", 2)
THIRD = history("1\t0/5000000\tx\n2\t0/7000000\tx\n", 3)
OTHER_SECOND = history("1\t0/6000000\tx\n", 2)


@pytest.mark.parametrize(
    ("mine", "other", "left"),
    [
        (FIRST, SECOND, (Stretch(1, 0x5000000),)),
        (FIRST, THIRD, (Stretch(1, 0x5000000),)),
        (SECOND, THIRD, (Stretch(2, 0x7000000),)),
        (SECOND, SECOND, ()),
        (FIRST, FIRST, ()),
        (OTHER_SECOND, THIRD, (Stretch(1, 0x5000000, 0x6000000), Stretch(2, 0x6000000, FOREVER))),
        (SECOND, FIRST, (Stretch(2, 0x5000000),)),
    ],
)
def test_wal_after_the_point_where_timelines_part_is_all_that_the_other_lacks(
    mine: tuple[Stretch, ...], other: tuple[Stretch, ...], left: tuple[Stretch, ...]
) -> None:
    assert parted(mine, other) == left


def line(rmgr: str, xid: int, lsn: str, desc: str, total: int = 61) -> str:
    return (
        f"rmgr: {rmgr:<11} len (rec/tot):     54/{total:>6}, tx: {xid:>10}, lsn: {lsn}, prev 0/00000000, desc: {desc}\n"
    )


@pytest.mark.parametrize(
    ("rmgr", "desc", "change"),
    [
        (
            "Heap",
            "INSERT+INIT off 1 flags 0x00, blkref #0: rel 1663/5/16391 blk 0",
            Change(7, "insert", 5, 16391, new=(0, 1)),
        ),
        (
            "Heap",
            "INSERT off: 16, flags: 0x01, blkref #0: rel 1663/5/2606 blk 2 FPW",
            Change(7, "insert", 5, 2606, new=(2, 16)),
        ),
        (
            "Heap2",
            "MULTI_INSERT 2 tuples flags 0x02, blkref #0: rel 1663/5/16391 blk 3",
            Change(7, "insert", 5, 16391, new=(3, 0)),
        ),
        (
            "Heap",
            "DELETE off 2 flags 0x00 KEYS_UPDATED , blkref #0: rel 1663/5/16391 blk 0",
            Change(7, "delete", 5, 16391, old=(0, 2)),
        ),
        (
            "Heap",
            "DELETE xmax: 740, off: 3, infobits: [KEYS_UPDATED], flags: 0x00, blkref #0: rel 1663/5/9 blk 4",
            Change(7, "delete", 5, 9, old=(4, 3)),
        ),
        (
            "Heap",
            "HOT_UPDATE off 1 xmax 741 flags 0x20 ; new off 4 xmax 0, blkref #0: rel 1663/5/16391 blk 0",
            Change(7, "update", 5, 16391, old=(0, 1), new=(0, 4)),
        ),
        (
            "Heap",
            "UPDATE old_xmax: 742, old_off: 3, old_infobits: [], flags: 0x00, new_xmax: 0, new_off: 5, "
            "blkref #0: rel 1663/5/9 blk 8, blkref #1: rel 1663/5/9 blk 2",
            Change(7, "update", 5, 9, old=(2, 3), new=(8, 5)),
        ),
        ("Sequence", "LOG rel 1663/5/16398, blkref #0: rel 1663/5/16398 blk 0", Change(7, "sequence", 5, 16398)),
        ("Heap", "TRUNCATE nrelids 1 relids 16391", Change(7, "truncate", 0, 16391)),
        ("Heap", "LOCK off 3: xid 7: flags 0x00 LOCK_ONLY EXCL_LOCK , blkref #0: rel 1663/5/9 blk 0", None),
        ("Heap2", "PRUNE latestRemovedXid 7 nredirected 1 ndead 0, blkref #0: rel 1663/5/9 blk 0", None),
    ],
)
def test_a_change_of_rows_is_understood_in_the_words_of_every_version(
    rmgr: str, desc: str, change: Change | None
) -> None:
    dump = read_dump([line(rmgr, 7, "0/04073D48", desc)], most_changes=10)
    assert dump.changes == ([] if change is None else [change])


def test_only_committed_changes_count_those_of_subtransactions_among_them() -> None:
    insert = "INSERT off {} flags 0x00, blkref #0: rel 1663/5/9 blk 0"
    dump = read_dump(
        [
            line("Heap", 10, "0/01000000", insert.format(1)),
            line("Heap", 11, "0/01000040", insert.format(2)),
            line("Heap", 12, "0/01000080", insert.format(3)),
            line("Transaction", 10, "0/010000C0", "COMMIT 2026-11-22 03:15:44.956279 UTC; subxacts: 11"),
            line("Transaction", 12, "0/01000100", "ABORT 2026-11-22 03:15:45 UTC"),
            "pg_waldump: error: error in WAL record at 0/1000100: invalid record length at 0/1000140: wanted 24, got 0\n",
        ],
        most_changes=10,
    )
    assert [change.xid for change in dump.committed()] == [10, 11]
    assert dump.commit_of[11].at == "2026-11-22 03:15:44.956279 UTC"
    assert dump.end == 0x1000100 + 61


def test_a_prepared_transaction_is_committed_under_its_own_id() -> None:
    dump = read_dump(
        [line("Transaction", 0, "0/01000000", "COMMIT_PREPARED 745: 2026-11-22 03:15:44 UTC")], most_changes=1
    )
    assert [(commit.xid, commit.at) for commit in dump.commits] == [(745, "2026-11-22 03:15:44 UTC")]


def test_more_changes_than_the_limit_are_said_to_be_left_out() -> None:
    insert = line("Heap", 10, "0/01000000", "INSERT off 1 flags 0x00, blkref #0: rel 1663/5/9 blk 0")
    dump = read_dump([insert] * 3, most_changes=2)
    assert dump.cut
    assert len(dump.changes) == 2
