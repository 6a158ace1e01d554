"""One act for many hosts: bounded threads, what came of it a host, and an end when too many have failed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from recoverd.errors import RecoverdError
from recoverd.world import world

T = TypeVar("T")
HOST_FAILED = "host.failed"


@dataclass(frozen=True)
class Batch:
    """The arguments of an act for many, as one thing."""

    calls: Mapping[str, tuple[Any, ...]]
    at_most: int
    stop_after: int | None


@dataclass
class Each(Generic[T]):
    """What came of an act for each of many.

    Attributes:
        outcomes: By the name of the call, of those that succeeded.
        faults: Likewise, of those that did not.
        left: Those that were not begun, for too many had failed before.
    """

    outcomes: dict[str, T] = field(default_factory=dict)
    faults: dict[str, RecoverdError] = field(default_factory=dict)
    left: tuple[str, ...] = ()


def do_each(title: str, calls: Mapping[str, Callable[[], T]], *, at_most: int, stop_after: int | None) -> Each[T]:
    """Make all calls, so many at once, each in the context of the run. One that fails does not keep the others from theirs.

    Args:
        title: What is done, for the record of those that fail.
        calls: By name, mostly a host's.
        at_most: How many at once.
        stop_after: So many faults, and no further call is begun; none: all are made.
    """
    found: Each[T] = Each()
    guard = threading.Lock()

    def make(name: str, call: Callable[[], T]) -> None:
        with guard:
            if stop_after is not None and len(found.faults) >= stop_after:
                return
        try:
            outcome = call()
        except RecoverdError as error:
            with guard:
                found.faults[name] = error
            _note(title, name, error)
        else:
            with guard:
                found.outcomes[name] = outcome

    if calls:
        with ThreadPoolExecutor(min(at_most, len(calls)), thread_name_prefix="each") as pool:
            made = [pool.submit(copy_context().run, partial(make, name, call)) for name, call in calls.items()]
            for future in made:
                future.result()
    return Each(
        {name: found.outcomes[name] for name in calls if name in found.outcomes},
        {name: found.faults[name] for name in calls if name in found.faults},
        tuple(name for name in calls if name not in found.outcomes and name not in found.faults),
    )


def _note(title: str, name: str, error: RecoverdError) -> None:
    here = world()
    here.say(f"{name}: {error.message}")
    if here.journal is not None and not here.dry_run:
        facts = {
            "title": title,
            "name": name,
            "error": error.message,
            "hint": error.hint,
            "class": type(error).__name__,
        }
        here.journal.append(HOST_FAILED, who="recoverd", run=here.run.id, body=facts)
