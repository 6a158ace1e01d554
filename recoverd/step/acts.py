"""Steps that change the world."""

from __future__ import annotations

import functools
import importlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec

import tenacity

from recoverd.errors import RecoverdError, TryAgain, Unproven
from recoverd.step.calls import Step, intention_of, note, step_of
from recoverd.step.each import Batch, Each, do_each
from recoverd.step.prefect_task import as_task
from recoverd.world import PlannedStep, World, world

P = ParamSpec("P")

ASK_AGAIN_EVERY_S = 0.05
AGAIN_AFTER_S = 0.2
MOST_ROUNDS = 20


@dataclass(frozen=True)
class Effect:
    """What is true of the world after an act, or already before it.

    Attributes:
        summary: One sentence without a full stop, in the past or present tense.
        data: Facts that later steps and the report need; JSON.
    """

    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What an act gives back: the effect, and whether this run brought it about."""

    effect: Effect
    changed: bool

    def __getitem__(self, name: str) -> Any:
        return self.effect.data[name]


def act(
    title: str,
    *,
    ask: Callable[P, Effect | None],
    undo: str = "",
    irreversible: str = "",
    remember: Callable[P, Mapping[str, Any]] | None = None,
    time_limit_s: float = 60.0,
    retries: int = 1,
) -> Callable[[Callable[P, None]], Act[P]]:
    """Make a function that changes the world into a step.

    Args:
        title: What it does, in the imperative, with the function's arguments in braces.
        ask: Asks the world whether the effect is there; same arguments; None when it is not.
        undo: `module:act` that takes it back, called with the same arguments (and `remembered`, where that is used).
        irreversible: Why it cannot be taken back, shown before anything runs.
        remember: Reads, before the change, what the undo will need.
        time_limit_s: Limit of one attempt; also for the effect to show after the change.
        retries: Further attempts after a passing fault (`TryAgain`).
    """

    def decorate(function: Callable[P, None]) -> Act[P]:
        return Act(function, title, ask, undo, irreversible, remember, time_limit_s, retries)

    return decorate


class Act(Generic[P]):
    """A step that changes the world. In this order:

    1. the journal has its outcome: give that back, touch nothing;
    2. the run still holds the lock, with the newest epoch: else stop;
    3. ask the world whether the effect is already there: then note it, touch nothing;
    4. a dry run ends here and says what it would do;
    5. write the intention, with what an undo will need;
    6. change; ask again until the effect shows or the time is over;
    7. write the outcome.

    A process killed anywhere in this leaves either no trace, an intention (asked about on resume), or the outcome.
    """

    def __init__(
        self,
        function: Callable[P, None],
        title: str,
        ask: Callable[P, Effect | None],
        undo: str,
        irreversible: str,
        remember: Callable[P, Mapping[str, Any]] | None,
        time_limit_s: float,
        retries: int,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.title, self.ask = function, title, ask
        self.undo, self.irreversible, self.remember = undo, irreversible, remember
        self.time_limit_s, self.retries = time_limit_s, retries
        self._call = as_task(self.perform, function, time_limit_s * 2, retries)
        self._call_each = as_task(self._perform_each, _of_a_batch(function), time_limit_s * 2 * MOST_ROUNDS)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """Bring the effect about, once.

        Raises:
            Stale: The lock has gone to another run.
            Unproven: The change was made, but its effect did not show in time.
            RecoverdError: Whatever the change itself raises.
        """
        return self._call(*args, **kwargs)

    def each(
        self, calls: Mapping[str, tuple[Any, ...]], *, at_most: int = 64, stop_after: int | None = None
    ) -> Each[Outcome]:
        """Bring the effect about for many, as one step: each is written down, resumed and undone as if it had been alone.

        Args:
            calls: The arguments, by a name that says which one it is: mostly the host.
            at_most: How many at once.
            stop_after: So many faults, and no further one is begun; none: all are.

        Returns:
            What came of each; what failed is a value here. Prefect sees one task.
        """
        return self._call_each(Batch(calls, at_most, stop_after))

    def _perform_each(self, batch: Batch) -> Each[Outcome]:
        made = {name: functools.partial(self._perform_again, arguments) for name, arguments in batch.calls.items()}
        return do_each(self.title, made, at_most=batch.at_most, stop_after=batch.stop_after)

    def _perform_again(self, arguments: tuple[Any, ...]) -> Outcome:
        """With the further attempts after a passing fault that Prefect makes of a single act."""
        again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 + self.retries),
            wait=tenacity.wait_fixed(AGAIN_AFTER_S),
            retry=tenacity.retry_if_exception_type(TryAgain),
            reraise=True,
        )
        return again(self.perform, *arguments)

    def perform(self, *args: P.args, **kwargs: P.kwargs) -> Outcome:
        """The act itself, without Prefect around it."""
        here, step = world(), step_of(self.function, self.title, args, kwargs)
        kept = here.journal.outcome(here.run.id, step.key) if here.journal else None
        if kept is not None:
            return Outcome(Effect(kept["summary"], kept["data"]), bool(kept["changed"]))
        here.check_leases(str(step.arguments.get("host", "")))
        started = time.monotonic()
        intention = intention_of(here, step)
        effect = self.ask(*args, **kwargs)
        if here.dry_run:
            return self._foretell(here, step, effect)
        if effect is not None:
            return self._settle(here, step, effect, intention, started, changed=intention is not None)
        if intention is None:
            intention = dict(self.remember(*args, **kwargs)) if self.remember else {}
            arguments = dict(step.arguments)
            note(here, "step.intended", step, {"arguments": arguments, "remembered": intention}, started)
        self._change(step, *args, **kwargs)
        return self._settle(here, step, self._wait(step, *args, **kwargs), intention, started, changed=True)

    def _change(self, step: Step, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            self.function(*args, **kwargs)
        except RecoverdError as error:
            facts = {"error": error.message, "hint": error.hint, "class": type(error).__name__}
            note(world(), "step.failed", step, facts, time.monotonic())
            raise

    def _wait(self, step: Step, *args: P.args, **kwargs: P.kwargs) -> Effect:
        waiting = tenacity.Retrying(
            stop=tenacity.stop_after_delay(self.time_limit_s),
            wait=tenacity.wait_fixed(ASK_AGAIN_EVERY_S),
            retry=tenacity.retry_if_result(lambda effect: effect is None) | tenacity.retry_if_exception_type(TryAgain),
            retry_error_callback=lambda _state: None,
        )
        effect = waiting(self.ask, *args, **kwargs)
        if effect is None:
            error = Unproven(
                f"the effect of '{step.title}' did not show within {self.time_limit_s:g} s",
                "look at the host, then resume or undo the run",
            )
            note(world(), "step.failed", step, {"error": error.message, "class": "Unproven"}, time.monotonic())
            raise error
        return effect

    def _settle(
        self,
        here: World,
        step: Step,
        effect: Effect,
        intention: Mapping[str, Any] | None,
        started: float,
        *,
        changed: bool,
    ) -> Outcome:
        body: dict[str, Any] = {"summary": effect.summary, "data": dict(effect.data), "changed": changed}
        if changed and self.undo:
            extra = {"remembered": dict(intention)} if self.remember and intention is not None else {}
            of = f"{self.function.__module__}:{self.function.__name__}"
            body["undo"] = {"act": self.undo, "arguments": {**step.arguments, **extra}, "of": of}
        if changed and self.irreversible:
            body["irreversible"] = self.irreversible
        note(here, "step.done", step, body, started)
        here.say(f"{step.title}: {effect.summary}")
        return Outcome(effect, changed)

    def _foretell(self, here: World, step: Step, effect: Effect | None) -> Outcome:
        if effect is not None:
            here.planned.append(PlannedStep("act", step.key, step.title, f"already so: {effect.summary}"))
            return Outcome(effect, changed=False)
        here.planned.append(PlannedStep("act", step.key, step.title, f"would {step.title}", True, self.irreversible))
        here.say(f"would {step.title}")
        return Outcome(Effect(f"would {step.title}"), changed=True)


def _of_a_batch(function: Callable[..., None]) -> Callable[[Batch], None]:
    """What Prefect calls and binds the step for many: the act's name, with a batch instead of its arguments."""

    def named(batch: Batch) -> None:
        """Stand for the act itself."""

    named.__name__, named.__qualname__, named.__module__ = function.__name__, function.__qualname__, function.__module__
    named.__doc__ = function.__doc__
    return named


def act_of(path: str) -> Act[Any]:
    """The act that a `module:name` names.

    Raises:
        RecoverdError: The journal names an act that this version does not have.
    """
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, Act):
        raise RecoverdError(f"there is no act {path} in this version", "undo with the version that made the run")
    return found
