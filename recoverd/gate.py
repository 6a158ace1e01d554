"""A gate: a run waits for a person, without holding a process or the lock, across restarts.

The answer is in the journal (recoverd/approvals.py is the only door to it). A run that is resumed by anything else,
say from Prefect's own pages, finds no answer here and goes back to waiting.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from recoverd import approvals
from recoverd.errors import Expired, NotAllowed, RecoverdError
from recoverd.world import PlannedStep, World, world

# Prefect fails a run whose pause has timed out; our own expiry must come first, with its own words.
_PREFECT_MARGIN_S = 7 * 24 * 3600


class Waiting(RecoverdError):
    """The run waits for a person; raised only outside of Prefect, inside Prefect suspends the run itself."""

    exit_code = 4


def plan_hash(plan: Mapping[str, Any]) -> str:
    """The SHA-256 that an approval binds to; the plan holds what would be done, and nothing that changes by itself."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def gate(name: str, plan: Mapping[str, Any], summary: str) -> str:
    """Go on only when the plan is approved by as many people as the policy says. Called from a flow's body, not a step.

    Args:
        name: Name of the gate, unique within the procedure.
        plan: What would be done; the approval is for exactly this.
        summary: The question, for the person who decides.

    Returns:
        The hash of the approved plan.

    Raises:
        NotAllowed: A person refused it.
        Expired: Nobody answered in time.
    """
    here, digest = world(), plan_hash(plan)
    if here.dry_run or here.journal is None:
        here.planned.append(PlannedStep("gate", name, summary, "would wait for approval"))
        here.say(f"would wait for approval: {summary}")
        return digest
    status = approvals.status(here.journal, here.run.id, name, digest)
    if status is None:
        _ask(here, name, digest, plan, summary)
        status = approvals.status(here.journal, here.run.id, name, digest)
    state = status.state if status else "waiting"
    if state == "approved":
        return digest
    if state == "refused":
        raise NotAllowed(f"'{name}' was refused: {summary}", "see who and why with `recoverd show`")
    if state == "expired":
        raise Expired(
            f"nobody answered '{name}' in time: {summary}", "start the run again when somebody can approve it"
        )
    _suspend(here, name, digest)
    raise Waiting(f"'{name}' waits for approval: {summary}", f"another person runs `recoverd approve {here.run.id}`")


def _ask(here: World, name: str, digest: str, plan: Mapping[str, Any], summary: str) -> None:
    rule = here.policy.approvals
    assert here.journal is not None  # noqa: S101  # gate() has looked
    approvals.request(
        here.journal,
        run=here.run.id,
        gate=name,
        plan_hash=digest,
        summary=summary,
        plan=dict(plan),
        required=rule.required,
        roles=rule.roles,
        expires_at=datetime.now(timezone.utc) + timedelta(seconds=rule.expiry_s),
    )


def _suspend(here: World, name: str, digest: str) -> None:
    import sys

    if "prefect" not in sys.modules:
        return
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None:
        return
    import uuid

    from prefect.flow_runs import suspend_flow_run

    try:
        # A fixed key would let a second suspension of the same gate pass as "has been resumed already".
        key = f"{name}:{digest[:12]}:{uuid.uuid4()}"
        suspend_flow_run(timeout=here.policy.approvals.expiry_s + _PREFECT_MARGIN_S, key=key)
    except Exception as error:  # noqa: BLE001  # Prefect is away: the run waits all the same, the journal knows
        here.say(f"Prefect could not be told that the run waits: {type(error).__name__}")
