"""What counts as a fence over SSH: something must hold the server, or it is no fence."""

from __future__ import annotations

import pytest

from tasks.fencing import what_holds
from tasks.hosts import _read_view
from tasks.views import Answer, HostView


def stopped(**changed: bool) -> HostView:
    return HostView(host="db-1", answer=Answer.YES, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view", "holds"),
    [
        (stopped(startable=True, standby_signal=True), True),
        (stopped(startable=True), False),
        (stopped(startable=True, masked=True), False),  # its data is there, and could not be marked
        (stopped(held=True), True),
        (stopped(), False),  # a volume that is not mounted
        (stopped(standby_signal=True), False),  # a file in the directory that the volume will be mounted over
        (stopped(masked=True), True),
    ],
)
def test_a_stopped_server_is_fenced_only_where_something_holds_it(view: HostView, holds: bool) -> None:
    assert bool(what_holds(view)) is holds


@pytest.mark.parametrize(
    ("enabled", "active", "masked"),
    [
        ("masked", "inactive", True),
        ("masked", "failed", True),
        ("masked-runtime", "inactive", False),  # gone with the next boot
        ("masked", "active", False),
        ("masked", "", False),
        ("enabled", "inactive", False),
        ("", "inactive", False),
    ],
)
def test_a_unit_holds_only_while_it_is_masked_and_does_not_run(enabled: str, active: str, masked: bool) -> None:
    assert _read_view("db-1", {"unit_enabled": enabled, "unit_active": active}).masked is masked
