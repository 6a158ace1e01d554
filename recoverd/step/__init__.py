"""The kinds of step that procedures are made of.

    @observe   reads; repeated at will, never cached; an unreachable host is a value
    @decide    a pure function over observations; its answer is journaled once and kept on resume
    @act       changes the world: see `Act`; `.each()` does so for many hosts as one step
    gate()     waits for a person; see recoverd/gate.py

Inside a Prefect flow run each is a Prefect task, visible and timed there; elsewhere (a plan, a test) a plain call.
The journal alone decides what is done already: Prefect's results and caches are not used.

Layers, top down: acts, looks > each, prefect_task, calls.
"""

from recoverd.step.acts import Act, Effect, Outcome, act, act_of
from recoverd.step.each import Each
from recoverd.step.looks import decide, observe
from recoverd.step.prefect_task import make_tasks

__all__ = ["Act", "Each", "Effect", "Outcome", "act", "act_of", "decide", "make_tasks", "observe"]
