"""The runner's spare processes: forked ahead of need, handed one run each."""

from __future__ import annotations

import logging
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployments.child import Order
from deployments.processes import FIRST_BACKOFF_S, LAST_BACKOFF_S, PARENT_PID, end

logger = logging.getLogger("recoverd.runner")

SPARE_STARTS_WITHIN_S = 60.0


@dataclass(eq=False)
class Child:
    """One forked process, as the runner sees it.

    Attributes:
        channel: Our end of the socket pair; it closes when the process ends.
        state: starting, ready (a spare), busy (executes `run`) or finished (its run is over, it is about to end).
    """

    channel: socket.socket
    state: Literal["starting", "ready", "busy", "finished"] = "starting"
    run: str | None = None
    born: float = field(default_factory=time.monotonic)


class Pool:
    """Spares, and the children that execute runs.

    Args:
        selector: Where the sockets of the zygote and the children are registered; its keys' data is the object.
        catalogue: Address of the catalogue.
        environment: The whole environment of the processes.
        spares: How many to keep ready.
    """

    def __init__(
        self, selector: selectors.BaseSelector, catalogue: str, environment: Mapping[str, str], spares: int
    ) -> None:
        self._selector = selector
        self._catalogue = catalogue
        self._environment = environment
        self._spares = spares
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._warm = False
        self._backoff_s = FIRST_BACKOFF_S
        self._start_at = 0.0
        self.children: list[Child] = []

    @property
    def busy(self) -> list[Child]:
        """The children that execute a run."""
        return [child for child in self.children if child.state == "busy"]

    @property
    def has_spare(self) -> bool:
        """Whether a run would start at once."""
        return any(child.state == "ready" for child in self.children)

    def refill(self, wanted: int = 0) -> None:
        """Fork what is missing, or start the process that forks.

        Args:
            wanted: How many runs wait now; as many spares are made at least.
        """
        self._drop_stuck()
        if self._zygote is None or self._zygote.poll() is not None:
            self._start_zygote()
        if not self._warm or self._control is None:
            return
        idle = sum(1 for child in self.children if child.state in ("starting", "ready"))
        for _ in range(max(self._spares, wanted) - idle):
            self._fork()

    def hand(self, order: Order) -> Child | None:
        """Give a run to a spare that is ready; None when there is none."""
        for child in [child for child in self.children if child.state == "ready"]:
            try:
                child.channel.send(order.encode())
            except OSError:
                self.gone(child)
                continue
            child.state, child.run = "busy", order.run
            return child
        return None

    def heard(self, child: Child) -> bool:
        """Read what a child says.

        Returns:
            False when it has ended.
        """
        try:
            message = child.channel.recv(64)
        except ConnectionResetError:
            message = b""
        if message == b"ready" and child.state == "starting":
            child.state = "ready"
        elif message == b"finished":
            child.state = "finished"
        return bool(message)

    def gone(self, child: Child) -> None:
        """Forget a child that has ended."""
        self._selector.unregister(child.channel)
        child.channel.close()
        self.children.remove(child)

    def zygote_spoke(self) -> None:
        """Read what the forking process says: that it is warm, or, by closing its end, that it is gone."""
        assert self._control is not None  # noqa: S101  # it is what the selector found readable
        if self._control.recv(64):
            self._warm, self._backoff_s = True, FIRST_BACKOFF_S
            return
        self._selector.unregister(self._control)
        self._control.close()
        self._control, self._warm = None, False
        logger.warning("the forking process ended, starting it again in %.1f s", self._backoff_s)
        self._start_at = time.monotonic() + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, LAST_BACKOFF_S)

    def close(self) -> None:
        """End the forking process and, with it, the spares; children that execute a run live on."""
        if self._zygote is not None:
            end(self._zygote, grace_s=2.0)

    def _start_zygote(self) -> None:
        if self._control is not None or time.monotonic() < self._start_at:
            return
        from os import getpid

        from deployments import zygote

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._zygote = subprocess.Popen(
                [sys.executable, "-c", zygote.MAIN, str(theirs.fileno()), self._catalogue],
                env={**self._environment, PARENT_PID: str(getpid())},
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt at the terminal is not for runs
            )
        self._control = ours
        self._selector.register(ours, selectors.EVENT_READ, self)

    def _fork(self) -> None:
        assert self._control is not None  # noqa: S101  # refill() has looked
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno()])
            except OSError:
                ours.close()  # it has just died: its closed socket is read next
                return
        child = Child(ours)
        self.children.append(child)
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _drop_stuck(self) -> None:
        """A spare that does not get ready has a server that hangs: closing its channel ends it."""
        for child in [child for child in self.children if child.state == "starting"]:
            if time.monotonic() - child.born > SPARE_STARTS_WITHIN_S:
                logger.warning("a spare process was not ready after %g seconds", SPARE_STARTS_WITHIN_S)
                self.gone(child)
