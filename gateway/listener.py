"""Where the HTTP door listens, and how it is served: without a word about what serves it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from recoverd.errors import Invalid

DRAIN_TIMEOUT_S = 25
"""For requests under way when the process is told to end: longer than any of them may wait for the disk."""


class Server(uvicorn.Server):
    """uvicorn, which by itself would end the process by the signal it was given, before the rest has ended well."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `Ending`."""
        yield


class Ending:
    """SIGTERM and SIGINT, from the first moment to the last: one asks for an end in good order, more change nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._server: uvicorn.Server | None = None

    def ends(self, server: uvicorn.Server) -> None:
        """Let a signal, also one that has come already, end this server."""
        self._server = server
        server.should_exit = server.should_exit or self.asked

    @contextmanager
    def caught(self) -> Iterator[Ending]:
        """Catch the signals; for the main thread."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        if self._server is not None:
            self._server.should_exit = True


def uvicorn_config(app: FastAPI) -> uvicorn.Config:
    """How the app is served: no word about what serves it, no log line a request."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        Invalid: The address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        hint = "set RECOVERD_LISTEN_HOST and RECOVERD_LISTEN_PORT to a free address of this machine"
        raise Invalid(f"nothing can listen on {host} port {port}: {error.strerror}", hint) from error
    listener.listen(1024)
    return listener
