"""HTTP calls end by their deadline, trust only what the inventory names, and keep secrets to themselves."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tls_kit import authority, served

from recoverd.connections.http import MOST_BYTES, Http
from recoverd.errors import Look, NotAllowed, Tampered, TimedOut, Unreachable

PASSWORD = "hush-7f3a"


class Place(BaseHTTPRequestHandler):
    """Answers by path; keeps what it was asked."""

    asked: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/slow":
            time.sleep(0.5)
        if self.path == "/elsewhere":
            self.send_response(307)
            self.send_header("Location", "/cluster")
            self.end_headers()
            return
        body = b"x" * (MOST_BYTES + 10) if self.path == "/big" else b'{"members": []}'
        self.send_response(401 if self.path == "/locked" else 200)
        self.end_headers()
        for number in range(20 if self.path == "/drip" else 1):
            self.wfile.write(b" " if self.path == "/drip" and number else body)
            self.wfile.flush()
            time.sleep(0.02 if self.path == "/drip" else 0)

    do_POST = do_GET  # noqa: N815  # the library's name

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def place() -> Iterator[tuple[Http, list[tuple[str, str | None]]]]:
    handler = type("Here", (Place,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_args: None  # type: ignore[method-assign]  # a client that hangs up is what we want
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        yield Http(base, user="sre", password=PASSWORD, name="Patroni on db-1"), handler.asked  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_answer_is_given_whatever_its_status(place: tuple[Http, list[tuple[str, str | None]]]) -> None:
    there, _ = place
    assert there.get("/cluster", timeout_s=1).json() == {"members": []}
    assert there.get("/locked", timeout_s=1).status == 401


def test_reading_sends_no_login_and_changing_does(place: tuple[Http, list[tuple[str, str | None]]]) -> None:
    there, asked = place
    there.get("/cluster", timeout_s=1)
    there.post("/cluster", {}, timeout_s=1)
    assert [login is not None for _, login in asked] == [False, True]


def test_a_redirect_is_not_followed_with_the_login(place: tuple[Http, list[tuple[str, str | None]]]) -> None:
    there, asked = place
    assert there.post("/elsewhere", {}, timeout_s=1).status == 307
    assert len(asked) == 1


def test_a_proxy_of_the_environment_is_not_used(
    place: tuple[Http, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert place[0].get("/cluster", timeout_s=1).ok


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_a_call_ends_by_its_deadline(place: tuple[Http, list[tuple[str, str | None]]], path: str) -> None:
    there, _ = place
    started = time.monotonic()
    with pytest.raises(Unreachable):
        there.get(path, timeout_s=0.1)
    with pytest.raises(TimedOut, match="did not answer POST"):
        there.post(path, {}, timeout_s=0.1)
    assert time.monotonic() - started < 0.4


def test_an_answer_that_never_ends_is_not_kept(place: tuple[Http, list[tuple[str, str | None]]]) -> None:
    with pytest.raises(Look, match="more than"):
        place[0].get("/big", timeout_s=2)


def test_a_change_that_was_not_heard_is_told_from_one_whose_effect_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        Http(f"http://127.0.0.1:{port}", name="nobody").post("/switchover", {}, timeout_s=0.5)


def test_the_password_is_in_no_error_and_no_repr(place: tuple[Http, list[tuple[str, str | None]]]) -> None:
    there, _ = place
    with pytest.raises(NotAllowed) as refused:
        there.post("/locked", {}, timeout_s=1)
    with pytest.raises(TimedOut) as late:
        there.post("/slow", {}, timeout_s=0.05)
    said = f"{refused.value} {late.value} {there!r} {vars(refused.value)}"
    assert PASSWORD not in said


def test_only_the_authority_that_is_named_is_trusted(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("tls")
    ours, theirs = authority(home / "ours"), authority(home / "theirs")
    with served(ours) as port:
        trusting = Http(f"https://127.0.0.1:{port}", ca_file=ours.ca_file, name="db-1")
        assert trusting.get("/", timeout_s=2).ok
        for other in (theirs.ca_file, None):
            with pytest.raises(Tampered, match="not to be trusted"):
                Http(f"https://127.0.0.1:{port}", ca_file=other, name="db-1").get("/", timeout_s=2)
