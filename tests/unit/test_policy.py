"""Who may do what, and what happens by itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from recoverd.errors import NotAllowed
from recoverd.inventory import Policy
from recoverd.policy import allowed_mode, check_approver, check_may, cooldown_left_s, most_cautious

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("modes", "result"),
    [
        (("act", "act"), "act"),
        (("act", "ask"), "ask"),
        (("record", "act"), "record"),
        (("ask", "record", "act"), "record"),
        ((), "act"),
    ],
)
def test_the_most_cautious_mode_holds(modes, result: str) -> None:
    assert most_cautious(*modes) == result


@pytest.mark.parametrize(
    ("procedure", "trigger", "mode"),
    [
        ("failover", "alert", "act"),
        ("failover", "sentinel", "record"),
        ("failover", "schedule", "ask"),
        ("failover", "hand", "act"),
        ("rejoin", "alert", "record"),
        ("rejoin", "schedule", "record"),
        ("rejoin", "hand", "act"),
        ("switchover", "schedule", "act"),
    ],
)
def test_the_policy_says_for_each_trigger_what_happens_by_itself(procedure: str, trigger, mode: str) -> None:
    policy = Policy.model_validate(
        {"name": "default", "failover": {"sentinel": "record", "schedule": "ask"}, "rejoin": "record"}
    )
    assert allowed_mode(policy, procedure, trigger) == mode


@pytest.mark.parametrize(("ago_s", "left_s"), [(None, 0), (0, 600), (599, 1), (600, 0), (9999, 0)])
def test_a_failover_has_to_wait_for_the_rest_of_the_cooldown(ago_s: float | None, left_s: float) -> None:
    last = None if ago_s is None else NOW - timedelta(seconds=ago_s)
    assert cooldown_left_s(last, NOW, 600) == left_s


def test_a_right_comes_from_a_role() -> None:
    check_may("alice", {"run"}, "run")
    with pytest.raises(NotAllowed, match="alice may not approve"):
        check_may("alice", {"run"}, "approve")


@pytest.mark.parametrize(
    ("name", "roles", "rights", "wanted", "answer", "allowed"),
    [
        ("bob", {"dba"}, {"approve"}, (), "approve", True),
        ("bob", {"dba"}, {"run"}, (), "approve", False),
        ("bob", {"dba"}, {"run"}, ("dba", "leader"), "approve", True),
        ("bob", {"dba"}, {"approve"}, ("leader",), "approve", False),
        ("bob", {"dba"}, {"approve"}, ("leader",), "refuse", False),
        ("alice", {"leader"}, {"approve"}, ("leader",), "approve", False),
        ("alice", set(), set(), ("leader",), "refuse", True),
        ("mallory", set(), set(), (), "refuse", False),
    ],
)
def test_four_eyes_and_roles_decide_who_may_answer(name, roles, rights, wanted, answer, allowed: bool) -> None:
    if allowed:
        check_approver(name, roles, rights, wanted, "alice", answer)
    else:
        with pytest.raises(NotAllowed):
            check_approver(name, roles, rights, wanted, "alice", answer)
