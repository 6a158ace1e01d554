"""Steps as Prefect tasks, where a Prefect flow run is around."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, ParamSpec, TypeVar, cast

from pydantic import BaseModel

from recoverd.errors import TryAgain

P = ParamSpec("P")
R = TypeVar("R")


def as_task(call: Callable[P, R], named: Callable[..., Any], time_limit_s: float, retries: int = 0) -> Callable[P, R]:
    """Run `call` as a Prefect task when a Prefect flow run is around, else plainly.

    Prefect is imported only then: plans and checks start without it.
    """

    @functools.cache
    def made() -> Callable[P, R]:
        return _task_of(call, named, time_limit_s, retries)

    @functools.wraps(named)
    def either(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _in_flow_run():
            return call(*args, **kwargs)
        return made()(*map(_closed, args), **{name: _closed(value) for name, value in kwargs.items()})

    _makers.append(made)
    return either


def _closed(value: Any) -> Any:
    """A model, or a dataclass, as one thing: Prefect draws where it came from, but does not look into it.

    It would search each of its fields for the results of other tasks, twice for every step that is given it: a third of the
    processor time of a failover.
    """
    from prefect.utilities.annotations import opaque

    return opaque(value) if isinstance(value, BaseModel) or is_dataclass(value) else value


_makers: list[Callable[[], object]] = []


def make_tasks() -> None:
    """Make the Prefect task of every step that is imported: some milliseconds each, which a run need not spend."""
    for maker in _makers:
        maker()


def _in_flow_run() -> bool:
    import sys

    if "prefect" not in sys.modules:
        return False
    from prefect.context import FlowRunContext, TaskRunContext

    return FlowRunContext.get() is not None and TaskRunContext.get() is None


def _task_of(call: Callable[P, R], named: Callable[..., Any], time_limit_s: float, retries: int) -> Callable[P, R]:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    @functools.wraps(named)
    def body(*args: P.args, **kwargs: P.kwargs) -> R:
        return call(*args, **kwargs)

    made = task(
        name=named.__name__,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=0.2,
        retry_condition_fn=_is_passing,
        timeout_seconds=time_limit_s,  # a backstop: every call inside has a limit of its own
        log_prints=False,
    )(body)
    return cast("Callable[P, R]", made)


def _is_passing(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failed attempt failed by a passing fault."""
    try:
        state.result(raise_on_failure=True)
    except TryAgain:
        return True
    except BaseException:  # noqa: BLE001  # any other failure is final, whatever it is
        return False
    return False
