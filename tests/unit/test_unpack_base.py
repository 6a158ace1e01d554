"""How a set becomes a data directory on the host that restores: each file is hashed beside the unpacking, and none is passed over."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_copy_scripts import BIN, Work, pytestmark, until, work
from test_scripts import run

__all__ = ["pytestmark", "work"]

SCRIPTS = Path(__file__).parents[2] / "tasks/scripts"
Change = Callable[[tarfile.TarInfo, bytes], bytes | None]


@pytest.fixture(scope="module")
def stream() -> Iterator[bytes]:
    """A base backup as `take.sh` gets it, of a server without a table."""
    with tempfile.TemporaryDirectory(prefix="source-") as place:
        yield taken_in(Path(place))


def taken_in(root: Path) -> bytes:
    root.chmod(0o755)
    shutil.chown(root, "postgres", "postgres")
    socket = f"-c unix_socket_directories={root} -c listen_addresses="
    taken = b""
    for argv in (
        ("initdb", "-D", root / "data", "-A", "trust", "--no-sync"),
        ("pg_ctl", "-D", root / "data", "-l", root / "log", "-s", "-w", "-o", socket, "start"),
        (
            "pg_basebackup",
            "-h",
            root,
            "-D",
            "-",
            "-F",
            "tar",
            "-X",
            "fetch",
            "-c",
            "fast",
            "--manifest-checksums=SHA256",
        ),
        ("pg_ctl", "-D", root / "data", "-s", "-w", "-m", "immediate", "stop"),
    ):
        words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", BIN / argv[0], *argv[1:]]
        with (root / "said").open("w") as said:
            out = subprocess.PIPE if argv[0] == "pg_basebackup" else said
            done = subprocess.run(words, check=True, cwd="/", stdout=out, stderr=said, timeout=60)
        taken = done.stdout or taken
    return taken


def unpacked(work: Work, stream: bytes, change: Change | None = None) -> dict[str, str]:
    """What is said once a set was unpacked; `change` gives a file other bytes, or none to leave it out."""
    if change is not None:
        new = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(stream)) as old, tarfile.open(fileobj=new, mode="w") as made:
            for member in old:
                content = old.extractfile(member)
                bytes_ = change(member, content.read() if content else b"")
                if bytes_ is not None:
                    made.addfile(member, io.BytesIO(bytes_))
        stream = new.getvalue()
    work.seal("part-000001", stream)
    (work.work / "wal-parts").rename(work.work / "parts")
    work.run("unpack.sh", "begin", PARTS="1")
    until(lambda: "running" not in work.run("unpack.sh", "state"))
    return work.run("unpack.sh", "state")


def flipped(name: str) -> Change:
    return lambda member, content: bytes([content[0] ^ 1]) + content[1:] if member.name == name else content


def test_every_file_is_hashed_while_it_is_unpacked_and_need_not_be_read_again(work: Work, stream: bytes) -> None:
    assert unpacked(work, stream)["done"] == "1"
    assert (work.data / "PG_VERSION").owner() == "postgres"
    script = (SCRIPTS / "unpack_base.sh").read_text()
    done = run(f'{script}\nawk "$compare" "{work.work}/unpack/sums" "{work.data}/backup_manifest"', BIN="")
    assert done.returncode == 0, done.stderr


def test_a_file_with_one_wrong_byte_is_refused_by_its_name(work: Work, stream: bytes) -> None:
    said = unpacked(work, stream, flipped("global/pg_control"))
    assert (said["done"], 'checksum mismatch for file "global/pg_control"' in said["said"]) == ("", True), said


def test_a_file_that_is_not_there_is_refused_by_its_name(work: Work, stream: bytes) -> None:
    said = unpacked(work, stream, lambda member, content: None if member.name == "PG_VERSION" else content)
    assert (said["done"], '"PG_VERSION" is present in the manifest but not on disk' in said["said"]) == ("", True), said


def test_a_manifest_that_was_made_to_fit_a_wrong_file_is_refused(work: Work, stream: bytes) -> None:
    """The hash of the manifest itself is PostgreSQL's to prove."""
    wrong = b"14\n"

    def change(member: tarfile.TarInfo, content: bytes) -> bytes:
        if member.name == "PG_VERSION":
            return wrong
        if member.name != "backup_manifest":
            return content
        new = hashlib.sha256(wrong).hexdigest().encode()
        return re.sub(rb'("Path": "PG_VERSION".*"Checksum": ")[0-9a-f]{64}', rb"\g<1>" + new, content)

    said = unpacked(work, stream, change)
    assert (said["done"], "manifest checksum mismatch" in said["said"]) == ("", True), said


@pytest.mark.parametrize("hide", ["", "command() { return 1; }"])
def test_with_and_without_openssl_names_and_hashes_are_written_alike(tmp_path: Path, hide: str) -> None:
    (tmp_path / "a name").write_bytes(b"orders")
    done = run(f'{(SCRIPTS / "unpack_base.sh").read_text()}\n{hide}\ncd {tmp_path} && hashes_of "a name"', BIN="")
    assert (done.stdout[:64], done.stdout[66:]) == (hashlib.sha256(b"orders").hexdigest(), "a name\n")
