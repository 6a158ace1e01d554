"""A postmaster that greets while nobody gets a session: what is said of it, and that it is looked at again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from views_kit import dead_view, lost, off, on_host, seen

from recoverd.connections import Reach, Sql, server_parameters
from recoverd.inventory import Service
from tasks import observation, postgres
from tasks.views import Answer, ServiceView

BETWEEN: dict[str, tuple[ServiceView, bool]] = {
    "all is well": (seen(), False),
    "its port greets, its login hangs": (seen(lost("db-1", Answer.STALLED)), True),
    "its port greets, its session breaks": (seen(lost("db-1")), True),
    "it is dead": (dead_view(), False),
    "it is frozen": (dead_view(Reach.SILENT, frozen=True), False),
    "its host says that it runs": (dead_view(Reach.LOST, running=True), True),
    "its host says that it does not run": (dead_view(Reach.REFUSED, running=False, processes=0), False),
    "cut off from the controller": (seen(lost("db-1"), hosts=(off("db-1"),), reach={"controller": Reach.LOST}), False),
    "a fenced one": (dead_view(Reach.LOST, running=True, fenced="by fa-1"), False),
    "it refuses us": (seen(lost("db-1", Answer.REJECTED), hosts=(on_host("db-1"),)), False),
}


@pytest.mark.parametrize("case", BETWEEN)
def test_a_look_that_contradicts_itself_is_taken_again(case: str) -> None:
    view, again = BETWEEN[case]
    assert observation._is_between(view) is again


@contextlib.contextmanager
def greeter() -> Iterator[int]:
    """A server that says no to TLS, as a postmaster does, and then nothing."""

    def greet(stream: socket.socket) -> None:
        with stream:
            while stream.recv(1024):  # SSLRequest; then the startup message, which nobody answers
                with contextlib.suppress(OSError):
                    stream.sendall(b"N") if not said.get(stream.fileno()) else None
                said[stream.fileno()] = True

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = listener.accept()
                said.pop(stream.fileno(), None)
                threading.Thread(target=greet, args=(stream,), daemon=True).start()

    said: dict[int, bool] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_login_that_hangs_behind_a_living_postmaster_is_a_stall_and_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres, "LOGIN_TIMEOUT_S", 0.2)

    def session(_service: Service, host: str, *, timeout_s: float) -> Sql:
        return Sql(server_parameters("127.0.0.1", port, "orders", "r", None, "prefer", "t"), timeout_s=timeout_s)

    here = SimpleNamespace(
        inventory=SimpleNamespace(host=lambda _: SimpleNamespace(address="127.0.0.1")),
        connections=SimpleNamespace(sql=session),
    )
    service: Any = SimpleNamespace(postgres_of=lambda _: SimpleNamespace(port=port))
    monkeypatch.setattr(postgres, "world", lambda: here)
    with greeter() as port:
        view = postgres.view_server(cast("Service", service), "db-1", connect_timeout_s=1.0)
    assert (view.answer, "does not answer within 0.2 s" in view.problem) == (Answer.STALLED, True)
