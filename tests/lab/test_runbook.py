"""The printed runbooks, followed to the letter: their own commands, and nothing of recoverd, bring the service back."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from failover_kit import Controller, address_holders, only_writer, roles
from lab_kit import leave_lock

from gateway.cli.main import run
from lab import Lab
from lab.cluster import wait_for_standbys

pytestmark = pytest.mark.lab

BLOCK_TIMEOUT_S = 90


def printed(capsys: pytest.CaptureFixture[str], procedure: str, *options: str) -> str:
    capsys.readouterr()
    given = [word for option in options for word in ("--option", option)]
    assert run(["runbook", procedure, "orders-db", *given]) == 0
    return capsys.readouterr().out


def blocks(document: str) -> dict[str, str]:
    """The fenced commands by the heading above them."""
    steps = re.split(r"^### ", document, flags=re.MULTILINE)[1:]
    found = {}
    for step in steps:
        title, _, body = step.partition("\n")
        for block in re.findall(r"^```sh\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL):
            found[title] = block
    return found


def paste(commands: dict[str, str], title: str) -> str:
    """Run a block as a person pastes it, with nothing of recoverd's environment; what it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/root")}
    done = subprocess.run(
        ["sh", "-c", commands[title]],
        capture_output=True,
        text=True,
        timeout=BLOCK_TIMEOUT_S,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, f"{title}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_failover_runbook_brings_the_service_back_after_a_real_power_off(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "failover"))
    lab.break_("power-off", "db-1")
    assert "does not answer over SSH" in paste(commands, "Look at db-1")
    for host in ("db-2", "db-3"):
        assert "standby|timeline 1|" in paste(commands, f"Look at {host}")
    assert "db-1 is fenced" in paste(commands, "Fence db-1 by power")
    assert paste(commands, "Promote db-2").split() == ["t", "t"]
    paste(commands, "Lead users to db-2")
    assert "committed at" in paste(commands, "Prove a write through orders-address from app-1")
    assert f"by {lab.host('db-2').address}" in paste(commands, "Prove a write as clients with all addresses do")
    assert "db-3|streaming" in paste(commands, "Let db-3 follow db-2")
    assert only_writer(lab) == "db-2"
    assert address_holders(lab) == ["db-2"]
    assert recoverd.journal.list_runs() == []

    lab.mend("power-off", "db-1")
    bystander_lives = leave_lock(lab, "db-1", booted=True)
    commands = blocks(printed(capsys, "rejoin", "from=db-1", "to=db-2"))
    assert "0 processes" in paste(commands, "Stop db-1")
    assert "saved in" in paste(commands, "Save the WAL of db-1")
    paste(commands, "Rewind db-1 to db-2")
    assert bystander_lives()
    bystander_lives = leave_lock(lab, "db-1", booted=True)
    assert "db-1|streaming" in paste(commands, "Start db-1 as a standby of db-2")
    assert bystander_lives()
    assert roles(lab) == {"db-1": "standby", "db-2": "primary", "db-3": "standby"}


def test_the_failover_runbook_fences_a_living_primary_over_ssh(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "failover", "from=db-1", "to=db-3"))
    lab.break_("freeze", "db-1")  # the hardest case: nothing but SIGKILL ends it
    assert "db-1 is fenced" in paste(commands, "Fence db-1 over SSH")
    assert roles(lab)["db-1"] == "stopped"
    assert address_holders(lab) == []
    assert paste(commands, "Promote db-3").split() == ["t", "t"]
    paste(commands, "Lead users to db-3")
    assert "db-2|streaming" in paste(commands, "Let db-2 follow db-3")
    assert only_writer(lab) == "db-3"


def test_the_switchover_runbook_moves_the_primary_and_loses_nothing(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "switchover", "from=db-1", "to=db-2"))
    assert "streaming" in paste(commands, "Ask db-1 for its standbys")
    stopped = paste(commands, "Stop db-1")
    assert "shut down" in stopped
    held = paste(commands, "See what db-2 holds")
    assert position(held) >= position(stopped)
    assert paste(commands, "Promote db-2").split() == ["t", "t"]
    paste(commands, "Lead users to db-2")
    assert "committed at" in paste(commands, "Prove a write through orders-address from app-1")
    assert "db-1|streaming" in paste(commands, "Start db-1 as a standby of db-2")
    assert "db-3|streaming" in paste(commands, "Let db-3 follow db-2")
    wait_for_standbys(lab.host("db-2"), 2)
    assert roles(lab) == {"db-1": "standby", "db-2": "primary", "db-3": "standby"}


def test_a_switchover_by_hand_can_be_taken_back_before_the_promotion(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = blocks(printed(capsys, "switchover", "from=db-1", "to=db-2"))
    paste(commands, "Stop db-1")
    paste(commands, "Start db-1 as the primary again")
    assert only_writer(lab) == "db-1"
    assert address_holders(lab) == ["db-1"]


def position(text: str) -> tuple[int, int]:
    """The first WAL position in a text."""
    found = re.search(r"\b([0-9A-F]+)/([0-9A-F]+)\b", text)
    assert found, text
    return int(found[1], 16), int(found[2], 16)
