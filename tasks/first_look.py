"""The first look of a run, begun while Prefect is still being told of the run.

It is a look like any other: begun after the run was claimed, by the process that executes it, and handed out once. A
procedure that comes to its first look later than a second after that one has ended looks anew.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from threading import Thread

from recoverd.connections import Connections
from tasks.views import ServiceView

SEEN_JUST_NOW_S = 1.0
TIME_LIMIT_S = 20.0


class FirstLook:
    """The look that is under way in this process, if there is one."""

    def __init__(self) -> None:
        self._looks: dict[str, tuple[Connections, Future[ServiceView]]] = {}

    def begin(self, service: str, connections: Connections, look: Callable[[], ServiceView]) -> None:
        """Begin to look at a service over connections, in a thread of its own."""
        future: Future[ServiceView] = Future()

        def work() -> None:
            try:
                future.set_result(look())
            except BaseException as error:  # noqa: BLE001  # who takes it looks again, and meets the error there
                future.set_exception(error)

        self._looks = {service: (connections, future)}
        Thread(target=work, name=f"look at {service}", daemon=True).start()

    def taken(self, service: str, connections: Connections) -> ServiceView | None:
        """What was seen over these connections, if it was seen just now; None when the caller has to look."""
        over, future = self._looks.pop(service, (None, None))
        if future is None or over is not connections:
            return None
        try:
            if future.exception(TIME_LIMIT_S) is not None:
                return None
        except TimeoutError:
            return None
        view = future.result()
        return view if datetime.now(timezone.utc) - view.at < timedelta(seconds=SEEN_JUST_NOW_S) else None


first_look = FirstLook()
