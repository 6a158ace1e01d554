"""Secrets are in no log, journal or error."""

from __future__ import annotations

import pytest

from recoverd import redact as module
from recoverd.journal.entries import plain
from recoverd.redact import redact, register_secret


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_values", frozenset())
    monkeypatch.setattr(module, "_pattern", None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://app:hunter2@db-1:5432/orders", "postgresql://app:***@db-1:5432/orders"),
        ("host=db-1 password=hunter2 user=app", "host=db-1 password=*** user=app"),
        ("password = 'two words' dbname=x", "password = *** dbname=x"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
        ('{"password": "hunter2", "user": "app"}', '{"password": ***, "user": "app"}'),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpodW50ZXIy", "authorization: basic ***"),
        ("api_key=abc&x=1", "api_key=***&x=1"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\nrest", "***\nrest"),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "***"),
    ],
)
def test_what_is_shaped_like_a_secret_is_masked(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "the password file /etc/recoverd/password is missing",
        "connected to postgresql://db-1:5432/orders as app",
        "a basic check of the bearer of bad news",
        "2026-11-22T09:15:00Z user@host: no",
        "password_encryption is scram-sha-256",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_a_registered_value_is_masked_wherever_it_stands_and_however_it_is_written() -> None:
    register_secret('s3cr&t "pass"')
    for text in ('it is s3cr&t "pass"!', "s3cr%26t%20%22pass%22@host", 's3cr&t \\"pass\\"'):
        assert "s3cr" not in redact(text)


def test_a_short_value_is_masked_only_where_it_stands_alone() -> None:
    register_secret("app")
    assert redact("app failed in application app-1") == "*** failed in application ***-1"


def test_of_two_values_the_longer_is_masked_whole() -> None:
    register_secret("longsecret")
    register_secret("longsecret-and-more")
    assert redact("longsecret-and-more longsecret") == "*** ***"


def test_nothing_is_registered_by_an_empty_value() -> None:
    register_secret("")
    assert redact("a text") == "a text"


def test_a_body_is_masked_by_key_by_value_and_by_shape() -> None:
    register_secret("verysecretvalue")
    body = {
        "password": "hunter2",
        "nested": [{"Api-Key": "k", "text": "it is verysecretvalue"}],
        "dsn": "postgresql://a:b@c/d",
        "password_set": True,
        "token": None,
        "secret": {"env": "NAME"},
    }
    assert plain(body) == {
        "password": "***",
        "nested": [{"Api-Key": "***", "text": "it is ***"}],
        "dsn": "postgresql://a:***@c/d",
        "password_set": True,
        "token": None,
        "secret": {"env": "NAME"},
    }
