"""Who may do what, and what happens by itself: pure rules over plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from recoverd.errors import NotAllowed
from recoverd.journal import Answer, Mode, Trigger

if TYPE_CHECKING:
    from recoverd.inventory import Policy

USERS_CAN_WAIT = 50
"""Up to this urgency of a procedure users have the service while it runs; above it they wait for its end."""

_ASKED_BY: Mapping[Trigger, str] = {
    "alert": "an alert",
    "sentinel": "the sentinel",
    "hand": "a person",
    "schedule": "a schedule",
}
_BY_CAUTION: tuple[Mode, ...] = ("act", "ask", "record")


def most_cautious(*modes: Mode) -> Mode:
    """Of what the route, the policy and the caller allow, that which does the least by itself."""
    return max(modes, key=_BY_CAUTION.index, default="act")


def allowed_mode(policy: Policy, procedure: str, trigger: Trigger) -> Mode:
    """The boldest mode that a service's policy allows; "act" where it does not speak of the procedure.

    Its mode for `rejoin` is for what happens by itself: a person who asks for one has decided already.
    """
    stated: dict[str, Mode] = {
        "failover": getattr(policy.failover, trigger),
        **dict.fromkeys(("isolate", "contain", "disinfect"), getattr(policy.isolate, trigger)),
        "release": "act" if trigger == "hand" else "ask",
        "rejoin": "act" if trigger == "hand" else policy.rejoin,
    }
    return stated.get(procedure, "act")


def only_recorded(procedure: str, target: str, trigger: Trigger) -> str:
    """Why nothing is started, for the record."""
    return f"the policy of {target} only records a {procedure} that is asked for by {_ASKED_BY[trigger]}"


def cooldown_left_s(last_change: datetime | None, now: datetime, cooldown_s: float) -> float:
    """Seconds in which no second failover starts by itself; 0.0 when it may."""
    if last_change is None:
        return 0.0
    return max(0.0, cooldown_s - (now - last_change).total_seconds())


def may_pre_empt(urgency: int, holder_urgency: int) -> bool:
    """Whether a run may take the target of one that only waits: where users are without the service until it ends."""
    return urgency > USERS_CAN_WAIT and urgency > holder_urgency


def may(rights: Collection[str], right: str) -> bool:
    """Whether a person with these rights may do it."""
    return right in rights


def check_may(name: str, rights: Collection[str], right: str) -> None:
    """Raise NotAllowed unless this person may do it."""
    if not may(rights, right):
        raise NotAllowed(f"{name} may not {right}", f"a person with a role that may {right} does it; see people.yaml")


def check_approver(
    name: str,
    roles: Collection[str],
    rights: Collection[str],
    wanted_roles: Collection[str],
    requester: str,
    answer: Answer,
) -> None:
    """Raise NotAllowed unless this person may answer a gate. A gate that names roles is for those alone.

    The requester may withdraw (refuse) what they asked for, whatever their roles, but never approve it.
    """
    if name == requester:
        if answer == "refuse":
            return
        raise NotAllowed(f"{name} asked for this run and cannot approve it", "another person approves it")
    if wanted_roles and not set(roles) & set(wanted_roles):
        raise NotAllowed(f"{name} has none of the roles {', '.join(sorted(wanted_roles))}", "a person with one decides")
    if not wanted_roles:
        check_may(name, rights, "approve")
