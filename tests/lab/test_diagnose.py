"""What is wrong on a host is found and named, nothing on it is changed, and what vanishes first is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_kit import Controller, controller

from lab import Lab
from recoverd.journal import RunRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]
HOST = "web-2"
BEACON = "import time\nwhile True:\n    time.sleep(1)\n"


@pytest.fixture
def recoverd(ward_lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    with controller(ward_lab, tmp_path / "home") as made:
        made.target = HOST
        yield made


def findings(recoverd: Controller, run: RunRow) -> str:
    assert run.state == "succeeded", run.summary
    [entry] = recoverd.entries(run, "diagnose.found")
    return "\n".join(entry.body["findings"])


def test_a_beacon_an_account_a_key_and_a_job_that_came_since_are_named(recoverd: Controller, ward_lab: Lab) -> None:
    assert "the baseline of 1 host is kept" in recoverd.run("diagnose", packages="no", baseline="save").summary
    ward_lab.run(HOST, "cat >/dev/shm/beacon.py", stdin=BEACON)
    ward_lab.run(HOST, "setsid --fork timeout 120 python3 /dev/shm/beacon.py --token hunter2hunter2 >/dev/null 2>&1")
    ward_lab.run(HOST, "cp /etc/passwd /etc/passwd.kept; echo 'toor:x:0:0::/root:/bin/sh' >>/etc/passwd")
    ward_lab.run(HOST, "echo '* * * * * root true' >/etc/cron.d/beacon")
    try:
        run = recoverd.run("diagnose", packages="no")
        found = findings(recoverd, run)
    finally:
        ward_lab.run(HOST, "mv /etc/passwd.kept /etc/passwd; rm -f /etc/cron.d/beacon /dev/shm/beacon.py")
    assert "grave: process" in found
    assert "runs from a temporary directory" in found
    assert "toor has the user id of root" in found
    assert "the account toor is new since the baseline" in found
    assert "the job file /etc/cron.d/beacon is new since the baseline" in found
    assert f"next: recoverd run isolate {HOST}" in run.summary
    kept = "".join(str(entry.body) for entry in recoverd.entries(run))
    assert "hunter2hunter2" not in kept, "secrets of command lines are masked"
    assert recoverd.done(run) == ["collect"], "it acts on nothing but its own store"


def test_a_file_that_is_not_what_its_package_brought_is_named(recoverd: Controller, ward_lab: Lab) -> None:
    """`bash` is a file of the machine, which all hosts share: this host alone sees another in its place."""
    ward_lab.run(HOST, "cp /usr/bin/dash /dev/shm/other; mount --bind /dev/shm/other /usr/bin/bash")
    try:
        found = findings(recoverd, recoverd.run("diagnose", evidence="no"))
    finally:
        ward_lab.run(HOST, ["umount", "/usr/bin/bash"])
    assert "bash is not what its package brought" in found


def test_a_host_that_is_silent_is_an_answer_of_its_own(recoverd: Controller, ward_lab: Lab) -> None:
    recoverd.target = "web-2,web-3"
    ward_lab.power_off("web-3")
    try:
        run = recoverd.run("diagnose", packages="no", evidence="no")
    finally:
        ward_lab.power_on("web-3")
    assert run.state == "succeeded"
    said = {entry.body["host"]: entry.body for entry in recoverd.entries(run, "diagnose.found")}
    assert [*said] == ["web-2", "web-3"]
    assert said["web-3"]["findings"] == []
    assert "look wrong" not in said["web-3"]["summary"], "it says nothing, neither well nor ill"
    assert "web-3" in run.summary
