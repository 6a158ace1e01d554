"""PostgreSQL as a systemd unit with Restart=always, on hosts whose first process is systemd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import healthy
from failover_kit import Controller, address_holders, controller, only_writer, roles
from lab_kit import eventually, lab_name
from sudo_kit import use_sudo
from test_rejoin import all_stream, fail_over, lose_commits
from test_runbook import blocks, paste, printed
from test_switchover import fenced_only

from gateway.cli.main import run as command
from lab import Lab, up
from lab.guard import Guard

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]

RESTART_S = 0.2  # RestartSec of the unit


@pytest.fixture
def lab(_labs: dict[str, Lab]) -> Lab:
    return healthy(_labs, lab_name("u"), lambda name: up(name, systemd=True))


@pytest.fixture
def recoverd(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(lab, tmp_path / "home") as made:
        yield made


def unit(lab: Lab, host: str) -> tuple[str, str]:
    """Whether PostgreSQL's unit is enabled, and whether it is active, in systemd's words."""
    asked = [lab.run(host, ["systemctl", verb, lab.layout.unit], check=False) for verb in ("is-enabled", "is-active")]
    return asked[0].out.strip(), asked[1].out.strip()


def supervised(lab: Lab) -> bool:
    """Whether every server is a process of its unit, other than one that was started beside systemd."""
    for host in lab.layout.databases:
        main = lab.run(host.name, ["systemctl", "show", "-p", "MainPID", "--value", lab.layout.unit]).out.strip()
        postmaster = lab.run(host.name, "head -n 1 /var/lib/postgresql/data/postmaster.pid").out.strip()
        if main != postmaster or unit(lab, host.name)[1] != "active":
            return False
    return True


def test_a_check_finds_no_problem(recoverd: Controller, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command(["check", "-o", "json"])
    assert [one for one in json.loads(capsys.readouterr().out) if one["level"] == "problem"] == []


def test_the_unit_really_starts_a_server_again_that_dies(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-1")
    assert eventually(lambda: roles(lab)["db-1"] == "primary")
    assert supervised(lab)


def test_a_fence_masks_and_stops_the_unit_and_nothing_brings_the_old_primary_back_writable(
    recoverd: Controller, lab: Lab
) -> None:
    lab.break_("freeze", "db-1")
    with Guard(lab.layout) as guard:
        run = fail_over(recoverd)
        assert recoverd.done(run)[0] == "fence_by_ssh"
        assert unit(lab, "db-1")[0] == "masked"
        assert not eventually(lambda: roles(lab)["db-1"] != "stopped", timeout_s=10 * RESTART_S)
        refused = lab.run("db-1", ["systemctl", "start", lab.layout.unit], check=False)
        assert "masked" in refused.err
        # Somebody takes the mask away: the server comes up, but as nobody who takes writes.
        lab.run("db-1", ["systemctl", "unmask", lab.layout.unit])
        lab.run("db-1", ["systemctl", "start", lab.layout.unit])
        assert eventually(lambda: roles(lab)["db-1"] == "standby")
    assert not guard.violations
    assert only_writer(lab) != "db-1"
    rejoined = recoverd.run("rejoin")
    assert rejoined.state == "succeeded", (rejoined.summary, recoverd.entries(rejoined, "step.failed"))
    assert all_stream(lab, only_writer(lab))
    assert supervised(lab)


@pytest.mark.parametrize("account", ["root", "sudo"])
def test_a_failover_after_a_power_off_a_rejoin_and_a_switchover_succeed(
    recoverd: Controller, lab: Lab, account: str
) -> None:
    if account == "sudo":
        use_sudo(recoverd)
    lab.break_("power-off", "db-1")
    with Guard(lab.layout) as guard:
        fail_over(recoverd)
        primary = only_writer(lab)
        lab.mend("power-off", "db-1")
        rejoined = recoverd.run("rejoin")
        assert rejoined.state == "succeeded", (rejoined.summary, recoverd.entries(rejoined, "step.failed"))
        assert all_stream(lab, primary)
        switched = recoverd.run("switchover", to="db-1")
        assert switched.state == "succeeded", (switched.summary, recoverd.entries(switched, "step.failed"))
    assert not guard.violations
    assert address_holders(lab) == [only_writer(lab)] == ["db-1"]
    assert all_stream(lab, "db-1")
    assert supervised(lab)


def test_a_fence_holds_where_the_unit_cannot_be_masked(recoverd: Controller, lab: Lab) -> None:
    """A unit file of the administrator's own in /etc/systemd/system is in the way of a mask."""
    own = f"/etc/systemd/system/{lab.layout.unit}.service"
    lab.run("db-1", f"cp /etc/recoverd-lab/units/postgresql@.service {own} && systemctl daemon-reload")
    try:
        lab.break_("freeze", "db-1")
        run = fail_over(recoverd)
        assert recoverd.done(run)[0] == "fence_by_ssh"
        assert unit(lab, "db-1")[0] != "masked"
        assert not eventually(lambda: roles(lab)["db-1"] != "stopped", timeout_s=10 * RESTART_S)
        rejoined = recoverd.run("rejoin")
        assert rejoined.state == "succeeded", (rejoined.summary, recoverd.entries(rejoined, "step.failed"))
        assert all_stream(lab, only_writer(lab))
        assert supervised(lab)
    finally:
        lab.run("db-1", f"rm {own} && systemctl daemon-reload")


def test_a_fence_is_taken_back_and_the_unit_starts_the_old_primary(
    recoverd: Controller, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERD_LEASE_TTL_S", "2")  # of the child that is killed
    lab.break_("freeze", "db-1")
    run = fenced_only(recoverd)
    assert unit(lab, "db-1")[0] == "masked"
    undone = recoverd.run("undo", run=run.id)
    assert undone.state == "succeeded", (undone.summary, recoverd.entries(undone, "step.failed"))
    assert (only_writer(lab), address_holders(lab)) == ("db-1", ["db-1"])
    assert supervised(lab)


def test_the_printed_runbook_works_with_units(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "failover", "from=db-1", "to=db-2"))
    lab.break_("freeze", "db-1")
    assert "db-1 is fenced" in paste(commands, "Fence db-1 over SSH")
    assert unit(lab, "db-1")[0] == "masked"
    assert not eventually(lambda: roles(lab)["db-1"] != "stopped", timeout_s=10 * RESTART_S)
    paste(commands, "Promote db-2")
    paste(commands, "Lead users to db-2")
    assert "db-3|streaming" in paste(commands, "Let db-3 follow db-2")
    commands = blocks(printed(capsys, "rejoin", "from=db-1", "to=db-2"))
    paste(commands, "Rewind db-1 to db-2")
    assert "db-1|streaming" in paste(commands, "Start db-1 as a standby of db-2")
    assert supervised(lab)


def test_what_was_lost_is_saved_and_the_unit_starts_the_rewound_data(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    lab.run("db-1", ["systemctl", "mask", lab.layout.unit])  # else it would be started again at once
    lose_commits(lab, tmp_path / "ledger", at_least=5)
    fail_over(recoverd)
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert {"save_wal", "rewind"} <= set(recoverd.done(run))
    assert all_stream(lab, only_writer(lab))
    assert supervised(lab)
