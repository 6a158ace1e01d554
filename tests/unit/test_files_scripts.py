"""The shell that packs and unpacks files, as /bin/sh here runs it: odd names, holes, links; and names that would break out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import time
from io import BytesIO
from pathlib import Path

import pytest
from test_scripts import run

from recoverd.backup.listed import quoted

SCRIPTS = Path(__file__).parents[2] / "tasks" / "scripts"
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files back to their owners, as on a host"),
    pytest.mark.skipif(shutil.which("age") is None, reason="needs age"),
]
ODD = (
    "two words", "new\nline", "end\n", 'quo"te', "back\\slash", "ünïcode", "-T", "*", "%s%n", "a -> b", "x link to y",
    "tab\tr\r", "$(id)`",
)  # fmt: skip


def text(*names: str) -> str:
    return "".join((SCRIPTS / f"{name}.sh").read_text() for name in names)


class Host:
    """A host with a tree to back up, the keys, and a place to restore to."""

    def __init__(self, root: Path) -> None:
        self.root, self.tree, self.stage, self.work = root, root / "tree", root / "stage", root / "work"
        for directory in (self.tree, root / "state"):
            directory.mkdir()
        keys = subprocess.run(["age-keygen"], capture_output=True, text=True, check=True)
        self.identity = keys.stdout
        self.recipient = next(line.split(": ")[1] for line in keys.stdout.splitlines() if "public key" in line)

    def take(self, verb: str, **more: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PATHS": str(self.tree), "EXCLUDE": "", "RECIPIENTS": self.recipient, "PART_BYTES": "200000", "LEVEL": "1",
            "SET": "S1", "SEEN": "0", "STAGE": str(self.stage), "KEEP": "", **more,
        }  # fmt: skip
        body = f"STATE={self.root}/state\n" + text("files_list", "files_source", "take")
        return run(body, VERB=verb, **given)

    def pack(self, **more: str) -> str:
        """A set of the tree in the stage; what its host says of it."""
        begun = self.take("begin", **more)
        assert begun.returncode == 0, begun.stderr
        return ended(lambda: self.take("state", **more).stdout)

    def unpack(self, *wanted: str) -> str:
        """What is said of unpacking what stands in the stage."""
        (self.work / "parts").mkdir(parents=True, exist_ok=True)
        for part in self.stage.glob("*.age"):
            shutil.copy(part, self.work / "parts")
        count = len(list(self.stage.glob("part-*.age")))
        body = text("files_list", "unpack_files", "unpack")
        given = {
            "WORK": str(self.work), "PARTS": str(count), "INTO": f"{self.work}/data", "STALL_S": "5",
            "IDENTITY": self.identity, "WANTED": "\n".join(wanted),
        }  # fmt: skip
        begun = run(body, VERB="begin", **given)
        assert begun.returncode == 0, begun.stderr
        return ended(lambda: run(body, VERB="state", **given).stdout)

    def restored(self, path: Path) -> Path:
        return self.work / "data" / str(path)[1:]

    def seal(self, stream: bytes, listed: str) -> None:
        """A set that somebody made by hand: this stream, and this list."""
        self.stage.mkdir(exist_ok=True)
        for name, content in (("part-000001", stream), ("list", listed.encode())):
            packed = subprocess.run(["zstd", "-q", "-c"], input=content, capture_output=True, check=True).stdout
            argv = ["age", "-r", self.recipient, "-o", f"{self.stage}/{name}.age"]
            subprocess.run(argv, input=packed, check=True)


def ended(state: object) -> str:
    deadline = time.monotonic() + 30
    while "running=1" in (said := state()):  # type: ignore[operator]
        assert time.monotonic() < deadline, said
        time.sleep(0.02)
    return str(said)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def fill(tree: Path) -> None:
    for name in ODD:
        (tree / name).write_text(f"content of {name}")
    (tree / "empty").touch()
    (tree / "directory").mkdir(mode=0o2750)
    (tree / "directory" / "big").write_bytes(os.urandom(700_000))
    (tree / "link").symlink_to("/etc/passwd")
    os.link(tree / "two words", tree / "twin")
    (tree / "setuid").write_text("x")
    os.chown(tree / "setuid", 12345, 54321)
    (tree / "setuid").chmod(0o4711)
    os.mkfifo(tree / "pipe")
    with (tree / "holes").open("wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
    try:
        os.setxattr(tree / "setuid", "user.note", b"kept")
    except OSError:
        pytest.skip("the file system has no extended attributes")


def test_a_tree_of_odd_names_comes_back_as_it_was(host: Host) -> None:
    fill(host.tree)
    said = host.pack()
    assert "done=S1" in said, said
    assert said.count("part=part-") > 3
    assert f"files={len(ODD) + 4}" in said
    assert "done=" in host.unpack()
    same = subprocess.run(
        ["diff", "-r", "--no-dereference", "-x", "pipe", host.tree, host.restored(host.tree)], check=False
    )
    assert same.returncode == 0
    for path in (host.tree, *host.tree.rglob("*")):
        was, now = path.lstat(), host.restored(path).lstat()
        assert (was.st_mode, was.st_uid, was.st_gid, was.st_size) == (
            now.st_mode,
            now.st_uid,
            now.st_gid,
            now.st_size,
        ), path
        assert path.is_symlink() or was.st_mtime_ns == now.st_mtime_ns, path
    assert os.getxattr(host.restored(host.tree / "setuid"), "user.note") == b"kept"
    assert host.restored(host.tree / "holes").stat().st_blocks < 1000
    assert host.restored(host.tree / "twin").stat().st_ino == host.restored(host.tree / "two words").stat().st_ino
    assert oct(host.work.stat().st_mode)[-3:] == "700", "nobody else may run what is setuid there"


@pytest.mark.parametrize("name", [*ODD, "twin", "empty", "holes"])
def test_one_file_alone_is_unpacked(host: Host, name: str) -> None:
    fill(host.tree)
    host.pack()
    assert "done=" in host.unpack(quoted(f"{host.tree}/{name}"))
    found = [path for path in (host.work / "data").rglob("*") if not path.is_dir()]
    assert found == [host.restored(host.tree / name)]
    assert found[0].read_bytes() == (host.tree / name).read_bytes()


def test_what_the_set_does_not_have_is_said(host: Host) -> None:
    (host.tree / "a").touch()
    host.pack()
    said = host.unpack("etc/no such")
    assert "done=\n" in said
    assert "said=the set has no /etc/no such" in said


def test_what_is_excluded_is_not_in_it_and_what_is_not_there_is_said(host: Host) -> None:
    for name in ("a", "b.swp", "cache/c", "deep/cache/d"):
        (host.tree / name).parent.mkdir(parents=True, exist_ok=True)
        (host.tree / name).write_text(name)
    said = host.pack(PATHS=f"{host.tree}\n/no such", EXCLUDE=f"*.swp\n{host.tree}/cache")
    assert "missing=/no such" in said
    assert "files=2\n" in said
    host.unpack()
    assert sorted(path.name for path in host.restored(host.tree).rglob("*") if path.is_file()) == ["a", "d"]


def test_nothing_is_begun_where_no_path_is_there_or_one_leads_through_a_link(host: Host) -> None:
    assert "none of its paths is there: /no such" in host.take("begin", PATHS="/no such").stderr
    (host.tree / "real").mkdir()
    (host.tree / "way").symlink_to("real")
    refused = host.take("begin", PATHS=f"{host.tree}/way/x")
    assert f"leads through a symbolic link: name {host.tree}/real/x" in refused.stderr


def test_files_that_change_while_they_are_read_are_said(host: Host) -> None:
    (host.tree / "first").touch()
    (host.tree / "log").write_bytes(os.urandom(20_000_000))
    assert host.take("begin").returncode == 0
    while "running=1" in (said := host.take("state").stdout):
        with (host.tree / "log").open("ab") as file:
            file.write(b"more")
    assert "done=S1" in said
    assert re.search(r"^changed=.*/log.*: file changed as we read it$", said, re.MULTILINE), said
    assert "done=" in host.unpack(), "what is in the set is what its list says, whatever became of the file"


def entry(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    one = tarfile.TarInfo(name)
    one.type, one.linkname = kind, target
    one.size = len(content) if kind == tarfile.REGTYPE else 0
    return one, content


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([entry("../out")], "would leave the directory"),
        ([entry("etc/../../out")], "would leave the directory"),
        ([entry("/etc/out")], "would leave the directory"),
        ([entry("etc//out")], "would leave the directory"),
        ([entry("way", kind=tarfile.SYMTYPE, target="/tmp"), entry("way/out")], "which is no directory"),
        ([entry("way/out"), entry("way", kind=tarfile.SYMTYPE, target="/tmp")], "which is no directory"),
        ([entry("one", kind=tarfile.SYMTYPE, target="/etc/passwd"), entry("one")], "stands in it twice"),
        ([entry("hard", kind=tarfile.LNKTYPE, target="/etc/shadow")], "is no file of the set"),
        ([entry("hard", kind=tarfile.LNKTYPE, target="../../etc/shadow")], "is no file of the set"),
    ],
)
def test_a_set_whose_names_would_break_out_is_refused_before_anything_is_unpacked(
    host: Host, entries: list[tuple[tarfile.TarInfo, bytes]], why: str
) -> None:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for one, content in entries:
            archive.addfile(one, BytesIO(content))
    argv = ["tar", "-tPvv", "--full-time", "--utc", "--numeric-owner", "--quoting-style=c", "-f", "-"]
    shown = subprocess.run(argv, input=stream.getvalue(), capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    host.seal(stream.getvalue(), "".join(f"# {line}\n" for line in shown.decode().splitlines()))
    said = host.unpack()
    assert "done=\n" in said
    assert why in said, said
    assert list((host.work / "data").iterdir()) == []


def test_a_list_that_is_not_that_of_the_stream_is_refused(host: Host) -> None:
    (host.tree / "a").write_text("a")
    host.pack()
    other = (host.stage / "list.age").read_bytes()
    (host.tree / "b").write_text("b")
    host.take("end", KEEP="1")
    host.pack()
    (host.stage / "list.age").write_bytes(other)
    assert "the list of the set is not that of its stream" in host.unpack()


def test_a_file_that_does_not_have_its_hash_is_refused(host: Host) -> None:
    stream = BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(*[entry("a", b"other")[0], BytesIO(b"other")])
    line = '-rw-r--r-- 0/0 5 1970-01-01 00:00:00 "a"'
    host.seal(stream.getvalue(), f"# {line}\n{'0' * 64}  a\n")
    said = host.unpack()
    assert "done=\n" in said
    assert "not as it was backed up: a: FAILED" in said
