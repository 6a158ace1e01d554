"""An SSH account that is not root, with one line in sudoers: everything works as it does for root, and nothing hangs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from failover_kit import Controller, address_holders, only_writer, roles
from lab_kit import leave_lock
from sudo_kit import ACCOUNT, RULE, ProcessLists, use_sudo, write_rule
from test_rejoin import all_stream, fail_over, lose_commits
from test_runbook import blocks, paste, printed

from gateway.cli.main import run as command
from lab import Lab
from recoverd.connections import Connections
from recoverd.errors import NotAllowed, TimedOut
from recoverd.inventory import load

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(autouse=True)
def _sudo(recoverd: Controller) -> None:
    use_sudo(recoverd)


def check(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    command(["check", "-o", "json"])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def problems(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if one["level"] == "problem"]


def test_it_really_is_another_account_and_scripts_run_as_root(recoverd: Controller, lab: Lab) -> None:
    with Connections(load(recoverd.inventory)) as connections:
        done = connections.ssh("db-1").run('id -un; echo "$SUDO_USER"', timeout_s=5)
    assert done.out.split() == ["root", ACCOUNT]


def test_a_check_finds_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert problems(check(capsys)) == []


def test_a_failover_after_a_power_off_a_rejoin_and_a_switchover_succeed(recoverd: Controller, lab: Lab) -> None:
    lab.break_("power-off", "db-1")
    fail_over(recoverd)
    primary = only_writer(lab)
    assert address_holders(lab) == [primary]
    lab.mend("power-off", "db-1")
    rejoined = recoverd.run("rejoin")
    assert rejoined.state == "succeeded", (rejoined.summary, recoverd.entries(rejoined, "step.failed"))
    assert all_stream(lab, primary)
    switched = recoverd.run("switchover", to="db-1")
    assert switched.state == "succeeded", (switched.summary, recoverd.entries(switched, "step.failed"))
    assert address_holders(lab) == [only_writer(lab)] == ["db-1"]
    assert all_stream(lab, "db-1")


def test_a_frozen_primary_is_fenced_over_ssh_and_nothing_else_is_needed(recoverd: Controller, lab: Lab) -> None:
    lab.break_("freeze", "db-1")
    run = fail_over(recoverd)
    assert recoverd.done(run)[0] == "fence_by_ssh"
    assert roles(lab)["db-1"] == "stopped"
    assert only_writer(lab) != "db-1"


def test_what_was_lost_is_saved_and_no_process_list_has_a_secret(
    recoverd: Controller, lab: Lab, tmp_path: Path
) -> None:
    secrets = [lab.layout.secret(name).read_text().strip() for name in ("postgres", "replicator", "app")]
    with ProcessLists(secrets) as seen:
        lose_commits(lab, tmp_path / "ledger", at_least=5)
        fail_over(recoverd)
        bystander_lives = leave_lock(lab, "db-1")
        run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert {"save_wal", "rewind"} <= set(recoverd.done(run))
    assert all_stream(lab, only_writer(lab))
    assert bystander_lives()
    assert seen.sudo == {"sudo -n /bin/sh"}
    assert seen.told == set()


def test_a_copy_that_outlives_its_controller_is_made_and_swapped_in(recoverd: Controller, lab: Lab) -> None:
    lab.break_("kill", "db-3")
    lab.run("db-3", "mv /var/lib/postgresql/data /var/lib/postgresql/lost && mkdir -m 700 /var/lib/postgresql/data")
    lab.run("db-3", "chown postgres: /var/lib/postgresql/data")
    run = recoverd.run("rejoin")
    assert run.state == "succeeded", (run.summary, recoverd.entries(run, "step.failed"))
    assert "swap_in" in recoverd.done(run)
    assert all_stream(lab, "db-1")


def test_the_printed_runbook_works_with_the_account(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "failover", "from=db-1", "to=db-2"))
    lab.break_("freeze", "db-1")
    assert "db-1 is fenced" in paste(commands, "Fence db-1 over SSH")
    paste(commands, "Promote db-2")
    paste(commands, "Lead users to db-2")
    assert "db-3|streaming" in paste(commands, "Let db-3 follow db-2")
    assert only_writer(lab) == "db-2"
    commands = blocks(printed(capsys, "rejoin", "from=db-1", "to=db-2"))
    paste(commands, "Rewind db-1 to db-2")
    assert "db-1|streaming" in paste(commands, "Start db-1 as a standby of db-2")


REFUSALS = {
    "it asks for a password": (f"{ACCOUNT} ALL=(root) /bin/sh", "a password is required"),
    "it gives other commands": (f"{ACCOUNT} ALL=(root) NOPASSWD: /bin/ls", "a password is required"),
    "it wants a terminal": (f"Defaults:{ACCOUNT} requiretty\n{RULE}", "must have a tty"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_a_host_whose_sudo_refuses_is_told_at_once_with_what_to_do(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str], why: str
) -> None:
    rule, words = REFUSALS[why]
    write_rule(lab, "db-2", rule)
    with Connections(load(recoverd.inventory)) as connections:
        ssh = connections.ssh("db-2")
        started = time.monotonic()
        with pytest.raises(NotAllowed, match=words) as refused:
            ssh.run(":", timeout_s=10)
        assert time.monotonic() - started < 5
    assert RULE in refused.value.hint
    told = [one for one in problems(check(capsys)) if one["area"] == "reach"]
    assert [one["where"] for one in told] == ["db-2"]
    assert words in told[0]["what"]
    assert RULE in told[0]["hint"]


def test_a_host_whose_sudo_refuses_is_no_silent_one_and_another_is_promoted(recoverd: Controller, lab: Lab) -> None:
    write_rule(lab, "db-2", f"{ACCOUNT} ALL=(root) /bin/sh")
    lab.break_("power-off", "db-1")
    run = recoverd.run()
    assert only_writer(lab) == "db-3", (run.state, run.summary)
    looks = [entry.body["facts"] for entry in recoverd.entries(run, "step.observed") if "hosts" in entry.body["facts"]]
    seen = {host["host"]: host for host in looks[0]["hosts"]}
    assert (seen["db-1"]["answer"], seen["db-2"]["answer"]) == ("silent", "rejected")
    assert "a password is required" in seen["db-2"]["problem"]


def test_a_primary_whose_sudo_refuses_is_fenced_by_its_device(recoverd: Controller, lab: Lab) -> None:
    write_rule(lab, "db-1", f"{ACCOUNT} ALL=(root) /bin/sh")
    lab.break_("kill", "db-1")
    run = fail_over(recoverd)
    assert recoverd.done(run)[0] == "power_off"
    assert not lab.is_on("db-1")


def test_a_sudo_that_hangs_is_given_up_by_the_limit(recoverd: Controller, lab: Lab) -> None:
    pam = lab.run("db-2", "cat /etc/pam.d/sudo").out
    lab.run("db-2", "cat >/etc/pam.d/sudo", stdin=f"session required pam_exec.so /bin/sleep 20\n{pam}")
    try:
        with Connections(load(recoverd.inventory)) as connections:
            ssh = connections.ssh("db-2")
            started = time.monotonic()
            with pytest.raises(TimedOut):
                ssh.run(":", timeout_s=1)
            assert time.monotonic() - started < 4
    finally:
        lab.run("db-2", "cat >/etc/pam.d/sudo", stdin=pam)


def test_the_line_for_sudoers_is_the_one_that_the_guide_asks_for() -> None:
    assert RULE in (Path(__file__).parents[2] / "docs" / "install.md").read_text()
