"""`recoverd check` and `recoverd plan` on real servers: they see what is wrong, are quick, and change nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from failover_kit import Controller
from lab_kit import connect, eventually, value

from gateway.cli.main import run
from lab import Lab

pytestmark = pytest.mark.lab

Check = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def check(recoverd: Controller, capsys: pytest.CaptureFixture[str]) -> Check:
    def call(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        capsys.readouterr()
        code = run(["check", "-o", "json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    return call


def problems(found: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(one["area"], one["where"]) for one in found if one["level"] == "problem"}


def test_a_healthy_lab_is_ready(check: Check) -> None:
    code, found = check()
    assert (code, problems(found)) == (0, set())
    ok = {(one["area"], one["where"]) for one in found if one["level"] == "ok"}
    assert {
        ("reach", "app-1"),
        ("credentials", "db-1"),
        ("replication", "db-2"),
        ("configuration", "db-3"),
        ("fencing", "power for db-1"),
        ("entry points", "orders-address"),
        ("routes", "alerts.yaml"),
    } <= ok


def test_a_host_without_power_is_a_problem_and_its_device_knows_it(check: Check, lab: Lab) -> None:
    lab.break_("power-off", "db-3")
    code, found = check("orders-db")
    assert code == 1
    assert problems(found) == {("reach", "db-3")}
    device = next(one for one in found if one["where"] == "power for db-3")
    assert device["what"] == "its status says off"


def test_a_changed_host_key_is_a_problem_of_that_host_alone(check: Check, lab: Lab, recoverd: Controller) -> None:
    known, ours = lab.state / "known_hosts", recoverd.home / "known_hosts"
    names = {name: lab.host(name).address for name in ("db-2", "db-3")}
    lines = [line.split(maxsplit=1) for line in known.read_text().splitlines()]
    other = next(key for where, key in lines if names["db-3"] in where)
    ours.write_text("".join(f"{where} {other if names['db-2'] in where else key}\n" for where, key in lines))
    hosts = recoverd.inventory / "hosts.yaml"
    hosts.write_text(hosts.read_text().replace(str(known), str(ours)))
    _, found = check()
    told = next(one for one in found if (one["area"], one["where"]) == ("reach", "db-2"))
    assert told["level"] == "problem"
    assert "host key" in told["what"]
    assert ("reach", "db-3") not in problems(found)


def test_wrong_credentials_are_told_as_such(check: Check, recoverd: Controller, lab: Lab) -> None:
    wrong = recoverd.home / "wrong"
    wrong.write_text("not the password")
    wrong.chmod(0o600)
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace(str(lab.layout.secret("postgres")), str(wrong)))
    _, found = check()
    assert {("credentials", host) for host in ("db-1", "db-2", "db-3")} <= problems(found)


def test_a_secret_that_others_can_read_is_a_problem(check: Check, recoverd: Controller, lab: Lab) -> None:
    copied = recoverd.home / "password"
    shutil.copy(lab.layout.secret("postgres"), copied)
    copied.chmod(0o644)
    services = recoverd.inventory / "services.yaml"
    services.write_text(services.read_text().replace(str(lab.layout.secret("postgres")), str(copied)))
    code, found = check()
    assert code == 1
    assert ("inventory", f"secret file:{copied}") in problems(found)


def test_a_standby_that_does_not_stream_is_told(check: Check, lab: Lab) -> None:
    session = connect(lab, lab.host("db-2").address)
    with session.cursor() as cursor:
        cursor.execute("alter system set primary_conninfo = ''")
        cursor.execute("select pg_reload_conf()")
    assert eventually(lambda: value(session, "select count(*) from pg_stat_wal_receiver") == 0)
    session.close()
    _, found = check()
    assert ("replication", "db-2") in problems(found)


def test_an_address_in_the_wrong_place_is_told(check: Check, lab: Lab) -> None:
    lab.run("db-2", f"ip address add {lab.layout.virtual_address}/24 dev eth0")
    try:
        _, found = check()
    finally:
        lab.run("db-2", f"ip address del {lab.layout.virtual_address}/24 dev eth0")
    assert ("entry points", "orders-address") in problems(found)


def test_a_plan_says_what_would_be_done_and_does_nothing(
    recoverd: Controller, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.break_("power-off", "db-1")
    hashes = set()
    for _ in range(2):
        capsys.readouterr()
        assert run(["plan", "failover", "orders-db", "-o", "json"]) == 0
        data = json.loads(capsys.readouterr().out)
        hashes.add(data["hash"])
    assert len(hashes) == 1
    assert f"db-1 {lab.host('db-1').address}" in data["touches"]["hosts"]
    assert any(step["changes"] and step["title"].startswith("promote") for step in data["steps"])
    assert any("promote" in line for line in data["irreversible"])
    status = {host.name: host.postgresql for host in lab.status().hosts}
    assert (status["db-2"], status["db-3"]) == ("standby", "standby")
    assert recoverd.journal.list_runs() == []


def test_the_plan_of_what_would_be_refused_says_so(recoverd: Controller, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "failover", "orders-db", "-o", "json"]) == 3
    said = capsys.readouterr()
    assert "healthy" in json.loads(said.out)["refused"]
    assert "it would be refused" in said.err
