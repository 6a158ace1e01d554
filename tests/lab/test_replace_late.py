"""A replacement that goes on late, when somebody else serves users by now: there is one writer, and its data stays."""

from __future__ import annotations

from typing import Any

import pytest
import test_replace
from failover_kit import SERVICE, Controller, address_holders, only_writer, roles
from lab_kit import eventually
from test_replace import ALL_WELL, beside
from test_restore_moment import sql, there

from deployments.start import resume
from lab import Lab
from lab.guard import Guard
from recoverd.errors import Look, Unreachable
from recoverd.gate import Waiting
from recoverd.journal import RunRow
from tasks.fencing import unfence

recoverd, mistake = test_replace.recoverd, test_replace.mistake
pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(420)]


def resumed(recoverd: Controller, run: RunRow) -> RunRow:
    resume(run.id, who="sre", reason="a test", journal=recoverd.journal)
    return recoverd.execute(run)


def fail(service: str, host: str) -> None:
    raise Look("the disk is full", "make room")


def test_a_way_back_that_goes_on_after_a_failover_starts_no_second_primary(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(service: str, host: str, remembered: dict[str, Any]) -> None:
        if host == "db-1":
            raise Unreachable("db-1 does not answer")
        unfence(service, host, remembered)

    with monkeypatch.context() as patch, Guard(backup_lab.layout) as guard:
        patch.setattr("flows.replace.put_in_place", fail)
        patch.setattr("flows.turning_back.unfence", cut_off)
        run = recoverd.run("restore", to=mistake["time"], into="replace")
        assert (run.state, "not every member is as before: db-1" in run.summary) == ("failed", True), run.summary
        patch.undo()
        assert eventually(lambda: roles(backup_lab) == {"db-1": "stopped", "db-2": "standby", "db-3": "standby"})
        failover = recoverd.run("failover")
        assert failover.state == "succeeded", failover.summary
        late = resumed(recoverd, run)
        assert (late.state, "takes writes by now" in late.summary) == ("failed", True), late.summary
        assert roles(backup_lab)["db-1"] == "stopped"
    assert (only_writer(backup_lab) != "db-1", guard.violations) == (True, [])


def test_an_approval_that_comes_after_a_failover_replaces_nothing_of_the_new_primary(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.fence import fence_primary

    def ask(service: str, host: str, view: object) -> object:
        if host == "db-3":
            raise Waiting("db-3 could not be fenced", "approve it")
        return fence_primary(service, host, view)  # type: ignore[arg-type]

    with Guard(backup_lab.layout) as guard:
        with monkeypatch.context() as patch:
            patch.setattr("flows.replace.order_to_stop", lambda view, seat: ("db-1", "db-3", "db-2"))
            patch.setattr("flows.replace.fence_primary", ask)
            run = recoverd.run("restore", to=mistake["time"], into="replace")
        assert (run.state, roles(backup_lab)["db-1"]) == ("waiting", "stopped"), run.summary
        failover = recoverd.run("failover")
        assert failover.state == "succeeded", failover.summary
        primary = only_writer(backup_lab)
        sql(backup_lab, "create table written_since ()")
        late = recoverd.execute(run)
        assert (late.state, f"{primary} has become the primary of {SERVICE}" in late.summary) == ("failed", True)
        assert "db-1: it stays fenced" in late.summary
        assert (only_writer(backup_lab), there(backup_lab, "written_since")) == (primary, True)
        assert [name for name in beside(backup_lab) if "recoverd-new" not in name] == []
    assert guard.violations == []


def test_a_replacement_on_another_host_than_the_primarys_is_undone_too(
    recoverd: Controller, backup_lab: Lab, mistake: dict[str, str]
) -> None:
    with Guard(backup_lab.layout) as guard:
        run = recoverd.run("restore", to=mistake["time"], into="replace", host="db-2")
        assert run.state == "succeeded", run.summary
        assert (only_writer(backup_lab), there(backup_lab, "till")) == ("db-2", True)
        undo = recoverd.run("undo", run=run.id)
        assert undo.state == "succeeded", undo.summary
        assert (roles(backup_lab), address_holders(backup_lab)) == (ALL_WELL, ["db-1"])
        assert (there(backup_lab, "till"), there(backup_lab, "later")) == (False, True)
    assert guard.violations == []
