"""The index of the WAL archive: believed only as signed, and what several pages say together."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from recoverd.backup.archive import Entry, Index, believe_index, hour_of, known, pages
from recoverd.backup.keys import index_key, partial_key, wal_key
from recoverd.errors import Tampered

AT = datetime(2026, 11, 25, 9, 30, tzinfo=timezone.utc)
FIRST, SECOND = "000000010000000000000007", "000000010000000000000008"


def entry(name: str, *, partial_end: int = 0, at: datetime = AT, sha: str = "a") -> Entry:
    return Entry(
        name=name, partial_end=partial_end, size=9, sha256=sha * 64, md5="b" * 32, first_at=at, last_at=at
    )  # fmt: skip


def page(*entries: Entry, hour: str = "2026112509", seq: int = 1) -> Index:
    return Index(service="orders-db", hour=hour, seq=seq, system_identifier="7", entries=entries)


@pytest.fixture(scope="module")
def keypair() -> tuple[str, str]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_a_page_is_believed_only_for_its_own_service_hour_and_number(keypair: tuple[str, str]) -> None:
    private, public = keypair
    made = page(entry(FIRST), seq=3)
    document, signature = made.signed(private)
    assert believe_index(document, signature, public, "orders-db", "2026112509", 3) == made
    for service, hour, seq in (
        ("other", "2026112509", 3),
        ("orders-db", "2026112510", 3),
        ("orders-db", "2026112509", 4),
    ):
        with pytest.raises(Tampered, match="put into its place"):
            believe_index(document, signature, public, service, hour, seq)
    with pytest.raises(Tampered, match="does not fit"):
        believe_index(document.replace(b"aaaa", b"bbbb", 1), signature, public, "orders-db", "2026112509", 3)


def test_names_and_keys_are_those_of_the_contract() -> None:
    assert entry(FIRST).key("orders-db") == wal_key("orders-db", FIRST) == f"orders-db/wal/00000001/{FIRST}.zst.age"
    assert entry("00000002.history").file == "00000002/00000002.history.zst.age"
    grown = entry(FIRST, partial_end=0x7000100)
    assert grown.key("orders-db") == partial_key("orders-db", FIRST, 0x7000100)
    assert grown.file == f"partial/{FIRST}-0000000007000100.zst.age"
    assert index_key("orders-db", "2026112509", 3, "sig") == "orders-db/wal/index/2026112509-000003.sig"
    assert entry(FIRST).hour == hour_of(AT) == "2026112509"


def test_the_highest_page_of_an_hour_comes_first_and_nothing_else_is_a_page() -> None:
    files = ["index/2026112509-000002.json", "index/2026112509-000011.json", "index/2026112510-000001.json"]
    files += ["index/2026112509-000011.sig", "index/x.json", f"00000001/{FIRST}.zst.age"]
    assert pages(files) == {"2026112509": (11, 2), "2026112510": (1,)}


def test_a_growing_segment_counts_until_it_is_whole_and_only_as_far_as_it_came() -> None:
    later = AT + timedelta(hours=1)
    early = page(entry(FIRST, partial_end=0x7000100), entry(SECOND, partial_end=0x8000100))
    late = page(entry(FIRST, at=later), entry(SECOND, partial_end=0x8000200, at=later), hour="2026112510")
    assert [(one.name, one.partial_end) for one in known([late, early]).values()] == [(FIRST, 0), (SECOND, 0x8000200)]


def test_of_two_entries_for_one_file_the_first_that_was_signed_counts() -> None:
    rewritten = page(entry(FIRST, sha="c", at=AT + timedelta(hours=1)), hour="2026112510")
    assert known([rewritten, page(entry(FIRST))])[entry(FIRST).file].sha256 == "a" * 64
