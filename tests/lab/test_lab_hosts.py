"""What a host of the lab is."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import psycopg2
import pytest
from lab_kit import connect, eventually, knock, reaches, ssh, value

from lab import Lab
from lab.inventory import SOURCE, render
from lab.layout import DEFAULT_BASE, DEFAULT_NUMBER, Layout
from recoverd.errors import Invalid, TimedOut
from recoverd.inventory import load

pytestmark = pytest.mark.lab


def test_a_host_shows_only_its_own_processes(lab: Lab) -> None:
    shown = lab.run("app-1", "ps ax -o args").out.splitlines()
    assert len(shown) < 10
    assert not any("postgres:" in line for line in shown)
    assert lab.run("db-2", "hostname").out == "db-2\n"


@pytest.mark.parametrize(
    "place", ["/etc", "/root", "/run", "/tmp", "/var/lib/recoverd", "/var/lib/postgresql", "/dev/shm"]
)
def test_what_a_host_keeps_is_its_own(lab: Lab, place: str) -> None:
    lab.run("db-2", f"echo mine > {place}/lab-mark")
    assert not lab.run("db-3", f"test -e {place}/lab-mark", check=False).ok
    assert not Path(place, "lab-mark").exists()


def test_files_and_accounts_outlast_a_power_cycle_but_not_what_a_boot_clears(lab: Lab) -> None:
    lab.run("app-1", "useradd somebody && touch /var/lib/recoverd/kept /run/gone /tmp/gone")
    lab.power_off("app-1")
    lab.power_on("app-1")
    assert lab.run("app-1", "id somebody && test -e /var/lib/recoverd/kept").ok
    assert not lab.run("app-1", "ls /run/gone /tmp/gone", check=False).out
    lab.run("app-1", "userdel somebody")


def test_ssh_is_answered_by_the_key_that_known_hosts_names(lab: Lab) -> None:
    for host in lab.hosts:
        assert ssh(lab, host.name, "hostname").out.strip() == host.name


def test_a_host_with_another_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "known_hosts"
    other.write_text((lab.state / "known_hosts").read_text().replace("db-1,", "x,").replace("db-2,", "db-1,"))
    ran = ssh(lab, "db-1", "hostname", "-o", f"UserKnownHostsFile={other}", "-o", "HostKeyAlias=db-1")
    assert ran.code == 255
    assert "verification failed" in ran.err


def test_a_stranger_key_is_refused(lab: Lab, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=10)
    argv = ["ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    known = f"UserKnownHostsFile={lab.state}/known_hosts"
    target = [f"root@{lab.host('db-1').address}", "true"]
    ran = subprocess.run([*argv, "-o", known, *target], capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 255
    assert "Permission denied" in ran.stderr


def test_hosts_reach_each_other_by_name_and_over_both_protocols(lab: Lab) -> None:
    assert reaches(lab, "app-1", "db-1")
    if lab.layout.ipv6:
        assert reaches(lab, "app-1", lab.host("db-3").address6)


def test_two_standbys_stream_from_slots_and_rewind_is_possible(lab: Lab) -> None:
    with connect(lab, lab.host("db-1").address) as connection:
        assert value(connection, "select count(*) from pg_stat_replication where state = 'streaming'") == 2
        names = "select string_agg(application_name, ' ' order by application_name) from pg_stat_replication"
        assert value(connection, names) == "db-2 db-3"
        assert value(connection, "select count(*) from pg_replication_slots where active") == 2
        for setting in ("data_checksums", "wal_log_hints", "full_page_writes", "fsync", "hot_standby"):
            assert value(connection, f"show {setting}") == "on"


def test_the_service_answers_on_its_address_to_a_client_with_the_password(lab: Lab) -> None:
    with connect(lab, lab.layout.virtual_address, user="app", database="orders") as connection:
        assert value(connection, "select pg_is_in_recovery()") is False
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(host=lab.layout.virtual_address, user="postgres", password="guess", connect_timeout=3)


def test_commands_in_hosts_have_a_limit(lab: Lab) -> None:
    with pytest.raises(TimedOut):
        lab.run("app-1", "sleep 61.5", timeout_s=0.3)
    assert eventually(lambda: "sleep 61.5" not in lab.run("app-1", "ps ax -o args").out)


def test_an_unknown_host_is_named_with_the_nearest(lab: Lab) -> None:
    with pytest.raises(Invalid, match="did you mean db-1"):
        lab.host("db1")


def test_the_inventory_of_a_lab_describes_it(lab: Lab) -> None:
    inventory = load(lab.inventory)
    assert {name: host.address for name, host in inventory.hosts.items()} == {h.name: h.address for h in lab.hosts}
    service = inventory.service("orders-db")
    postgres = service.postgresql
    assert postgres.password is not None
    with psycopg2.connect(
        host=lab.host("db-1").address,
        user=postgres.user,
        password=postgres.password.resolve(),
        dbname=postgres.database,
    ) as connection:
        assert value(connection, "show data_directory") == postgres.data_dir
    assert lab.run("db-1", f"{postgres.bin_dir}/pg_ctl status -D {postgres.data_dir}", user=postgres.os_user).ok
    device = inventory.fence_devices["power"]
    said = subprocess.run(device.command, input="action=status\nplug=db-1\n", text=True, timeout=10, check=False)
    assert said.returncode == 0


def test_the_default_lab_is_described_by_inventories_lab() -> None:
    default = Layout(name="lab", base=DEFAULT_BASE, number=DEFAULT_NUMBER)
    inventory = load(SOURCE)
    for name, host in inventory.hosts.items():
        assert host.address == default.hosts[name].address
        assert host.key_file == default.state / "keys/client"
    assert all(render(file.name, file.read_text(), default) == file.read_text() for file in SOURCE.glob("*.yaml"))


def test_two_labs_stand_side_by_side(lab: Lab, sync_lab: Lab) -> None:
    assert lab.layout.subnet != sync_lab.layout.subnet
    assert ssh(sync_lab, "web-2", "hostname").out == "web-2\n"
    assert load(sync_lab.inventory).host("web-2").address == sync_lab.host("web-2").address
    assert not reaches(lab, "app-1", sync_lab.host("db-1").address)
    secret = shlex.quote(str(sync_lab.layout.secret("postgres")))
    assert not lab.run("db-1", f"cat {secret}", check=False).ok
    assert knock(lab.host("db-1").address, 5432) == "open"
