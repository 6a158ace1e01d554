"""An address that a server gives, and the one by which the inventory knows its host."""

from __future__ import annotations

import pytest

from tasks import hosts


@pytest.mark.parametrize(
    ("said", "known", "same"),
    [
        ("10.0.0.11", "10.0.0.11", True),
        ("10.0.0.12", "10.0.0.11", False),
        ("2001:db8::1", "2001:0DB8:0:0::1", True),
        ("127.0.0.1", "localhost", True),
        ("", "10.0.0.11", False),
        ("10.0.0.11", "no-such-name.invalid", False),
    ],
)
def test_an_address_may_be_written_otherwise_or_be_a_name(
    said: str, known: str, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Here:
        class inventory:  # noqa: N801
            @staticmethod
            def host(_name: str) -> object:
                return type("Host", (), {"address": known})

    monkeypatch.setattr(hosts, "world", Here)
    assert hosts.is_address_of(said, "db-1") is same
