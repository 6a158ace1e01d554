"""The renames of a replacement, broken off between any two of them: they go on, or back, and nothing is lost."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest
from test_scripts import run, server_in

TEXT = (Path(__file__).parents[2] / "tasks/scripts/replace.sh").read_text()
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user, as on a host")


class Place:
    """A data directory, restored data beside it, and what recoverd notes on its host."""

    def __init__(self, root: Path) -> None:
        self.data, self.new, self.kept = root / "data", root / "data.recoverd-new-R1", root / "data.recoverd-R1"
        self.undone, self.state = root / "data.recoverd-undone-R1", root / "state"
        for directory in (self.data, self.new, self.state):
            directory.mkdir()
        (self.data / "name").write_text("old")
        (self.data / "postgresql.conf").write_text("port = 5433\n")
        (self.data / "postgresql.auto.conf").write_text("work_mem = '8MB'\nprimary_conninfo = 'host=x'\n")
        (self.data / "standby.signal").touch()
        (self.new / "name").write_text("new")
        (self.new / "postgresql.conf").write_text("port = 5432\n")
        (self.new / "recovery.signal").touch()

    def run(self, verb: str, before: str = "", text: str = TEXT) -> subprocess.CompletedProcess[str]:
        text = f"STATE={self.state}\n{before}\n{text}"
        return run(
            text, VERB=verb, PGDATA=str(self.data), NEW=str(self.new), KEPT=str(self.kept), RUN="R1", SET_AUTO="",
            OS_USER="root",
        )  # fmt: skip

    def mark(self, *lines: str) -> None:
        (self.state / "orders-db.replaced").write_text("".join(f"{line}\n" for line in lines))

    def says(self, mark: str) -> bool:
        return f"mark={mark}\n" in self.run("state").stdout

    def named(self, path: Path) -> str:
        return (path / "name").read_text() if path.is_dir() else "none"


def test_the_new_data_gets_the_settings_of_its_host_and_starts_as_a_primary(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.run("swap").returncode == 0
    assert (place.named(place.data), place.named(place.kept)) == ("new", "old")
    assert (place.data / "postgresql.conf").read_text() == "port = 5433\n"
    assert (place.data / "postgresql.auto.conf").read_text() == "work_mem = '8MB'\n"
    assert not (place.data / "recovery.signal").exists()
    assert not (place.data / "standby.signal").exists()
    assert (place.kept / "standby.signal").exists(), "what was there would still start read-only"
    assert place.says("R1 in place")


@pytest.mark.parametrize("moved", [0, 1, 2])
@pytest.mark.parametrize("then", ["swap", "swap_back"])
def test_broken_off_between_two_renames_it_goes_on_or_back(tmp_path: Path, moved: int, then: str) -> None:
    place = Place(tmp_path)
    place.mark("R1 moving")
    if moved > 0:
        place.data.rename(place.kept)
    if moved > 1:
        place.new.rename(place.data)
    for _ in range(2):  # once more does no harm
        assert place.run(then).returncode == 0
    if then == "swap":
        assert (place.named(place.data), place.named(place.kept)) == ("new", "old")
    else:
        assert (place.named(place.data), place.named(place.kept)) == ("old", "none")
        assert "new" in {place.named(place.new), place.named(place.undone)}


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_way_back_that_is_broken_off_goes_on(tmp_path: Path, moved: int) -> None:
    place = Place(tmp_path)
    assert place.run("swap").returncode == 0
    if moved > 0:
        place.data.rename(place.undone)
    if moved > 1:
        place.kept.rename(place.data)
    assert place.run("swap_back").returncode == 0
    assert (place.named(place.data), place.named(place.undone), place.named(place.kept)) == ("old", "new", "none")
    assert place.run("swap_back").returncode == 0
    assert place.named(place.data) == "old"


def test_where_the_disk_was_lost_there_is_nothing_to_keep(tmp_path: Path) -> None:
    place = Place(tmp_path)
    subprocess.run(["rm", "-r", str(place.data)], check=True)
    assert place.run("swap").returncode == 0
    assert (place.named(place.data), place.named(place.kept)) == ("new", "none")
    assert place.run("swap_back").returncode == 0
    assert (place.data.exists(), place.named(place.undone)) == (False, "new")


@pytest.mark.parametrize("verb", ["swap", "swap_back"])
def test_nothing_is_renamed_under_a_running_server(tmp_path: Path, verb: str) -> None:
    place = Place(tmp_path)
    if verb == "swap_back":
        place.run("swap")
    before = place.named(place.data)
    with server_in(place.data):
        ended = place.run(verb)
    assert ended.returncode == 1
    assert "processes of the server are still there" in ended.stderr
    assert place.named(place.data) == before


def test_another_run_does_not_undo_what_this_one_did(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run("swap")
    place.mark("R1 in place", "R2 in place")
    assert place.says("R1 superseded")
    assert "undo that one first" in place.run("swap_back").stderr
    assert place.named(place.data) == "new"
    place.mark("R1 in place", "R2 back")
    assert place.run("swap_back").returncode == 0
    assert (place.named(place.data), place.says("R1 back")) == ("old", True)


def test_what_was_put_back_before_anything_was_moved_is_not_replaced_by_a_swap_that_comes_late(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert not place.says("R1 back"), "nobody has proven yet that no swap is at work"
    assert place.run("swap_back").returncode == 0
    assert place.says("R1 back")
    late = place.run("swap")
    assert (late.returncode, "the old data was put back, and stays" in late.stderr) == (1, True)
    assert (place.named(place.data), place.named(place.new)) == ("old", "new")


def test_while_a_swap_is_at_work_nothing_is_put_back_and_nobody_says_that_it_was(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with (place.state / "orders-db.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert place.run("swap_back").returncode == 95
        assert not place.says("R1 back")


def test_the_settings_that_could_not_be_put_in_leave_a_mark_and_nothing_moved(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (place.new / "postgresql.auto.conf.recoverd").mkdir()
    (place.new / "postgresql.auto.conf.recoverd" / "in the way").touch()
    assert place.run("swap").returncode == 1
    assert place.says("R1 dressing")
    assert (place.named(place.data), place.named(place.new)) == ("old", "new")
    assert place.run("swap_back").returncode == 0
    assert (place.named(place.data), place.says("R1 back")) == ("old", True)


def test_what_another_run_left_between_its_renames_is_not_taken_for_a_lost_disk(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.mark("R0 moving")
    place.data.rename(tmp_path / "data.recoverd-R0")
    ended = place.run("swap")
    assert (ended.returncode, "run R0 was broken off" in ended.stderr) == (1, True)
    assert place.named(place.new) == "new"


class Apart(Place):
    """The same where WAL has a file system of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.volume = root / "volume"
        (self.volume / "wal").mkdir(parents=True)
        (self.data / "pg_wal").symlink_to(self.volume / "wal")
        (self.new / "pg_wal").mkdir()
        for name in ("1", "2"):
            (self.new / "pg_wal" / name).write_text(name)

    def wal(self) -> list[str]:
        assert (self.data / "pg_wal").is_symlink()
        return sorted(path.name for path in (self.data / "pg_wal").iterdir())


@pytest.mark.parametrize("command", ["cp", "sync", "rm", "mv", "ln"])
@pytest.mark.parametrize("turn", range(1, 6))
def test_wal_on_a_file_system_of_its_own_is_whole_wherever_it_was_broken_off(
    tmp_path: Path, command: str, turn: int
) -> None:
    """A command of the script does half its work, at one turn, and the script is killed then."""
    place = Apart(tmp_path)
    halves = f"""
turn=0
{command}() {{
    case "{command} $*" in *pg_wal*|*wal.R1*|sync*) turn=$((turn + 1)) ;; esac
    if [ "$turn" = {turn} ]; then
        [ {command} != rm ] || find "$2" -name 1 -delete 2>/dev/null
        [ {command} != cp ] || {{ command mkdir "$3" && command cp "$2/1" "$3/"; }}
        kill -KILL $$
    fi
    command {command} "$@"
}}
"""
    place.run("swap", before=halves)
    assert place.run("swap").returncode == 0
    assert (place.named(place.data), place.wal()) == ("new", ["1", "2"])
    assert [path.name for path in place.data.glob("pg_wal*")] == ["pg_wal"], "nothing is left over"
    assert place.run("swap_back").returncode == 0
    assert place.named(place.data) == "old"


@pytest.mark.parametrize(("line", "found"), [("{root}/my\\040data", True), ("{root}/other", False), ("/", False)])
def test_a_volume_that_should_be_mounted_there_and_is_not_is_told(tmp_path: Path, line: str, found: bool) -> None:
    root = tmp_path / "my data"
    root.mkdir()
    table = tmp_path / "fstab"
    table.write_text(
        f"# UUID=0 {root}\nUUID=1 {line.format(root=tmp_path)} ext4 defaults 0 2\nUUID=2 none swap sw 0 0\n"
    )
    said = Place(root).run("place", text=TEXT.replace("/etc/fstab", str(table))).stdout
    assert f"unmounted={root if found else ''}\n" in said
