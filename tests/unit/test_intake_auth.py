"""Only a source that proves itself is known; secrets change without a gap; everyone else sees one and the same no."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest
from intake_kit import source

from gateway.auth import Authenticator
from recoverd.inventory import AlertSource

BODY = b'{"alerts":[]}'
NOW = 1795316000

# Made with `printf … | openssl dgst -sha256 -hmac SECRET`.
OLD_PLAIN = "6c108a1bd57a69a1816eee05297776194e61c40e6c1b94865e3ff04b4661b744"
NEW_PLAIN = "670d3153311ea896444de0d03fa2c704094410d564b274bfabd2fce7d4515c50"
NEW_STAMPED = "0e9ecb5e68705f537ebc0b4df69efb02dd95433b660c274b88a5662e2e8448a9"


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"OLD": "old-secret", "NEW": "new-secret"}.items():
        monkeypatch.setenv(name, value)


def knows(one: AlertSource, headers: dict[str, str], body: bytes = BODY, name: str = "s", now: float = NOW) -> bool:
    return Authenticator({"s": one}, now=lambda: now).knows(name, headers, body) is not None


def hmac_source(**changes: Any) -> AlertSource:
    return source(kind="grafana", auth={"kind": "grafana-hmac", "secrets": [{"env": "OLD"}, {"env": "NEW"}], **changes})


def basic(text: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_both_tokens_are_valid_while_they_rotate():
    one = source(auth={"kind": "bearer", "tokens": [{"env": "OLD"}, {"env": "NEW"}]})
    assert knows(one, {"authorization": "Bearer old-secret"})
    assert knows(one, {"authorization": "bearer new-secret"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer  "},
        {"authorization": "Bearer x"},
        {"authorization": "Basic b2xkLXNlY3JldA=="},
        {"authorization": "old-secret"},
        {"authorization": "Bearer \xff"},
    ],
)
def test_without_a_token_that_fits_nobody_is_known(headers: dict[str, str]):
    assert not knows(source(auth={"kind": "bearer", "tokens": [{"env": "OLD"}]}), headers)


def test_a_secret_that_cannot_be_read_opens_nothing_and_hides_no_other():
    one = source(auth={"kind": "bearer", "tokens": [{"env": "ABSENT"}, {"file": "/nowhere/token"}, {"env": "OLD"}]})
    assert knows(one, {"authorization": "Bearer old-secret"})
    assert not knows(one, {"authorization": "Bearer None"})


def test_a_file_is_read_again_as_soon_as_it_changes(tmp_path: Path):
    path = tmp_path / "token"
    path.write_text("first\n")
    door = Authenticator({"s": source(auth={"kind": "bearer", "tokens": [{"file": str(path)}]})})
    assert door.knows("s", {"authorization": "Bearer first"})
    (tmp_path / "next").write_text("other\n")
    os.replace(tmp_path / "next", path)
    assert door.knows("s", {"authorization": "Bearer other"})
    assert not door.knows("s", {"authorization": "Bearer first"})
    path.unlink()
    assert not door.knows("s", {"authorization": "Bearer other"})


def test_each_user_has_passwords_of_their_own():
    one = source(auth={"kind": "basic", "users": {"am": [{"env": "OLD"}, {"env": "NEW"}], "other": {"env": "NEW"}}})
    assert knows(one, basic("am:old-secret"))
    assert knows(one, basic("am:new-secret"))
    assert knows(one, basic("other:new-secret"))
    assert not knows(one, basic("other:old-secret"))
    assert not knows(one, basic("am"))
    assert not knows(one, {"authorization": "Basic ???"})
    assert not knows(one, {})


@pytest.mark.parametrize("signature", [OLD_PLAIN, NEW_PLAIN, NEW_PLAIN.upper()])
def test_grafanas_signature_of_the_body_is_known_for_every_valid_secret(signature: str):
    assert knows(hmac_source(), {"x-grafana-alerting-signature": signature})


def test_a_signature_does_not_fit_another_body():
    assert not knows(hmac_source(), {"x-grafana-alerting-signature": NEW_PLAIN}, b'{"alerts":[1]}')


@pytest.mark.parametrize("signature", ["", "sha256=" + NEW_PLAIN, NEW_PLAIN[:-1], "\xe9"])
def test_a_malformed_signature_is_refused(signature: str):
    assert not knows(hmac_source(), {"x-grafana-alerting-signature": signature})


@pytest.mark.parametrize(("offset_s", "fits"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signed_time_is_valid_for_five_minutes(offset_s: int, fits: bool):
    headers = {"x-sig": NEW_STAMPED, "x-time": str(NOW)}
    assert knows(hmac_source(header="X-Sig", timestamp_header="X-Time"), headers, now=NOW + offset_s) is fits


@pytest.mark.parametrize("stamp", [None, "", "soon", "-1", str(NOW + 1), "9" * 40, "１７９５３１６０００"])
def test_a_source_that_signs_the_time_is_not_known_without_it(stamp: str | None):
    one = hmac_source(timestamp_header="X-Time")
    headers = {"x-grafana-alerting-signature": NEW_STAMPED, **({} if stamp is None else {"x-time": stamp})}
    assert not knows(one, headers)
    assert not knows(one, {**headers, "x-grafana-alerting-signature": NEW_PLAIN})


def test_whether_the_body_is_read_first_does_not_depend_on_the_source():
    door = Authenticator({"s": hmac_source(header="X-Sig"), "t": source()})
    assert door.needs_body({"x-sig": "1"})
    assert door.needs_body({"x-grafana-alerting-signature": "1"})
    assert not door.needs_body({"authorization": "Bearer x"})


def test_an_unknown_source_is_never_known():
    one = source(auth={"kind": "bearer", "tokens": [{"env": "OLD"}]})
    assert not knows(one, {"authorization": "Bearer old-secret"}, name="t")
