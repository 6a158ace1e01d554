"""The faults are real, and each is undone."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from lab_kit import connect, eventually, knock, reaches, ssh, value

from lab import Lab
from lab.machine import init_pid
from lab.roles import role
from recoverd.errors import Invalid, Refused, Unsafe

pytestmark = pytest.mark.lab


def switch(lab: Lab, action: str, plug: str) -> int:
    command = [str(lab.state / "power")]
    return subprocess.run(
        command, input=f"action={action}\nplug={plug}\n", text=True, timeout=20, check=False
    ).returncode


def test_a_host_without_power_is_silent_and_keeps_its_data(lab: Lab) -> None:
    with connect(lab, lab.host("db-1").address) as connection, connection.cursor() as cursor:
        cursor.execute("create table if not exists kept as select 1 as one")
    lab.break_("power-off", "db-1")
    assert not lab.is_on("db-1")
    assert knock(lab.host("db-1").address, 5432) == "silence"
    assert role(lab.host("db-1")) == "stopped"
    lab.mend("power-off", "db-1")
    assert ssh(lab, "db-1", "hostname").out == "db-1\n"
    assert role(lab.host("db-1")) == "stopped", "PostgreSQL does not start by itself at boot"
    assert lab.layout.virtual_address not in lab.run("db-1", "ip address").out
    lab.mend("kill", "db-1")
    with connect(lab, lab.layout.virtual_address) as connection:
        assert value(connection, "select one from kept") == 1


def test_the_power_switch_speaks_as_fence_agents_do(lab: Lab) -> None:
    assert [switch(lab, action, "app-1") for action in ("status", "off", "off", "status")] == [0, 0, 0, 2]
    assert [switch(lab, action, "app-1") for action in ("on", "on", "status", "reboot", "monitor")] == [0] * 5
    assert switch(lab, "off", "nobody") == 1
    assert switch(lab, "off", "../db-1") == 1
    assert switch(lab, "dance", "app-1") == 1


def test_the_power_switch_never_hits_a_recycled_pid(lab: Lab) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    lab.power_off("app-1")
    try:
        (lab.host("app-1").dir / "init").write_text(f"{bystander.pid} 1\n")
        assert switch(lab, "status", "app-1") == 2
        assert switch(lab, "off", "app-1") == 0
        assert bystander.poll() is None
        assert init_pid(lab.host("app-1")) is None
    finally:
        bystander.kill()
        bystander.wait()
    lab.power_on("app-1")


def test_killing_the_postmaster_leaves_the_host_alone(lab: Lab) -> None:
    lab.break_("kill", "db-1")
    assert eventually(lambda: knock(lab.host("db-1").address, 5432) == "refused")
    assert ssh(lab, "db-1", "test -e /var/lib/postgresql/data/postmaster.pid").ok, "nothing was stopped in order"
    with pytest.raises(Refused):
        lab.break_("kill", "db-1")
    lab.mend("kill", "db-1")
    assert lab.writers() == ("db-1",)


def test_mending_never_makes_a_second_primary(lab: Lab) -> None:
    lab.break_("kill", "db-1")
    with connect(lab, lab.host("db-2").address) as connection:
        assert value(connection, "select pg_promote()") is True
    with pytest.raises(Unsafe):
        lab.mend("kill", "db-1")
    assert lab.writers() == ("db-2",)


def test_a_partition_cuts_connections_that_are_open_and_mending_lets_them_go_on(lab: Lab) -> None:
    address = lab.host("db-1").address
    connection = connect(lab, address)
    lab.break_("partition", "db-1")
    assert knock(address, 22) == "silence"
    assert not reaches(lab, "db-1", lab.host("db-2").address)
    assert not reaches(lab, "db-2", address)
    assert lab.run("db-1", "hostname").out == "db-1\n"
    assert lab.writers() == ("db-1",), "it lives on behind the cut"
    lab.mend("partition", "db-1")
    assert value(connection, "select 1") == 1
    assert reaches(lab, "db-2", address)


def test_a_partition_from_named_peers_cuts_these_alone_and_both_ways(lab: Lab) -> None:
    lab.break_("partition", "db-1", peers=("db-2", "controller"))
    db1, db2 = lab.host("db-1"), lab.host("db-2")
    assert knock(db1.address, 22) == "silence"
    assert not reaches(lab, "db-1", db2.address)
    assert not reaches(lab, "db-2", db1.address)
    assert not reaches(lab, "db-2", lab.layout.virtual_address, 5432), "whatever addresses it carries"
    if lab.layout.ipv6:
        assert not reaches(lab, "db-2", db1.address6)
    assert reaches(lab, "app-1", db1.address)
    assert reaches(lab, "db-1", lab.host("db-3").address)
    lab.mend("partition", "db-1")
    assert reaches(lab, "db-2", db1.address)
    assert knock(db1.address, 22) == "open"


def test_a_partition_outlasts_a_power_cycle(lab: Lab) -> None:
    lab.break_("partition", "app-1")
    lab.power_off("app-1")
    lab.power_on("app-1")
    assert knock(lab.host("app-1").address, 22) == "silence"
    lab.mend("partition", "app-1")
    assert eventually(lambda: knock(lab.host("app-1").address, 22) == "open")


def test_a_frozen_server_accepts_connections_and_never_answers(lab: Lab) -> None:
    lab.break_("freeze", "db-1")
    assert knock(lab.host("db-1").address, 5432) == "open"
    assert role(lab.host("db-1"), timeout_s=0.5) == "no answer"
    assert "freeze" in lab.status().hosts[0].faults
    lab.mend("freeze", "db-1")
    assert role(lab.host("db-1")) == "primary"


def test_a_full_disk_refuses_writes_until_it_has_room_again(lab: Lab) -> None:
    grow = "insert into filler select repeat(md5(n::text), 30) from generate_series(1, 100000) n"
    connection = connect(lab, lab.host("db-1").address)
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists filler (text text)")
        lab.break_("full-disk", "db-1")
        with pytest.raises(psycopg2.Error):
            cursor.execute(grow)
    lab.mend("full-disk", "db-1")
    assert eventually(lambda: role(lab.host("db-1")) in ("primary", "stopped"))
    if role(lab.host("db-1")) == "stopped":  # a WAL segment that cannot be made is a panic
        lab.mend("kill", "db-1")
    with connect(lab, lab.host("db-1").address) as again, again.cursor() as cursor:
        cursor.execute("insert into filler values ('room')")


def test_a_slow_link_is_slow(lab: Lab) -> None:
    def seconds() -> float:
        began = time.monotonic()
        assert len(ssh(lab, "app-1", "head -c 65536 /dev/zero").out) == 65536
        return time.monotonic() - began

    lab.break_("slow-link", "app-1", rate_kbit=256)
    assert seconds() > 1.5, "64 KiB at 256 kbit/s take two seconds"
    lab.mend("slow-link", "app-1")
    assert seconds() < 1.5


def test_a_fault_that_cannot_be_is_refused(lab: Lab) -> None:
    with pytest.raises(Invalid):
        lab.break_("earthquake", "db-1")
    with pytest.raises(Invalid):
        lab.break_("freeze", "app-1")
    with pytest.raises(Invalid):
        lab.break_("partition", "db-1", peers=("db-9",))
    with pytest.raises(Invalid):
        lab.break_("kill", "db-1", peers=("db-2",))


def test_a_supervised_postmaster_is_started_again_in_place_but_not_at_boot(sync_lab: Lab) -> None:
    sync_lab.break_("kill", "db-1")
    assert eventually(lambda: role(sync_lab.host("db-1")) == "primary")
    sync_lab.power_off("db-3")
    sync_lab.power_on("db-3")
    time.sleep(1)  # that nothing happens cannot be waited for otherwise
    assert role(sync_lab.host("db-3")) == "stopped"
    sync_lab.mend("kill", "db-3")
    sync_lab.run(
        "db-3", "/var/lib/postgresql/server/bin/pg_ctl -D /var/lib/postgresql/data -m fast stop", user="postgres"
    )
    time.sleep(1)
    assert role(sync_lab.host("db-3")) == "stopped", "stopped in order, it stays stopped"
    sync_lab.mend("kill", "db-3")


def test_a_synchronous_commit_waits_for_a_standby(sync_lab: Lab) -> None:
    def commit() -> None:
        with connect(sync_lab, sync_lab.host("db-1").address).cursor() as cursor:
            cursor.execute("create table if not exists waited ()")

    watching = connect(sync_lab, sync_lab.host("db-1").address)
    for host in ("db-2", "db-3"):
        sync_lab.break_("freeze", host)
    with ThreadPoolExecutor(1) as pool:
        commitment = pool.submit(commit)
        waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'"
        assert eventually(lambda: value(watching, waiting) == 1)
        assert not commitment.done()
        for host in ("db-2", "db-3"):
            sync_lab.mend("freeze", host)
        commitment.result(timeout=10)
