"""The shell that receives WAL, as /bin/sh here runs it: how far a segment has come, and where to go on after a failover."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from recoverd.backup.wal import Segment
from tasks.hosts import script

SIZE = 16 << 20


def run(place: Path, text: str, **variables: str) -> str:
    """What the text says, after the functions of the receiver, on directories of its own."""
    given = {
        "SERVICE": "s.wal", "OS_USER": "root", "PGDATA": "/nonexistent", "EPOCH": "1", "SEGMENT_BYTES": str(SIZE),
        "job": f"{place}/job", "mem": f"{place}/mem", "wal": f"{place}/wal", **variables,
    }  # fmt: skip
    for name in ("job", "mem/wal", "wal/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    settings = "".join(f"{name}={shlex.quote(value)}\n" for name, value in given.items())
    body = f"main() {{\n:\n{script('wal_follow+wal_store')}\n{settings}\n{text}\n}}\nmain </dev/null\n"
    done = subprocess.run(["/bin/sh", "-s"], input=body, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def segment(number: int, timeline: int = 1) -> str:
    return Segment(timeline, number, SIZE).name


@pytest.mark.parametrize(("bytes_", "found"), [(0, ""), (1, "8"), (8, "8"), (65536, "65536"), (3_000_001, "3000008")])
def test_only_what_has_come_of_a_segment_counts(tmp_path: Path, bytes_: int, found: str) -> None:
    file = tmp_path / "segment"
    file.write_bytes(b"\xd1" * bytes_)
    os.truncate(file, SIZE)
    assert run(tmp_path, f"received {file}") == found


def test_a_whole_segment_has_come_whole(tmp_path: Path) -> None:
    (tmp_path / "segment").write_bytes(b"\xd1" * SIZE)
    assert run(tmp_path, f"received {tmp_path}/segment") == str(SIZE)


@pytest.mark.parametrize("number", [0, 1, 255, 256, 70_000])
def test_names_and_numbers_are_postgresqls(tmp_path: Path, number: int) -> None:
    name = segment(number, 0x1B)
    assert run(tmp_path, f"number_of {name}; name_of 27 {number}").split() == [str(number), name]


FOLLOW = 'server() { printf "%s" "$HISTORY"; }\nfollow; echo "code=$?"; segments; echo "wrong=$wrong"\n'


def followed(place: Path, files: list[str], history: str, timeline: int, archived: tuple[int, ...] = (1,)) -> list[str]:
    (place / "mem/wal").mkdir(parents=True)
    for name in files:
        (place / "mem/wal" / name).touch()
    for one in archived:
        (place / "wal" / f"{one:08X}").mkdir(parents=True)
    history = f"{timeline:08X}.history|{history}"
    position = str(90 * SIZE)
    return run(place, FOLLOW, HISTORY=history, timeline=str(timeline), position=position).split("\n")


def test_what_the_new_primary_has_too_is_gone_on_with(tmp_path: Path) -> None:
    said = followed(tmp_path, [f"{segment(5)}.partial"], "1\t0/5000100\tno target\n", 2)
    assert said == ["code=0", f"{segment(5)}.partial", "wrong="]


def test_what_came_beyond_the_parting_is_a_branch_that_has_ended(tmp_path: Path) -> None:
    said = followed(tmp_path, [segment(5), f"{segment(6)}.partial"], "1\t0/5000100\tno target\n", 2)
    assert said == ["code=0", segment(4, 2), "wrong="]


def test_where_a_timeline_ends_with_a_segment_the_new_one_is_gone_on_with(tmp_path: Path) -> None:
    said = followed(tmp_path, [segment(4)], "1\t0/5000000\tno target\n", 2)
    assert said == ["code=0", segment(4, 2), "wrong="]


def test_over_two_failovers_it_goes_on_with_the_first_timeline_that_it_lacks(tmp_path: Path) -> None:
    said = followed(tmp_path, [f"{segment(9)}.partial"], "1\t0/5000100\tx\n2\t0/7000100\ty\n", 3)
    assert said == ["code=0", segment(4, 2), "wrong="]
    both = tmp_path / "both"
    said = followed(both, [f"{segment(7, 2)}.partial"], "1\t0/5000100\tx\n2\t0/7000100\ty\n", 3, archived=(1, 2))
    assert said == ["code=0", f"{segment(7, 2)}.partial", "wrong="]


def test_a_timeline_that_was_given_up_is_left_where_its_ancestor_was(tmp_path: Path) -> None:
    said = followed(tmp_path, [f"{segment(7, 2)}.partial"], "1\t0/4000100\tx\n", 3, archived=(1, 2))
    assert said == ["code=0", segment(3, 3), "wrong="]


def test_what_is_lacking_of_the_ancestor_comes_before_the_new_timeline(tmp_path: Path) -> None:
    (tmp_path / "wal/00000001").mkdir(parents=True)
    (tmp_path / "wal/00000001" / f"{segment(6)}.zst.age").touch()
    (tmp_path / "mem/wal").mkdir(parents=True)
    (tmp_path / "mem/wal" / f"{segment(4, 2)}.partial").touch()
    (tmp_path / "wal/00000002").mkdir()
    history = "00000003.history|1\t0/9000100\tx\n"
    said = run(tmp_path, FOLLOW, HISTORY=history, timeline="3", position=str(90 * SIZE)).split("\n")
    assert said == ["code=0", segment(6), "wrong="]
    (tmp_path / "wal/00000001" / f"{segment(8)}.zst.age").touch()
    (tmp_path / "mem/wal" / segment(6)).unlink()
    (tmp_path / "mem/wal" / f"{segment(4, 2)}.partial").touch()
    said = run(tmp_path, FOLLOW, HISTORY=history, timeline="3", position=str(90 * SIZE)).split("\n")
    assert said == ["code=0", segment(8, 3), "wrong="]


def test_an_older_timeline_is_not_followed(tmp_path: Path) -> None:
    said = followed(tmp_path, [f"{segment(7, 3)}.partial"], "1\t0/4000100\tx\n", 2)
    assert said[0] == "code=1"
    assert "is on timeline 2" in said[-1]


def test_a_file_that_a_killed_receiver_left_short_is_begun_anew_and_a_mark_is_made_whole(tmp_path: Path) -> None:
    (tmp_path / "mem/wal").mkdir(parents=True)
    (tmp_path / "mem/wal" / segment(4)).touch()
    (tmp_path / "mem/wal" / f"{segment(5)}.partial").write_bytes(b"0" * 99)
    said = run(tmp_path, 'seed; for one in $(segments); do stat -c %s "$mem/wal/$one"; done')
    assert said.split() == [str(SIZE), "0"]


def holding(place: Path, *names: str) -> None:
    """Segments in memory that hold something."""
    (place / "mem/wal").mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / "mem/wal" / name).write_bytes(b"\xd1" * 4096)


def on_the_site(place: Path, *names: str) -> None:
    """Segments that are stored."""
    for name in names:
        (place / "wal" / name[:8]).mkdir(parents=True, exist_ok=True)
        (place / "wal" / name[:8] / f"{name}.zst.age").write_bytes(b"age")


def test_what_is_whole_in_memory_and_not_stored_is_not_thrown_away(tmp_path: Path) -> None:
    holding(tmp_path, segment(5), segment(6))
    on_the_site(tmp_path, segment(5))
    said = run(tmp_path, f'plant {segment(6, 2)}; echo "code=$?"; segments; echo "wrong=$wrong"').split("\n")
    assert said[:3] == ["code=1", segment(5), segment(6)]
    assert f"{segment(6)} is to be stored" in said[3]
    on_the_site(tmp_path, segment(6))
    assert run(tmp_path, f"plant {segment(6, 2)}; segments") == segment(6, 2)


def test_what_is_to_be_skipped_waits_for_what_is_not_stored(tmp_path: Path) -> None:
    holding(tmp_path, segment(5))
    (tmp_path / "mem/skip").write_text(segment(9))
    assert run(tmp_path, 'seed; echo "code=$?"; segments').split() == ["code=1", segment(5)]
    assert (tmp_path / "mem/skip").exists()
    on_the_site(tmp_path, segment(5))
    assert run(tmp_path, 'seed; echo "code=$?"; segments').split() == ["code=0", segment(9)]
    assert not (tmp_path / "mem/skip").exists()


def test_on_an_empty_disk_it_goes_on_after_what_other_sites_have(tmp_path: Path) -> None:
    (tmp_path / "mem").mkdir()
    (tmp_path / "mem/after").write_text(f"{segment(7)}\n")
    assert run(tmp_path, "seed; segments") == segment(7)
    own = tmp_path / "own"
    (own / "mem").mkdir(parents=True)
    (own / "mem/after").write_text(f"{segment(7)}\n")
    on_the_site(own, segment(8))
    assert run(own, "seed; segments") == segment(8), "its own site has more than is signed for"


NOTES = 'tab=$(printf "\\t"); notes'


def noted(place: Path, seen: int, *names: str) -> list[str]:
    (place / "job").mkdir(parents=True, exist_ok=True)
    (place / "job/list").write_text("".join(f"{name}\t0\t3\n" for name in names))
    lines = run(place, NOTES, SEEN=str(seen)).split("\n")
    return [line.partition("\t")[0] for line in lines if not line.startswith("list=")]


def test_a_note_whose_file_is_not_there_yet_is_read_again(tmp_path: Path) -> None:
    names = [segment(number) for number in (4, 5, 6)]
    assert noted(tmp_path, 0, *names) == ["seen=0"], "the site is not mounted"
    on_the_site(tmp_path, names[0], names[1])
    assert noted(tmp_path, 0, *names) == [f"entry={names[0]}", f"entry={names[1]}", "seen=2"]
    assert noted(tmp_path, 2, *names) == ["seen=2"]
    on_the_site(tmp_path, names[2])
    assert noted(tmp_path, 2, *names) == [f"entry={names[2]}", "seen=3"]
    assert noted(tmp_path, 9, *names) == ["seen=3"], "the list was cut"


def test_notes_of_files_that_were_let_go_are_passed_over(tmp_path: Path) -> None:
    names = [segment(number) for number in (4, 5, 6)]
    on_the_site(tmp_path, names[2])
    assert noted(tmp_path, 0, *names) == [f"entry={names[2]}", "seen=3"]


@pytest.mark.parametrize(
    ("signed", "left"),
    [("", 20_005), ("{list} 0", 20_005), ("{list} 4000", 16_005), ("{list} 20005", 10_000), ("7 20005", 20_005)],
)
def test_of_the_notes_only_signed_ones_are_forgotten(tmp_path: Path, signed: str, left: int) -> None:
    (tmp_path / "job").mkdir()
    file = tmp_path / "job/list"
    file.write_text("".join(f"{number}\n" for number in range(20_005)))
    (tmp_path / "job/signed").write_text(signed.format(list=file.stat().st_ino) + "\n")
    run(tmp_path, "cut_list")
    lines = file.read_text().split()
    assert (len(lines), lines[-1]) == (left, "20004")


def test_memory_is_bounded_before_each_file_that_is_stored(tmp_path: Path) -> None:
    holding(tmp_path, segment(5), segment(6))
    text = 'store() { echo stored; cat >"$wal/$1.zst.age"; }\nalive() { true; }\nkill() { echo killed; }\n'
    for name in ("00000001",):
        (tmp_path / "wal" / name).mkdir(parents=True)
    said = run(tmp_path, f'{text} wrong=; store_whole; echo "$wrong"', MOST_KB="12", receiver="7").split("\n")
    assert said == ["killed", "stored", "stored", said[-1]], "the first one made room"
    assert "receiving waits" in said[-1]


BODY = (Path(__file__).parents[2] / "tasks/scripts/receive.sh").read_text()


def test_it_does_not_begin_where_its_site_is_not_mounted(tmp_path: Path) -> None:
    before = script("wal_follow+wal_store+receive").removesuffix(BODY)
    given = f"SERVICE=s.wal OS_USER=root PGDATA=/x EPOCH=1 VERB=begin NAME=s SITE={tmp_path}/site BIN={tmp_path} KNOWN=1 AFTER=\n"
    ready = f"STATE={tmp_path}\nguard() {{ :; }}\nstat() {{ echo tmpfs; }}\ncommand() {{ :; }}\n"
    for tool in ("pg_receivewal", "psql"):
        (tmp_path / tool).write_text("")
        (tmp_path / tool).chmod(0o755)
    text = f"{given}main() {{\n:\n{before}\n{ready}\n{BODY}\n}}\nmain </dev/null\n"
    done = subprocess.run(["/bin/sh", "-s"], input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "is not mounted" not in done.stdout
    assert f"is {tmp_path}/site not mounted?" in done.stderr
    assert not (tmp_path / "site").exists()
    assert not (tmp_path / "wal").exists()


def test_of_what_age_says_the_cause_is_told_and_not_where_to_report_it(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_text("age: error: write: no space left on device\nage: report unexpected or unhelpful errors at …\n\n")
    assert (
        run(tmp_path, f"last_words_in {said}; last_words_in {tmp_path}/none")
        == "age: error: write: no space left on device"
    )
