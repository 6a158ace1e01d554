"""A lab leaves nothing behind, whatever happened to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lab_kit import lab_name

from lab import Lab, needs, up
from lab.layout import Layout
from lab.teardown import traces
from recoverd.errors import Busy, Refused

pytestmark = pytest.mark.lab
PROJECT = Path(__file__).resolve().parents[2]


def raising(name: str) -> subprocess.Popen[bytes]:
    """`up` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import lab; lab.up({name!r})"], cwd=PROJECT, stderr=subprocess.PIPE
    )


def left(name: str, base: Path) -> list[str]:
    return traces(Layout(name=name, base=base, number=0))


def test_down_leaves_nothing_and_may_be_repeated(lab_base: Path) -> None:
    name = lab_name("d")
    lab = up(name)
    lab.break_("partition", "db-2", peers=("db-1",))
    lab.break_("slow-link", "db-3")
    lab.power_off("app-1")
    assert left(name, lab_base)
    lab.down()
    lab.down()
    assert left(name, lab_base) == []
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, timeout=10, check=True).stdout
    assert f"rl_{name}_" not in tables


@pytest.mark.parametrize("after_s", [0.25, 0.5, 0.8, 1.2, 1.7, 2.3, 3.0])
def test_down_takes_away_what_a_killed_up_left(lab_base: Path, after_s: float) -> None:
    name = lab_name("k")
    process = raising(name)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    Lab.remove(name)
    assert left(name, lab_base) == []


def test_up_after_a_killed_up_raises_a_whole_lab(lab_base: Path) -> None:
    name = lab_name("k")
    process = raising(name)
    time.sleep(1.5)
    process.kill()
    process.communicate(timeout=10)
    lab = up(name)
    assert lab.writers() == ("db-1",)
    lab.down()
    assert left(name, lab_base) == []


def test_of_two_ups_at_once_one_wins(lab_base: Path) -> None:
    name = lab_name("c")
    processes = [raising(name), raising(name)]
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1]
    assert any(b"is up already" in error for error in errors)
    assert Lab.open(name).writers() == ("db-1",)
    assert name in Lab.names()
    Lab.remove(name)


def test_a_lab_that_is_up_is_not_raised_twice(lab: Lab) -> None:
    with pytest.raises(Refused, match="is up already"):
        up(lab.name)


def test_a_lab_that_is_not_there_is_refused(lab_base: Path) -> None:
    with pytest.raises(Refused, match="there is no lab"):
        Lab.open("nolab")


def test_without_root_the_lab_says_so(lab_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Refused, match="needs root"):
        up("nolab")


def test_missing_programs_are_named_with_their_packages(lab_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = needs.find_tool
    monkeypatch.setattr(needs, "find_tool", lambda name: None if name in ("nft", "sshd") else real(name))
    with pytest.raises(Refused, match=r"(?s)nft, sshd.*apt-get install nftables openssh-server"):
        up("nolab")
    assert left("nolab", lab_base) == []


def test_what_the_kernel_does_not_allow_is_named(lab_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "PROBE", needs.PROBE.replace("type bridge", "type no-such-thing"))
    with pytest.raises(Refused, match="network bridges"):
        up("nolab")
    monkeypatch.setattr(needs, "PROBE", "exit 1")
    with pytest.raises(Refused, match="namespaces"):
        up("nolab")


def test_a_waiter_says_who_is_at_work(lab_base: Path) -> None:
    from lab.network import locked

    with locked(lab_base / ".busy.lock"), pytest.raises(Busy), locked(lab_base / ".busy.lock", timeout_s=0.2):
        pass
    assert not (lab_base / ".busy.lock").exists()
