"""The demo, as a process: what it says it measured must fit together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lab_kit import lab_name

from lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture
def demo(lab_base: Path) -> Any:
    name = lab_name("d")
    yield name
    Lab.remove(name)


def play(name: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "lab.demo", "--once", "--name", name, *options]
    return subprocess.run(argv, env=os.environ.copy(), capture_output=True, text=True, timeout=200, check=False)


def test_the_demo_fails_over_by_an_alert_brings_a_table_back_and_what_it_reports_adds_up(
    demo: str, tmp_path: Path
) -> None:
    ran = play(demo, "--lose", "--json", str(tmp_path / "demo.json"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads((tmp_path / "demo.json").read_text())
    assert found["state"] == "succeeded"
    assert found["rejoin_state"] == "succeeded"
    assert found["writers"] == [found["new_primary"]]
    assert found["new_primary"] in ("db-2", "db-3")
    assert (found["looks"] > 0, found["two_writers"]) == (True, 0)
    assert 0 < found["rto_s"] <= found["rto_objective_s"]
    assert sum(phase["seconds"] for phase in found["phases"]) == pytest.approx(found["rto_s"], abs=0.01)
    assert found["users_waited_s"] > 0
    assert found["acknowledged"] == found["kept"] + found["lost"]
    assert 50 <= found["lost"] == found["lost_found"] <= found["loss"]["transactions"]
    assert found["rows_after"] == found["rows_before"]
    assert found["journal_whole"]
    assert (found["restore_state"], found["table_after"]) == ("succeeded", found["table_before"])
    assert found["table_before"][0] > found["rows_before"][0]  # rows that came after the backup are among them
    assert found["table_back_s"] > 0
    assert f"RTO    {found['rto_s']:.2f} s" in ran.stdout
    assert "\x1b" not in ran.stdout  # no colours where no terminal is
    assert demo not in Lab.names()


def test_a_lab_that_is_up_is_not_taken_away_unasked(demo: str, lab_base: Path) -> None:
    (lab_base / demo).mkdir(parents=True)
    (lab_base / demo / "ready").touch()
    ran = play(demo)
    assert ran.returncode == 3
    assert "is up already" in ran.stdout
    assert (lab_base / demo / "ready").exists()
