"""Evidence is what the host said, whole, signed, in every place, and never replaced."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from datetime import datetime, timezone
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from recoverd.backup.signing import sign
from recoverd.errors import Look, Refused, Tampered
from recoverd.evidence.manifest import Manifest, read_archive, sha256_of, signing_key
from recoverd.evidence.store import check, find, keep
from recoverd.inventory import Inventory, load

FILES = {
    "01-time": b"now\n",
    "02-processes": b"init\nbeacon\n",
    "looks": b"01-time exit=0 seconds=0 date\n02-processes exit=124 ps\n",
}
SCRIPT = Path(__file__).parents[2] / "tasks" / "scripts" / "masked.sh"


def packed(place: Path, files: dict[str, bytes], sums: str | None = None) -> Path:
    listed = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    path = place / "evidence.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**files, "SHA256SUMS": (listed if sums is None else sums).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def inventory(place: Path, evidence: str = "") -> Inventory:
    place.mkdir(exist_ok=True)
    (place / "hosts.yaml").write_text("all:\n  hosts:\n    web-1: {ansible_host: 10.0.0.1}\n")
    (place / "services.yaml").write_text("services:\n")
    (place / "isolation.yaml").write_text(f"zones: {{}}\n{evidence}")
    return load(place)


def manifest(archive: Path, moment: str = "before") -> Manifest:
    now = datetime.now(timezone.utc)
    return Manifest(
        run="is-1", host="web-1", moment=moment, reason="x", began_at=now, ended_at=now, size=archive.stat().st_size,
        sha256=sha256_of(archive), files={},
    )  # fmt: skip


def kept(known: Inventory, home: Path, archive: Path) -> tuple[str, ...]:
    made = manifest(archive)
    return keep(known, home, made, archive, sign(made.document(), signing_key(home)))


def test_looks_that_came_to_no_end_are_named(tmp_path: Path) -> None:
    files, short = read_archive(packed(tmp_path, FILES), "web-1")
    assert [*files] == ["01-time", "02-processes"]
    assert short == ("02-processes exit=124 ps",)


def test_an_archive_that_broke_off_or_was_changed_on_its_way_is_not_kept(tmp_path: Path) -> None:
    whole = packed(tmp_path, FILES)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(Look, match="not whole"):
        read_archive(cut, "web-1")
    with pytest.raises(Tampered):
        read_archive(packed(tmp_path, FILES, sums=f"{'0' * 64}  01-time\n"), "web-1")
    with pytest.raises(Tampered):
        read_archive(packed(tmp_path, FILES, sums=""), "web-1")


def test_what_is_kept_is_found_checked_and_for_reading_alone(tmp_path: Path) -> None:
    known, home = inventory(tmp_path / "inventory"), tmp_path / "home"
    [where] = kept(known, home, packed(tmp_path, FILES))
    assert where == str(home / "evidence" / "is-1" / "web-1" / "before")
    assert [*find(known, home)] == [("home", "is-1/web-1/before")]
    assert check(known, home, "home", "is-1/web-1/before").host == "web-1"
    assert {path.stat().st_mode & 0o777 for path in Path(where).parent.iterdir()} == {0o400}
    assert (home / "evidence-signing.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("ending", ["tar.gz", "json", "json.sig"])
def test_what_somebody_changes_is_told(tmp_path: Path, ending: str) -> None:
    known, home = inventory(tmp_path / "inventory"), tmp_path / "home"
    [where] = kept(known, home, packed(tmp_path, FILES))
    path = Path(f"{where}.{ending}")
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Tampered):
        check(known, home, "home", "is-1/web-1/before")


def test_a_bucket_with_a_lock_keeps_a_copy_that_nothing_replaces(tmp_path: Path) -> None:
    """moto has object lock's retention on each object; that a real server refuses to remove one is not shown by it."""
    places = (
        "evidence:\n  here: {directory: kept}\n  offsite: {bucket: evidence, prefix: shop, lock_days: 30, "
        "access_key: {env: KEY}, secret_key: {env: KEY}}\n"
    )
    known, home = inventory(tmp_path / "inventory", places), tmp_path / "home"
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEY", "testing-testing")
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="evidence", ObjectLockEnabledForBucket=True)
        archive = packed(tmp_path, FILES)
        where = kept(known, home, archive)
        assert where[1] == "s3://evidence/shop/is-1/web-1/before"
        assert sorted(place for place, _ in find(known, home, "is-1")) == ["here", "offsite"]
        assert check(known, home, "offsite", "is-1/web-1/before").run == "is-1"
        held = client.head_object(Bucket="evidence", Key="shop/is-1/web-1/before.tar.gz")
        assert held["ObjectLockMode"] == "COMPLIANCE"
        with pytest.raises(Refused, match="other bytes"):
            kept(known, home, packed(tmp_path, {**FILES, "01-time": b"later\n"}))


def test_secrets_in_command_lines_are_masked() -> None:
    lines = "mysql --password=hunter2 -u x\ncurl https://bob:hunter2@host/\napp DB_PASSWORD=hunter2 --token hunter2\nsleep 5\n"
    done = subprocess.run(
        ["/bin/sh", "-c", f"{SCRIPT.read_text()}\nmasked"],
        input=lines,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert "hunter2" not in done.stdout
    assert "sleep 5" in done.stdout
    assert "mysql --password=*** -u x" in done.stdout
