"""What pgBackRest says, recorded from 2.45, is understood; and the WAL chain is followed where it itself sees no hole."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from recoverd.backup.repository import Archived, RepoSet, Shelf, read_archive, read_info
from recoverd.backup.repository_faults import Fault, classify, error_of, read_verify
from recoverd.backup.stretch import follow, newest_line
from recoverd.backup.wal import Switch
from recoverd.errors import Look

INFO = (
    '[{"archive":[{"database":{"id":1,"repo-key":1},"id":"15-1","max":"000000010000000000000007","min":"000000010000000000000001"}],'
    '"backup":[{"archive":{"start":"000000010000000000000003","stop":"000000010000000000000004"},"backrest":{"format":5,"version":"2.45"},'
    '"database":{"id":1,"repo-key":1},"error":false,"info":{"delta":22992564,"repository":{"delta":2823161,"size":2823161},"size":22992564},'
    '"label":"20261126-035423F","lsn":{"start":"0/3000028","stop":"0/4000050"},"prior":null,"reference":null,'
    '"timestamp":{"start":1795665263,"stop":1795665265},"type":"full"}],"cipher":"none",'
    '"db":[{"id":1,"repo-key":1,"system-id":7712323557838998242,"version":"15"}],"name":"orders",'
    '"repo":[{"cipher":"none","key":1,"status":{"code":0,"message":"ok"}}],"status":{"code":0,"lock":{"backup":{"held":false}},"message":"ok"}}]'
)
DOWN = (
    '[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"orders","repo":[{"cipher":"none","key":2,"status":{"code":99,'
    '"message":"[UnknownError] remote-0 process on \'127.0.0.1\' terminated unexpectedly [255]: ssh: connect to host 127.0.0.1 port 22: '
    'Connection refused"}}],"status":{"code":99,"lock":{"backup":{"held":false}},"message":"other"}}]'
)
LOST = (
    '[{"archive":[],"backup":[],"cipher":"none","db":[],"name":"orders","repo":[{"cipher":"none","key":2,"status":{"code":3,'
    '"message":"missing stanza data"}}],"status":{"code":3,"lock":{"backup":{"held":false}},"message":"missing stanza data"}}]'
)
VERIFIED = """\
stanza: orders
status: ok
  archiveId: 15-1, total WAL checked: 7, total valid WAL: 7
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
  backup: 20261126-035420F, status: valid, total files checked: 964, total valid files: 964
    missing: 0, checksum invalid: 0, size invalid: 0, other: 0
"""
FLIPPED = """\
stanza: orders
status: error
  archiveId: 15-1, total WAL checked: 6, total valid WAL: 5
    missing: 0, checksum invalid: 0, size invalid: 0, other: 1
  backup: 20261126-035420F, status: invalid, total files checked: 964, total valid files: 963
    missing: 0, checksum invalid: 1, size invalid: 0, other: 0
"""
CHECKSUM = """\
ERROR: [026]: raised from local-1 protocol: error restoring '/new/base/5/2654': actual checksum 'b72a' does not match expected '3aad'
       [ChecksumError] on retry after 0ms
       [ChecksumError] on retry after 15000ms
"""
NO_SET = """\
WARN: repo2: [FileMissingError] unable to load info file '/r2/backup/orders/backup.info' or '/r2/backup/orders/backup.info.copy':
      FileMissingError: unable to open missing file '/r2/backup/orders/backup.info' for read
      HINT: has a stanza-create been performed?
ERROR: [075]: backup set 20261126-035423F is not valid
"""
S3_DOWN = """\
WARN: repo3: [HostConnectError] unable to load info file '/p/backup/orders/backup.info' or '/p/backup/orders/backup.info.copy':
      HostConnectError: unable to connect to 's3-1:8333': [111] Connection refused
ERROR: [075]: no backup set found to restore
"""
AT = datetime(2026, 11, 26, 4, tzinfo=timezone.utc)
SIZE = 16 << 20


def test_the_sets_of_a_repository_are_read_from_its_info() -> None:
    info = read_info(INFO, 1)
    (one,) = info.sets
    assert (info.answers, one.label, one.kind, one.archive) == (True, "20261126-035423F", "full", "15-1")
    assert one.system_identifier == "7712323557838998242"
    assert (one.start_lsn, one.stop_lsn, one.timeline, one.segment_bytes) == (0x3000028, 0x4000050, 1, SIZE)


@pytest.mark.parametrize(("text", "words"), [(DOWN, "Connection refused"), (LOST, "missing stanza data")])
def test_a_repository_that_cannot_be_read_is_known_by_its_status_though_pgbackrest_ends_with_0(
    text: str, words: str
) -> None:
    info = read_info(text, 2)
    assert not info.answers
    assert words in info.message
    assert info.sets == ()


@pytest.mark.parametrize("text", ["", "[]", "{}", INFO[:-30], "[null]"])
def test_an_info_that_is_cut_off_is_no_info(text: str) -> None:
    with pytest.raises(Look, match="cannot be read"):
        read_info(text, 1)


def test_archived_wal_is_read_with_its_hash_and_what_is_there_twice_is_told() -> None:
    first, second = "a" * 40, "b" * 40
    listed = {
        ".": {"type": "path"},
        "15-1/0000000100000000": {"type": "path"},
        f"15-1/0000000100000000/000000010000000000000001-{first}.zst": {"type": "file", "size": 1, "time": 1795665260},
        f"15-1/0000000100000000/000000010000000000000002-{first}": {"type": "file", "size": 1, "time": 1795665261},
        f"15-1/0000000100000000/000000010000000000000002-{second}.gz": {"type": "file", "size": 1, "time": 1795665262},
        "15-1/0000000100000000/000000010000000000000002.00000028.backup": {"type": "file", "size": 1, "time": 1},
        f"15-1/0000000100000000/000000010000000000000003.partial-{first}.gz": {"type": "file", "size": 1, "time": 1},
        "15-1/00000002.history": {"type": "file", "size": 41, "time": 1795665263},
        "archive.info": {"type": "file", "size": 253, "time": 1795665262},
    }
    (shelf,) = read_archive(json.dumps(listed)).values()
    assert sorted(shelf.segments) == ["000000010000000000000001", "000000010000000000000002"]
    assert shelf.segments["000000010000000000000001"].sha1 == first
    assert shelf.doubled == ("000000010000000000000002",)
    assert shelf.histories == ("00000002.history",)


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (26, CHECKSUM, Fault.DAMAGED),
        (29, "ERROR: [029]: invalid format", Fault.DAMAGED),
        (29, "ERROR: [029]: raised from local-1 protocol: unexpected eof in compressed data", Fault.DAMAGED),
        (55, "ERROR: [055]: unable to open missing file 'x' for read", Fault.DAMAGED),
        (125, "ERROR: [125]: remote-0 process on 'backup-1' terminated unexpectedly [255]", Fault.DOWN),
        (49, "ERROR: [049]: unable to connect to 's3-1:8333'", Fault.DOWN),
        (124, "", Fault.DOWN),
        (75, NO_SET, Fault.UNCLEAR),
        (75, S3_DOWN, Fault.DOWN),
        (55, "ERROR: [055]: unable to load: HostConnectError: timeout connecting to 's3-1:8333'", Fault.DOWN),
        (50, "ERROR: [050]: unable to acquire lock", Fault.BUSY),
        (72, "ERROR: [072]: restore command must be run on the PostgreSQL host", Fault.WRONG_HOST),
        (64, "ERROR: [064]: unable to write '/x': [28] No space left on device", Fault.SETUP),
        (37, "ERROR: [037]: restore command requires option: pg1-path", Fault.SETUP),
    ],
)
def test_an_exit_code_says_what_comes_next(code: int, said: str, fault: Fault) -> None:
    assert classify(code, said) is fault
    assert fault.tries_another is (fault in {Fault.DAMAGED, Fault.DOWN, Fault.UNCLEAR})


def test_the_sentence_of_an_error_is_found_among_its_decoration() -> None:
    assert error_of(CHECKSUM).startswith("error restoring '/new/base/5/2654': actual checksum")
    assert error_of(S3_DOWN) == "no backup set found to restore"
    assert error_of("") == ""


def test_a_verification_is_judged_by_its_text() -> None:
    good, flipped = read_verify(VERIFIED), read_verify(FLIPPED)
    assert (good.clean, good.problem, [one.whole for one in (*good.sets, *good.archives)]) == (True, "", [True, True])
    assert not flipped.clean
    assert [(one.name, one.whole, one.words) for one in flipped.sets] == [
        ("20261126-035420F", False, "1 checksum invalid")
    ]
    assert [(one.whole, one.words) for one in flipped.archives] == [(False, "1 other")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it gave no result"),
        ("stanza: orders\nstatus: error\n  No usable backup.info file\n", "No usable backup.info file"),
    ],
)
def test_a_verification_without_a_result_proves_nothing(text: str, problem: str) -> None:
    found = read_verify(text)
    assert (found.clean, found.problem, found.sets) == (False, problem, ())


def the_set(first: int = 3, last: int = 4, timeline: int = 1) -> RepoSet:
    return RepoSet(
        label="20261126-035423F", kind="full", first=name(first, timeline), last=name(last, timeline),
        start_lsn=first * SIZE + 0x28, stop_lsn=last * SIZE + 0x50, begun_at=AT, ended_at=AT, size=1, stored=1,
        archive="15-1", system_identifier="7",
    )  # fmt: skip


def name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{0:08X}{number:08X}"


def shelf(*names: str, sha1: str = "a" * 40) -> Shelf:
    return Shelf(
        segments={
            one: Archived(sha1=sha1, at=AT + timedelta(minutes=position)) for position, one in enumerate(sorted(names))
        }
    )


def test_a_hole_in_the_wal_is_found_and_named() -> None:
    held = shelf(*(name(number) for number in (3, 4, 5, 8, 9)))
    found = follow(the_set(), {"own": held})
    assert [one.name for one in found.segments] == [name(3), name(4), name(5)]
    assert (found.hole, found.hole_end) == (name(6), name(7))
    assert found.covers(the_set())


def test_the_end_of_all_wal_is_no_hole() -> None:
    found = follow(the_set(), {"own": shelf(name(2), name(3), name(4))})
    assert (found.hole, found.end_lsn) == ("", 5 * SIZE)


def test_a_set_without_its_own_wal_leads_nowhere() -> None:
    assert not follow(the_set(), {"own": shelf(name(3), name(5))}).covers(the_set())
    assert not follow(the_set(), {"own": shelf()}).covers(the_set())


def test_what_one_repository_lacks_another_has() -> None:
    held = {"own": shelf(name(3), name(4), name(6)), "second": shelf(name(4), name(5))}
    found = follow(the_set(), held)
    assert [one.sites for one in found.segments] == [("own",), ("own", "second"), ("second",), ("own",)]
    assert found.hole == ""


def test_a_segment_with_another_content_is_believed_where_most_have_it() -> None:
    other = Shelf(segments={**shelf(name(3)).segments, name(4): Archived(sha1="b" * 40, at=AT)})
    found = follow(the_set(), {"own": other, "second": shelf(name(3), name(4)), "offsite": shelf(name(3), name(4))})
    assert found.segments[1].sha1 == "a" * 40
    assert found.segments[1].sites == ("second", "offsite")
    assert found.doubts == (f"{name(4)} is another one on own",)


def test_the_chain_goes_on_along_the_timeline_that_a_failover_began() -> None:
    parted = (Switch(1, 6 * SIZE + 0x100),)
    held = shelf(name(3), name(4), name(5), name(6), name(6, 2), name(7, 2))
    assert newest_line(the_set(), {2: parted}) == 2
    found = follow(the_set(), {"own": held}, 2, parted)
    assert [one.name for one in found.segments] == [name(3), name(4), name(5), name(6, 2), name(7, 2)]
    assert (found.timeline, found.hole) == (2, "")


def test_a_timeline_that_parted_before_the_set_was_whole_is_not_its_own() -> None:
    assert newest_line(the_set(), {2: (Switch(1, 4 * SIZE),)}) == 1


def test_only_the_wal_that_leads_to_the_target_is_fetched() -> None:
    found = follow(the_set(), {"own": shelf(*(name(number) for number in range(3, 9)))})
    assert [one.name for one in found.up_to(AT + timedelta(minutes=2, seconds=30)).segments][-1] == name(6)
    assert [one.name for one in found.up_to(None, lsn=6 * SIZE).segments][-1] == name(6)
    assert len(found.up_to(None).segments) == 6
