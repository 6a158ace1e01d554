"""Child processes that never outlive their parent and are started again when they die."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recoverd.errors import TimedOut

logger = logging.getLogger("recoverd.processes")

PARENT_PID = "RECOVERD_PARENT_PID"
FIRST_BACKOFF_S = 0.2
LAST_BACKOFF_S = 10.0
_PR_SET_PDEATHSIG = 1


class Kept:
    """A child process, started again when it dies, with a socket to talk to it.

    The kernel sends a parent-death signal when the *thread* that started the child ends, so one thread of this object
    starts every child and lives until `stop()`.

    Args:
        name: What logs call it.
        command: Returns argv and the further file descriptors to pass; called before each start with the number of the
            child's end of the socket.
        environment: The whole environment of the child.
        log_file: Where its output goes; None keeps the parent's.
        grace_s: Seconds between SIGTERM and SIGKILL on `stop()`.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], tuple[Sequence[str], Sequence[int]]],
        environment: Callable[[], Mapping[str, str]],
        *,
        log_file: Path | None = None,
        grace_s: float = 5.0,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._log_file = log_file
        self._grace_s = grace_s
        self._stopping = threading.Event()
        self._said_ready = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self.starts = 0

    def start(self) -> None:
        """Start the child and watch it. Returns at once; ask `wait_ready`."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._keep, name=f"keep-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the child: SIGTERM, then SIGKILL after the grace time. Never raises when it is gone already."""
        self._stopping.set()
        with self._lock:
            process = self._process
        if process is not None:
            end(process, self._grace_s)
        if self._thread is not None:
            self._thread.join(self._grace_s + LAST_BACKOFF_S)

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        with self._lock:
            return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def is_ready(self) -> bool:
        """Whether the child that lives now has said that it is ready."""
        return self._said_ready.is_set()

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the child says that it is ready.

        Raises:
            TimedOut: It did not in that time.
        """
        if not self._said_ready.wait(timeout_s):
            where = f" in {self._log_file}" if self._log_file else ""
            raise TimedOut(
                f"the {self.name} was not ready after {timeout_s:g} seconds",
                f"its output{where} says why; it was started {self.starts} times",
            )

    def tell(self, message: bytes) -> bool:
        """Send a few bytes to the child without waiting.

        Returns:
            False when there is no child just now or it has not read the earlier ones yet.
        """
        with self._lock:
            if self._socket is None:
                return False
            try:
                self._socket.send(message, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                return False
        return True

    def _keep(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._stopping.is_set():
            began = time.monotonic()
            ours, process = self._spawn()
            self._listen(ours)
            code = process.wait()
            with self._lock:
                self._said_ready.clear()
                self._socket = None
            ours.close()
            if self._stopping.is_set():
                return
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - began > LAST_BACKOFF_S else backoff_s
            logger.warning("the %s ended with %s, starting it again in %.1f s", self.name, code, backoff_s)
            self._stopping.wait(backoff_s)
            backoff_s = min(backoff_s * 2, LAST_BACKOFF_S)

    def _spawn(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as stack:
            argv, descriptors = self._command(theirs.fileno())
            output = stack.enter_context(self._log_file.open("ab")) if self._log_file else None
            process = subprocess.Popen(
                list(argv),
                env={**self._environment(), PARENT_PID: str(os.getpid())},
                pass_fds=(theirs.fileno(), *descriptors),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
            )
        self.starts += 1
        with self._lock:
            self._process, self._socket = process, ours
        if self._stopping.is_set():
            end(process, self._grace_s)
        return ours, process

    def _listen(self, ours: socket.socket) -> None:
        """Read until the child closes its end, which its death does."""
        while True:
            try:
                message = ours.recv(4096)
            except ConnectionResetError:
                return
            if not message:
                return
            self._said_ready.set()


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Ask a process of ours to end, and kill it when it has not after `grace_s` seconds."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(grace_s)


def die_with_parent(parent: int | None = None) -> None:
    """Let the kernel kill this process when its parent dies.

    Args:
        parent: Process id of the parent that started us; the environment says when it is None. A parent that died
            before this call is found out by comparing.
    """
    if not sys.platform.startswith("linux"):
        return
    expected = parent if parent is not None else int(os.environ.get(PARENT_PID, os.getppid()))
    _set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != expected:
        os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    if sys.platform.startswith("linux"):
        _set_parent_death_signal(0)


def _set_parent_death_signal(number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused a parent-death signal")
