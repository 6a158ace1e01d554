"""A bucket that speaks S3, by moto: what is asked of it, and what its errors mean to the operator.

moto proves neither signatures, nor TLS, nor that Content-MD5 is held against what comes; the lab's SeaweedFS does, in
tests/lab/test_backup.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from recoverd.connections import S3
from recoverd.errors import Look, NotAllowed, Refused, Tampered, Unreachable
from recoverd.inventory import S3Site, SecretRef


@pytest.fixture
def site(tmp_path: Path) -> S3Site:
    for name in ("access", "secret"):
        (tmp_path / name).write_text(f"{name}-of-the-test")
        (tmp_path / name).chmod(0o600)
    return S3Site(
        name="offsite", kind="s3", bucket="orders", prefix="deep",
        access_key=SecretRef(file=tmp_path / "access"), secret_key=SecretRef(file=tmp_path / "secret"),
    )  # fmt: skip


@pytest.fixture
def s3(site: S3Site) -> Iterator[S3]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="orders")
        client.put_bucket_versioning(Bucket="orders", VersioningConfiguration={"Status": "Enabled"})
        yield S3(site)


def test_what_is_written_is_below_the_sites_prefix_and_read_back(s3: S3) -> None:
    s3.write("orders-db/a", b"one")
    assert s3.read("orders-db/a", most_bytes=10) == b"one"
    assert {key: one.size for key, one in s3.listing("orders-db/").items()} == {"orders-db/a": 3}
    raw = boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket="orders")["Contents"]
    assert [one["Key"] for one in raw] == ["deep/orders-db/a"]


def test_what_is_there_is_not_overwritten_with_other_bytes(s3: S3) -> None:
    s3.write("a", b"one")
    s3.write("a", b"one")
    with pytest.raises(Refused, match="other bytes"):
        s3.write("a", b"two")
    assert s3.read("a", most_bytes=10) == b"one"
    assert len(s3.versions("a")["a"]) == 1


def test_what_a_delete_has_hidden_is_found_among_the_versions(s3: S3) -> None:
    s3.write("a", b"one")
    s3.remove("a")
    assert s3.listing("") == {}
    marker, old = s3.versions("a")["a"]
    assert (marker.hidden, marker.newest, old.hidden) == (True, True, False)
    assert s3.read("a", most_bytes=10, version=old.version) == b"one"


def test_a_hash_is_of_every_byte(s3: S3) -> None:
    s3.write("a", b"x" * 3_000_000)
    assert s3.sha256("a")[0] == 3_000_000
    assert len(s3.sha256("a")[1]) == 64


def test_what_is_missing_or_too_large_is_told(s3: S3) -> None:
    with pytest.raises(Look, match="does not have"):
        s3.read("nothing", most_bytes=10)
    s3.write("a", b"x" * 11)
    with pytest.raises(Tampered, match="larger than 10 bytes"):
        s3.read("a", most_bytes=10)


def test_an_address_to_put_is_for_just_these_bytes_and_carries_the_lock(site: S3Site) -> None:
    with mock_aws():
        locked = S3(site.model_copy(update={"lock_days": 3}))
        address, headers = locked.address_to_put("a", "0" * 32, valid_s=60)
    assert headers["Content-MD5"] == "AAAAAAAAAAAAAAAAAAAAAA=="
    assert headers["x-amz-object-lock-mode"] == "COMPLIANCE"
    signed = address.split("X-Amz-SignedHeaders=")[1].split("&")[0]
    assert {"content-md5", "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"} <= set(signed.split("%3B"))
    assert "secret-of-the-test" not in address


def test_refused_credentials_and_silence_are_told_apart(s3: S3, site: S3Site) -> None:
    from unittest.mock import patch

    from botocore.exceptions import ClientError

    denied = ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "ListObjectsV2")
    with patch.object(s3._client, "get_paginator", side_effect=denied), pytest.raises(NotAllowed, match="refuses"):
        s3.listing("")
    nobody = S3(site.model_copy(update={"endpoint": "http://127.0.0.1:9"}), timeout_s=0.2)
    with pytest.raises(Unreachable, match="cannot be reached"):
        nobody.listing("")


def test_an_older_version_is_put_back_as_the_newest_and_what_hid_it_stays(s3: S3) -> None:
    raw = boto3.client("s3", region_name="us-east-1")
    for content in (b"good", b"evil"):
        raw.put_object(Bucket="orders", Key="deep/sets/a/part", Body=content)
    s3.remove("sets/a/part")
    assert s3.listing("sets/") == {}
    assert s3.folders("sets/") == {"a"}
    good = s3.versions("sets/a/part")["sets/a/part"][-1]
    s3.copy("sets/a/part", "sets/a/part", good.version)
    assert s3.read("sets/a/part", most_bytes=10) == b"good"
    assert len(s3.versions("sets/a/part")["sets/a/part"]) == 4
    assert s3.keeps_versions()


def test_a_bucket_without_versions_says_so(site: S3Site) -> None:
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="orders")
        assert not S3(site).keeps_versions()
