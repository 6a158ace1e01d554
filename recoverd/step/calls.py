"""A step as it is called: its key and title, and what is written down of it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from recoverd.journal import Journal
from recoverd.world import World


@dataclass(frozen=True)
class Step:
    """A step as it is called: a stable key within the run, a title for people."""

    key: str
    title: str
    arguments: Mapping[str, Any]


def step_of(function: Callable[..., Any], title: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Step:
    """The step that a call is. Its key is made of the function's name and its plain arguments; empty texts are left out."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    scalars = {name: value for name, value in bound.arguments.items() if isinstance(value, str | int | bool | float)}
    others = {
        name: value
        for name, value in bound.arguments.items()
        if name not in scalars and isinstance(value, list | tuple | dict) and not _holds_models(value)
    }
    key = f"{function.__name__}({','.join(str(value) for value in scalars.values() if value != '')})"
    return Step(key, title.format(**bound.arguments), {**scalars, **others})


def _holds_models(value: Any) -> bool:
    return any(isinstance(item, BaseModel) for item in (value.values() if isinstance(value, dict) else value))


def intention_of(here: World, step: Step) -> dict[str, Any] | None:
    """What an interrupted attempt of this run remembered before it changed anything; None when there was none."""
    if here.journal is None:
        return None
    found = here.journal.intention(here.run.id, step.key)
    return None if found is None else dict(found.get("remembered") or {})


def note(here: World, kind: str, step: Step, body: dict[str, Any], started: float) -> None:
    """Write an entry of the step; a dry run writes nothing."""
    if here.journal is None or here.dry_run:
        return
    seconds = round(time.monotonic() - started, 6)
    journal: Journal = here.journal
    journal.append(
        kind, who="recoverd", run=here.run.id, step=step.key, body={"title": step.title, "seconds": seconds, **body}
    )


def plain(value: Any) -> Any:
    """A model or a dataclass as plain JSON values."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return value
