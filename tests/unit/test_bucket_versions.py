"""What a bucket's older versions say of a set, by moto: manifests and parts that were overwritten or deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import md5, sha256
from pathlib import Path
from types import SimpleNamespace

import boto3
import pytest
from moto import mock_aws
from test_backup_manifest import SET, key_pair, manifest

from recoverd.backup import keys
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest, Part
from recoverd.connections import S3
from recoverd.inventory import S3Site
from tasks import sites, surveying

SERVICE = "orders-db"
CONTENT = {keys.part_name(number): bytes([number]) * 50 for number in range(1, 4)}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sites.Bucket]:
    """A bucket with versions that holds one signed set."""
    private, public = key_pair()
    trusted = tmp_path / "trusted.pem"
    trusted.write_text(public)
    site = S3Site(name="offsite", kind="s3", bucket="orders")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-test")
    with ExitStack() as stack:
        stack.enter_context(mock_aws())
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="orders")
        client.put_bucket_versioning(Bucket="orders", VersioningConfiguration={"Status": "Enabled"})
        made = S3(site)
        backup = SimpleNamespace(trusted_key=trusted)
        here = SimpleNamespace(
            connections=SimpleNamespace(s3=lambda _site: made),
            inventory=SimpleNamespace(backup_of=lambda _name: backup),
        )
        for module in (sites, surveying):
            monkeypatch.setattr(module, "world", lambda: here)
        document, signature = the_manifest().signed(private)
        for name, content in {**CONTENT, keys.SIGNATURE: signature, keys.MANIFEST: document}.items():
            put(name, content)
        yield sites.Bucket(site)


def the_manifest() -> Manifest:
    parts = tuple(
        Part(name=name, size=len(content), sha256=sha256(content).hexdigest(), md5=md5(content).hexdigest())  # noqa: S324
        for name, content in CONTENT.items()
    )
    return manifest().model_copy(update={"parts": parts})


def put(name: str, content: bytes) -> None:
    boto3.client("s3", region_name="us-east-1").put_object(
        Bucket="orders", Key=keys.set_key(SERVICE, SET, name), Body=content
    )


def hide(*names: str) -> None:
    for name in names:
        boto3.client("s3", region_name="us-east-1").delete_object(Bucket="orders", Key=keys.set_key(SERVICE, SET, name))


def judged(bucket: sites.Bucket, *, read: bool) -> surveying.SetHealth:
    seen = surveying.ask_site(SERVICE, bucket, "")
    assert not seen.problem
    (found,) = surveying.judge_site(SERVICE, seen, surveying.choose_believed([seen]), read=read)
    return found


@pytest.mark.parametrize("read", [True, False])
def test_overwritten_and_deleted_files_are_found_among_the_versions(bucket: sites.Bucket, *, read: bool) -> None:
    assert judged(bucket, read=read).health is (Health.GOOD if read else Health.LISTED)
    put(keys.part_name(1), b"x" * 50)
    hide(keys.part_name(2))
    put(keys.MANIFEST, b"{}")
    found = judged(bucket, read=read)
    assert found.health is Health.HIDDEN
    assert set(found.versions) == {keys.part_name(1), keys.part_name(2), keys.MANIFEST}


def test_a_set_that_was_deleted_whole_is_still_believed(bucket: sites.Bucket) -> None:
    hide(*CONTENT, keys.MANIFEST, keys.SIGNATURE)
    assert judged(bucket, read=True).health is Health.HIDDEN


def test_a_version_that_only_looks_right_is_not_taken_for_good(bucket: sites.Bucket) -> None:
    name = keys.part_name(3)
    for one in boto3.client("s3", region_name="us-east-1").list_object_versions(
        Bucket="orders", Prefix=keys.set_key(SERVICE, SET, name)
    )["Versions"]:
        boto3.client("s3", region_name="us-east-1").delete_object(
            Bucket="orders", Key=one["Key"], VersionId=one["VersionId"]
        )
    put(name, b"y" * 50)
    put(name, b"z" * 50)
    found = judged(bucket, read=True)
    assert (found.health, found.versions) == (Health.DAMAGED, {})


def test_versions_to_read_are_those_of_what_was_changed_alone(bucket: sites.Bucket) -> None:
    assert surveying.versions_to_read(SERVICE, bucket, SET, the_manifest().parts) == {}
    put(keys.part_name(2), b"x" * 50)
    assert set(surveying.versions_to_read(SERVICE, bucket, SET, the_manifest().parts)) == {keys.part_name(2)}
