"""What layers have in common: one act for many hosts, what came of it a host, and taking it back."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from flows.undoing import KINDS, Undoing, read_backwards
from recoverd.errors import RecoverdError, Stale
from recoverd.step import Outcome, act_of
from recoverd.step.calls import step_of
from recoverd.world import entered, world
from tasks.together import together

Calls = Mapping[str, tuple[Any, ...]]


@dataclass
class Done:
    """What several acts did to hosts.

    Attributes:
        outcomes: By host, in the order of the acts.
        faults: By host, the first that was met. The acts after it were tried all the same: a host that kept its role is
            better cut off than not.
        left: Hosts that were not begun.
        stop_after: So many faults in one act, and no further host is begun in it; none: all are.
    """

    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, RecoverdError] = field(default_factory=dict)
    left: tuple[str, ...] = ()
    stop_after: int | None = None

    def do(
        self, act: Any, calls: Calls, *, at_most: int, hosts: Callable[[str], Iterable[str]] = lambda key: (key,)
    ) -> None:
        """Do one act for many, and keep what came of it.

        Args:
            act: An act.
            calls: Its arguments, by host, or by a key that `hosts` knows.
            at_most: How many at once.
            hosts: The hosts that a key stands for.
        """
        if not calls:
            return
        each = act.each(calls, at_most=at_most, stop_after=self.stop_after)
        for key, outcome in each.outcomes.items():
            for host in hosts(key):
                self.outcomes[host].append(outcome)
        for key, fault in each.faults.items():
            for host in hosts(key):
                self.faults.setdefault(host, fault)
        self.left = tuple(dict.fromkeys([*self.left, *(host for key in each.left for host in hosts(key))]))


def take_back(hosts: Sequence[str], run: str, module: str, *, at_most: int) -> Done:
    """Take back what the acts of a layer did to hosts in an earlier run, the latest first.

    Args:
        hosts: Whose.
        run: Id of the run that isolated them.
        module: What the modules of the layer's acts begin with: `tasks.aws_`.
        at_most: Hosts at once.

    A host of which somebody has changed something since is a fault, and is not touched at all.
    """
    done = Done()
    steps = _steps(hosts, run, module)
    by_host: dict[str, list[Undoing]] = defaultdict(list)
    for step in steps:
        by_host[_host(step)].append(step)
    refused = together({host: partial(_moved_on, run, some) for host, some in by_host.items()}, at_most=at_most)
    done.faults |= {host: fault for host, fault in refused.items() if fault is not None}
    for act in dict.fromkeys(step.act for step in steps):
        some = {step.step: step for step in steps if step.act == act and _host(step) not in done.faults}
        each = Done()
        keys = {key: _host(step) for key, step in some.items()}
        made = act_of(act)
        calls = {key: _positional(made, step.arguments) for key, step in some.items()}
        each.do(made, calls, at_most=at_most, hosts=lambda key: (key,))
        _note(run, [some[key] for key in each.outcomes])
        for key, outcomes in each.outcomes.items():
            done.outcomes[keys[key]] += outcomes
        for key, fault in each.faults.items():
            done.faults.setdefault(keys[key], fault)
    return done


def _steps(hosts: Sequence[str], run: str, module: str) -> tuple[Undoing, ...]:
    here = world()
    if here.journal is None:
        return ()
    plan = read_backwards(here.journal.entries(run=run, kinds=KINDS), by=here.run.id)
    return tuple(step for step in plan.steps if step.act.startswith(module) and _host(step) in hosts)


def _host(step: Undoing) -> str:
    return str(step.arguments.get("host"))


def _positional(act: Any, arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arguments by name as `each` takes them: in the order of the act's own."""
    bound = inspect.signature(act.function).bind(**arguments)
    bound.apply_defaults()
    return bound.args


def _moved_on(run: str, steps: Sequence[Undoing]) -> RecoverdError | None:
    """Why a host's steps cannot be taken back: the first whose effect is neither there nor taken back already."""
    here = world()
    assert here.journal is not None  # noqa: S101  # there would be no steps
    earlier = replace(here, run=here.journal.get_run(run))
    for step in steps:
        try:
            if step.half or _is_begun(step) or act_of(step.act).ask(**step.arguments) is not None:
                continue
            with entered(earlier):
                stands = act_of(step.forward).ask(**step.forward_arguments) is not None
        except RecoverdError as error:
            return error
        if not stands:
            return Stale(
                f"the world has moved on: the effect of '{step.title}' is no longer there",
                f"see who changed it, then put it right by hand; what was there is in `recoverd show {run}`",
            )
    return None


def _is_begun(step: Undoing) -> bool:
    """Whether this run was interrupted while it took the step back: its own intention is the only trace of that."""
    here = world()
    if here.journal is None:
        return False
    act = act_of(step.act)
    key = step_of(act.function, act.title, (), step.arguments).key
    return here.journal.intention(here.run.id, key) is not None


def _note(run: str, steps: Sequence[Undoing]) -> None:
    """Write down in the run that did them that the steps are taken back."""
    here = world()
    if here.dry_run or here.journal is None:
        return
    with here.journal.transaction() as tx:
        for step in steps:
            body = {"title": step.title, "summary": "released", "by": here.run.id}
            tx.append("step.undone", who=here.run.requester, run=run, step=step.step, body=body)
