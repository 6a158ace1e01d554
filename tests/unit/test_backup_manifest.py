"""Manifests are believed only as they were signed, and only for the set that they were signed for."""

from __future__ import annotations

import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from recoverd.backup import keys
from recoverd.backup.compare import Health, Held, judge_set, odd_one_out
from recoverd.backup.manifest import Manifest, Part, believe
from recoverd.errors import Invalid, Tampered

AT = datetime(2026, 11, 25, 12, 0, tzinfo=timezone.utc)
SET = "20261125T120000Z-ab12"


def key_pair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def manifest(parts: int = 3, **changes: object) -> Manifest:
    made = tuple(
        Part(name=keys.part_name(n), size=100 + n, sha256=f"{n:064x}", md5=f"{n:032x}") for n in range(1, parts + 1)
    )
    known = {"service": "orders-db", "set": SET, "source": "db-1", "begun_at": AT, "ended_at": AT, "parts": made}
    return Manifest(**{**known, **changes})


def test_a_manifest_is_believed_as_it_was_signed() -> None:
    private, public = key_pair()
    document, signature = manifest().signed(private)
    assert believe(document, signature, public, "orders-db", SET) == manifest()


def test_a_forged_manifest_is_not_believed() -> None:
    private, public = key_pair()
    document, signature = manifest().signed(private)
    with pytest.raises(Tampered, match="does not fit"):
        believe(document.replace(b"db-1", b"db-9"), signature, public, "orders-db", SET)
    other = key_pair()[0]
    with pytest.raises(Tampered, match="does not fit"):
        believe(*manifest().signed(other), public, "orders-db", SET)
    with pytest.raises(Tampered):
        believe(document, b"", public, "orders-db", SET)


def test_an_old_manifest_put_into_another_sets_place_is_not_believed() -> None:
    private, public = key_pair()
    with pytest.raises(Tampered, match="put into its place"):
        believe(*manifest().signed(private), public, "orders-db", "20261126T120000Z-ab12")
    with pytest.raises(Tampered, match="put into its place"):
        believe(*manifest().signed(private), public, "payments-db", SET)


def test_openssl_alone_verifies_a_manifest(tmp_path: Path) -> None:
    private, public = key_pair()
    document, signature = manifest().signed(private)
    for name, content in (("m.json", document), ("m.sig", signature), ("public.pem", public.encode())):
        (tmp_path / name).write_bytes(content)
    argv = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        "public.pem",
        "-rawin",
        "-in",
        "m.json",
        "-sigfile",
        "m.sig",
    ]
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=10, check=False).returncode == 0
    (tmp_path / "m.json").write_bytes(document + b" ")
    assert subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=10, check=False).returncode != 0


def test_a_key_of_another_kind_is_refused() -> None:
    with pytest.raises(Invalid, match="signing key"):
        manifest().signed("no key")
    with pytest.raises(Invalid, match="trusted key"):
        believe(b"", b"", "no key", "orders-db", SET)


def test_the_id_of_a_set_says_when_it_was_begun() -> None:
    made = keys.set_id(AT, "r-20261125-ab12")
    assert made == SET
    assert keys.begun_at(made) == AT
    assert keys.SET_ID.match(keys.set_id(AT, "R7"))


def held(one: Manifest, **changes: Held | None) -> dict[str, Held]:
    found = {part.name: Held(size=part.size, sha256=part.sha256) for part in one.parts}
    for name, change in changes.items():
        key = keys.part_name(int(name[1:]))
        if change is None:
            del found[key]
        else:
            found[key] = change
    return found


WRONG = Held(size=101, sha256="f" * 64)


@pytest.mark.parametrize(
    ("changes", "read", "health"),
    [
        ({}, True, Health.GOOD),
        ({}, False, Health.LISTED),
        ({"p2": None}, True, Health.INCOMPLETE),
        ({"p1": WRONG}, True, Health.DAMAGED),
        ({"p1": WRONG}, False, Health.LISTED),  # who only lists does not see it, and does not say that it is good
        ({"p1": Held(size=7)}, False, Health.DAMAGED),
        ({"p1": WRONG, "p2": None}, True, Health.DAMAGED),
        ({"p1": WRONG, "p2": WRONG, "p3": WRONG}, True, Health.TAMPERED),
        ({"p1": None, "p2": None, "p3": None}, True, Health.ABSENT),
    ],
)
def test_a_site_is_judged_by_the_manifest(changes: dict[str, Held | None], read: bool, health: Health) -> None:
    one = manifest()
    assert judge_set("own", one, held(one, **changes), read=read).health is health


def test_the_site_that_disagrees_with_two_others_is_doubted() -> None:
    good = {"a": Held(size=1, sha256="1"), "b": Held(size=1, sha256="2")}
    bad = {"a": Held(size=1, sha256="9")}
    assert odd_one_out({"own": good, "second": bad, "offsite": good}) == {"a": ("second",), "b": ("second",)}
    assert odd_one_out({"own": good, "second": bad}) == {}
