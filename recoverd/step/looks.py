"""Steps that change nothing: observations, and decisions over them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast, get_type_hints

from pydantic import BaseModel

from recoverd.step.calls import note, plain, step_of
from recoverd.step.prefect_task import as_task
from recoverd.world import PlannedStep, world

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=BaseModel)


def observe(title: str, *, time_limit_s: float = 30.0) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function that reads into a step. Its result should have a `summary` and, if a model, is journaled whole."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def look(*args: P.args, **kwargs: P.kwargs) -> R:
            here, step = world(), step_of(function, title, args, kwargs)
            started = time.monotonic()
            found = function(*args, **kwargs)
            summary = str(getattr(found, "summary", ""))
            note(here, "step.observed", step, {"summary": summary, "facts": plain(found)}, started)
            here.planned.append(PlannedStep("observe", step.key, step.title, summary))
            here.say(f"{step.title}: {summary}")
            return found

        return as_task(look, function, time_limit_s)

    return decorate


def decide(title: str) -> Callable[[Callable[P, M]], Callable[P, M]]:
    """Make a pure function into a step whose first answer in a run is kept, also when the run is resumed."""

    def decorate(function: Callable[P, M]) -> Callable[P, M]:
        @functools.wraps(function)
        def settle(*args: P.args, **kwargs: P.kwargs) -> M:
            here, step = world(), step_of(function, title, args, kwargs)
            kept = here.journal.decision(here.run.id, step.key) if here.journal else None
            if kept is not None:
                model = cast("type[M]", get_type_hints(function)["return"])
                return model.model_validate(kept["decision"])
            started = time.monotonic()
            answer = function(*args, **kwargs)
            summary = str(getattr(answer, "summary", ""))
            note(here, "step.decided", step, {"summary": summary, "decision": plain(answer)}, started)
            here.planned.append(PlannedStep("decide", step.key, step.title, summary))
            here.say(f"{step.title}: {summary}")
            return answer

        return as_task(settle, function, 30.0)

    return decorate
