"""Restored data in the place of a service's data: renames on one host, and the start of what was restored.

What was there is never deleted: it keeps the run's id as its ending.
"""

from __future__ import annotations

import time

from recoverd.errors import Busy, Look
from recoverd.inventory import Service
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.hosts import run_script, view_host
from tasks.postgres import LOGIN_TIMEOUT_S, view_server
from tasks.restoring import data_dir, work_dir
from tasks.views import Answer, Facts

SWAP_TIME_LIMIT_S = 1800.0  # settings and, where WAL has a file system of its own, WAL are copied before the renames
START_TIME_LIMIT_S = 120.0


class Place(Facts):
    """What would be replaced on a host.

    Attributes:
        data_dir: The service's data directory there.
        there: Whether it exists; a lost disk may leave none.
        problem: Why it cannot be replaced by renames; empty where it can.
    """

    host: str
    data_dir: str
    there: bool
    problem: str = ""

    @property
    def kept(self) -> str:
        """Where it goes."""
        return f"{self.data_dir}.recoverd-{world().run.id}"

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.problem:
            return self.problem
        if not self.there:
            return f"there is no {self.data_dir} on {self.host}: nothing is overwritten"
        return f"{self.data_dir} on {self.host} is replaced, and kept as {self.kept}"


@observe("look at what would be replaced on {host}")
def observe_place(service: str, host: str) -> Place:
    """Whether the data directory is one that can be renamed."""
    facts = _run(service, host, "place")
    place = world().inventory.service(service).postgres_of(host).data_dir.rstrip("/")
    problem = ""
    if facts.get("unmounted"):
        problem = f"the volume of {facts['unmounted']} on {host} is not mounted, and would hide what is put into {place} once it is"
    elif "mountpoint" in facts:
        problem = f"{place} on {host} is a mount point and cannot be renamed"
    elif "writable" not in facts:
        problem = f"the directory of {place} on {host} is not there or cannot be written"
    return Place(host=host, data_dir=place, there="there" in facts, problem=problem)


def _is_in_place(service: str, host: str) -> Effect | None:
    if _run(service, host, "state")["mark"] != f"{world().run.id} in place":
        return None
    place = world().inventory.service(service).postgres_of(host).data_dir.rstrip("/")
    kept = f"{place}.recoverd-{world().run.id}"
    return Effect(f"{host} has the restored data; what was there is kept as {kept}", {"kept": kept})


def _this_run(service: str, host: str) -> dict[str, str]:
    return {"run": world().run.id}


@act(
    "put the restored data in the place of the data directory of {host}, which is kept",
    ask=_is_in_place,
    undo="tasks.replacing:put_back",
    remember=_this_run,
    time_limit_s=SWAP_TIME_LIMIT_S,
    retries=0,
)
def put_in_place(service: str, host: str) -> None:
    """Give the restored data the settings of its host, then rename both directories.

    Where an earlier execution's script is still at work there, its end is waited for: it outlives whoever started it.

    Raises:
        Look: A server runs there, or the restored data is not there.
        Busy: Another script was at work there all the time.
    """
    set_auto = f"{work_dir(service)}/server/auto.conf.of-set"
    deadline = time.monotonic() + SWAP_TIME_LIMIT_S
    while True:
        try:
            _run(service, host, "swap", timeout_s=SWAP_TIME_LIMIT_S, SET_AUTO=set_auto)
        except Busy:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _is_back(service: str, host: str, remembered: dict[str, str]) -> Effect | None:
    if _run(service, host, "state", run=remembered["run"])["mark"] != f"{remembered['run']} back":
        return None
    return Effect(f"{host} has its old data directory; what was restored is kept beside it", {"host": host})


@act("put the old data directory of {host} back", ask=_is_back, time_limit_s=60.0)
def put_back(service: str, host: str, remembered: dict[str, str]) -> None:
    """Undo `put_in_place`, for the run that did it. What was restored is kept, for users may have written there.

    It is asked for even where nothing seems to be moved: only behind the host's guard is it sure that no swap is still at work,
    and that none comes later.

    Raises:
        Busy: One is at work.
        Look: A server runs there, or a later run has replaced the data.
    """
    _run(service, host, "swap_back", run=remembered["run"])


def _serves(service: str, host: str) -> Effect | None:
    wanted = _service(service)
    seen = view_host(wanted, host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if seen.answer is not Answer.YES or seen.fenced or seen.standby_signal or not _is_in_place(service, host):
        return None
    server = view_server(wanted, host, connect_timeout_s=LOGIN_TIMEOUT_S)
    if not server.is_primary:
        return None
    return Effect(f"{host} takes writes on timeline {server.timeline}", {"host": host, "timeline": server.timeline})


@act(
    "start the restored data on {host} as the primary of {service}",
    ask=_serves,
    undo="tasks.handover:demote",
    time_limit_s=START_TIME_LIMIT_S,
    retries=0,
)
def start_restored(service: str, host: str) -> None:
    """Take the fence away and start the server by its own supervisor.

    Raises:
        Look: The restored data is not in its place.
    """
    if _is_in_place(service, host) is None:
        raise Look(f"{host} does not have the restored data in its place, so nothing is started", "resume the run")
    world().connections.forget(host)
    run_script("unfence", _service(service), host, {"WAS_STANDBY": ""}, timeout_s=15.0)
    start = {"VERB": "start", "MODE": "fast", "TIMEOUT_S": "60"}
    run_script("server", _service(service), host, start, timeout_s=70.0)


def _run(
    service: str, host: str, verb: str, *, run: str = "", timeout_s: float = 60.0, **variables: str
) -> dict[str, str]:
    place = _service(service).postgres_of(host).data_dir.rstrip("/")
    id_ = run or world().run.id
    given = {
        "VERB": verb, "RUN": id_, "NEW": f"{place}.recoverd-new-{id_}" if run else data_dir(service, host),
        "KEPT": f"{place}.recoverd-{id_}", "SET_AUTO": "", **variables,
    }  # fmt: skip
    return run_script("replace", _service(service), host, given, timeout_s=timeout_s).facts()


def _service(name: str) -> Service:
    return world().inventory.service(name)
