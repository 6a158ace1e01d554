"""What of a run can be taken back, and what cannot: pure over the entries of its journal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recoverd.journal import Entry
from recoverd.world import world
from tasks.views import Facts

KINDS = ("step.intended", "step.done", "step.undone")
"""What of a run's record counts for taking it back."""

STANDS_ALONE = frozenset({"contain", "disinfect"})
"""Procedures whose runs nothing is built upon: each takes back its own beside what later runs did."""

HAVE_THEIR_OWN_WAY_BACK = {"isolate": "recoverd run release {target} --reason …"}
"""Procedures that an undo does not take back: what leads back asks more than whether the world has moved on."""

HALF_DONE = {
    "put_in_place": "tasks.replacing:put_back",
    "contain_interfaces": "tasks.aws_interfaces:put_groups_back",
    "cut_subnets": "tasks.aws_acl:open_subnets",
    "leave_balancer": "tasks.entry_points:enter_balancer",
    "leave_balancers": "tasks.aws_balancers:enter_balancers",
    "protect_instance": "tasks.aws_protect:unprotect_instance",
    "silence_metadata": "tasks.aws_protect:restore_metadata",
    "stand_aside": "tasks.aws_scaling:return_to_service",
}
"""Steps that may have been done in part, or come to their end after the run has; by what takes them back in any state."""

HALF_DONE_PLAIN = {
    "deny_sessions": "tasks.aws_profile:allow_sessions",
    "cut": "tasks.firewall:put_back",
    "leave_address": "tasks.entry_points:hold_address",
    "take_profile": "tasks.aws_profile:give_profile",
}
"""Likewise, for those that remember nothing."""


IN_ANY_STATE = frozenset({"tasks.firewall:put_back"})
"""What takes away all that is left of a step, whatever became of the rest meanwhile: nothing that others did can be lost by it."""


class Undoing(Facts):
    """One step to take back.

    Attributes:
        step: Its key in the run that did it.
        title: What it did.
        forward, act: The acts that did it and that take it back, as `module:name`.
        half: It was begun, and nobody has written down that it came to its end; or its way back is good for any state.
        arguments: For the act that takes it back; those of the other one are the same without `remembered`.
    """

    step: str
    title: str
    forward: str
    act: str
    arguments: dict[str, Any]
    half: bool = False

    @property
    def forward_arguments(self) -> dict[str, Any]:
        """What the step was called with."""
        return {name: value for name, value in self.arguments.items() if name != "remembered"}


class UndoPlan(Facts):
    """A run, read backwards.

    Attributes:
        steps: What is taken back, the latest first.
        left: Steps that changed something and stay as they are; nothing needs to be taken back there.
        final: Steps that cannot be taken back, each with the reason and what to do instead.
    """

    steps: tuple[Undoing, ...]
    left: tuple[str, ...] = ()
    final: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.final:
            return f"it cannot be taken back: {'; '.join(self.final)}"
        return "; ".join(f"take back: {step.title}" for step in self.steps) or "there is nothing to take back"


def read_backwards(entries: Iterable[Entry], by: str = "") -> UndoPlan:
    """What a run did and has not been undone since, the latest first.

    Args:
        entries: The run's entries of `KINDS`, in order.
        by: The run that undoes: what it has taken back already still belongs to its plan.
    """
    done: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if entry.step is None:
            continue
        if entry.kind == "step.undone" and entry.body.get("by") != by:
            done.pop(entry.step, None)
        elif entry.kind == "step.intended" and (undo := HALF_DONE.get(entry.step.partition("(")[0])):
            arguments = {**entry.body["arguments"], "remembered": entry.body["remembered"]}
            done.setdefault(entry.step, {**entry.body, "undo": {"act": undo, "arguments": arguments}, "half": True})
        elif entry.kind == "step.intended" and (undo := HALF_DONE_PLAIN.get(entry.step.partition("(")[0])):
            plain = {"act": undo, "arguments": entry.body["arguments"]}
            done.setdefault(entry.step, {**entry.body, "undo": plain, "half": True})
        elif entry.kind == "step.done" and entry.body.get("changed"):
            done.pop(entry.step, None)
            done[entry.step] = entry.body
    steps, left, final = [], [], []
    for step, body in reversed(done.items()):
        title, undo = str(body.get("title") or step), body.get("undo")
        if body.get("irreversible"):
            final.append(f"{title} ({body['irreversible']})")
        elif undo:
            steps.append(
                Undoing(
                    step=step,
                    title=title,
                    forward=undo.get("of", ""),
                    act=undo["act"],
                    arguments=undo["arguments"],
                    half=bool(body.get("half")) or undo["act"] in IN_ANY_STATE,
                )
            )
        else:
            left.append(title)
    return UndoPlan(steps=tuple(steps), left=tuple(left), final=tuple(final))


def later_decides(plan: UndoPlan, step: Undoing) -> bool:
    """Whether a fence is judged by what the same run did on its host after it: a server that was copied anew is not fenced."""
    if step.act != "tasks.fencing:unfence":
        return False
    later = plan.steps[: plan.steps.index(step)]
    return any(one.arguments.get("host") == step.arguments.get("host") for one in later)


def revives_a_primary(plan: UndoPlan) -> tuple[str, ...]:
    """Hosts whose servers would be primaries again."""
    return tuple(
        str(step.arguments["host"])
        for step in plan.steps
        if step.act == "tasks.handover:reinstate"
        or (step.act == "tasks.fencing:unfence" and not step.arguments.get("remembered", {}).get("was_standby"))
    )


def note_taken_back(why: str) -> None:
    """Write down that the current run has itself taken back all that it had changed."""
    here = world()
    if here.journal is None or here.dry_run:
        return
    done = [entry for entry in here.journal.entries(run=here.run.id, kinds=["step.done"]) if entry.body.get("changed")]
    with here.journal.transaction() as tx:
        for entry in done:
            body = {"title": entry.body.get("title"), "summary": why, "by": here.run.id}
            tx.append("step.undone", who="recoverd", run=here.run.id, step=entry.step, body=body)


def has_taken_back(step: str) -> bool:
    """Whether the current run has itself taken back a step that begins so."""
    here = world()
    if here.journal is None:
        return False
    undone = here.journal.entries(run=here.run.id, kinds=["step.undone"])
    return any((entry.step or "").startswith(step) and entry.body.get("by") == here.run.id for entry in undone)
