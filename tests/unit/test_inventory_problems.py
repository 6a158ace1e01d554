"""A bad inventory: file, line, what is wrong, the nearest valid word; all of it at once."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from inventory_kit import HOSTS, SERVICES, problems, write

from recoverd.errors import Invalid
from recoverd.inventory import InventoryError, load

ALERTS = """\
sources:
  am:
    kind: alertmanager
    auth: {kind: bearer, tokens: [{env: TOKEN}]}
routes:
  - {name: down, match: 'alertname="Down"', procedure: failover, target: shop}
"""


def test_the_good_inventory_loads(tmp_path: Path) -> None:
    inventory = load(write(tmp_path, alerts=ALERTS))
    assert inventory.service("shop").hosts == ("db-1", "db-2")
    assert inventory.policy_of("shop").name == "default"


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        (
            "priority: 200",
            "prioritty: 200",
            'services.yaml:6: unknown key "prioritty" in member db-1; did you mean "priority"?',
        ),
        (
            "priority: 200",
            "priority: high",
            "services.yaml:6: priority of member db-1: input should be a valid integer",
        ),
        ("host: db-2", "host: db-9", 'services.yaml:7: unknown host db-9 in member db-9; did you mean "db-3"?'),
        ("host: db-2", "host: db-1", "services.yaml:4: members of service shop: db-1 is a member more than once"),
        ("[app-1]", "[ap-1]", 'services.yaml:14: unknown host ap-1 in service shop; did you mean "app-1"?'),
        (
            "data_dir: /data",
            "data_dir: data",
            "services.yaml:9: postgresql.data_dir of service shop: must be an absolute path",
        ),
        ("      bin_dir: /bin\n", "", 'services.yaml:8: the key "bin_dir" is missing in postgresql of service shop'),
        (
            "10.0.0.9/24",
            "10.0.0.9",
            "services.yaml:13: address of entry point vip: 10.0.0.9 has no prefix length; write it as 10.0.0.9/24",
        ),
        (
            "10.0.0.9/24",
            "10.0.0.999/24",
            "services.yaml:13: address of entry point vip: '10.0.0.999/24' does not appear",
        ),
        (
            "virtual-address",
            "virtual-adress",
            "services.yaml:13: entry point vip: unknown kind virtual-adress; it is one of",
        ),
        (
            "virtual-address, a",
            "virtual-address, interfase: x, a",
            '"interfase" in entry point vip; did you mean "interface"?',
        ),
        (
            "kind: pg_ctl",
            "kind: systemd",
            "services.yaml:11: postgresql.control of service shop: control of kind systemd names its unit",
        ),
        ("kind: pg_ctl", "kind: sytemd", "services.yaml:11: postgresql.control.kind of service shop must be"),
        (
            "    objectives",
            "    polcy: x\n    objectives",
            'services.yaml:15: unknown key "polcy" in service shop; did you mean "policy"?',
        ),
        (
            "    objectives",
            "    policy: strict\n    objectives",
            "services.yaml:15: unknown policy strict in service shop",
        ),
        ("priority: 200", "fencing: [ipmi]", "services.yaml:6: unknown fence device ipmi in member db-1"),
        ("services:", "servces:", 'services.yaml:1: unknown key "servces" in the file; did you mean "services"?'),
        ("        priority: 200", "        host: db-3", 'services.yaml:6: the key "host" is written twice'),
        (
            "rto_s: 30",
            "rto_s: 30, rpo_s: 1, rpo_bytes: 2",
            "objectives of service shop: objectives give rpo_bytes or rpo_s, not both",
        ),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, good: str, bad: str, expected: str) -> None:
    assert good in SERVICES
    found = problems(tmp_path, services=SERVICES.replace(good, bad, 1))
    assert any(expected in line for line in found), found


def test_all_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        services=SERVICES.replace("priority", "prio").replace("db-2", "db-8").replace("rto_s", "rto"),
        policies="policies:\n  strict:\n    cooldown_s: -1\n    approvals: {roles: [boss]}\n",
        people="people:\n  ann: {roles: [commnd]}\nroles:\n  command: {people: [bob], may: [aprove]}\n",
        fencing="devices:\n  ipmi:\n    command: [/bin/true]\n    plugs:\n      db-7: 1\n",
        alerts=ALERTS.replace("target: shop", "target: shp").replace("kind: bearer", "kind: bearerr"),
        sites=": [",
    )
    assert [line.split(": ")[0] for line in found] == [
        "alerts.yaml:4",
        "alerts.yaml:6",
        "fencing.yaml:5",
        "people.yaml:2",
        "people.yaml:4",
        "people.yaml:4",
        "policies.yaml:3",
        "policies.yaml:4",
        "services.yaml:6",
        "services.yaml:7",
        "services.yaml:15",
        "services.yaml:15",
        "sites.yaml:1",
    ], found


def test_the_error_is_readable_and_survives_a_process_border(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(write(tmp_path, services=SERVICES.replace("priority", "prioritty")))
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert str(copy) == str(caught.value)
    assert copy.problems == caught.value.problems
    assert "has 1 problem\nservices.yaml:6: unknown key" in str(copy)
    assert "\nHINT: " in str(copy)
    assert isinstance(copy, Invalid)


def test_missing_and_misnamed_files_are_named(tmp_path: Path) -> None:
    assert problems(tmp_path, services=None, polices="policies: {}") == [
        'polices.yaml: no file of an inventory has this name; did you mean "policies.yaml"?',
        "services.yaml: the file is missing",
    ]
    (tmp_path / "empty").mkdir()
    assert problems(tmp_path / "empty", hosts=None, services=None) == [
        "hosts.yaml: the file is missing",
        "services.yaml: the file is missing",
    ]
    with pytest.raises(InventoryError, match="there is no such directory"):
        load(tmp_path / "absent")


def test_a_missing_hosts_file_does_not_make_every_host_unknown(tmp_path: Path) -> None:
    assert problems(tmp_path, hosts="all: [") == [
        "hosts.yaml:1: no valid YAML: expected the node content, but found '<stream end>'"
    ]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path).joinpath("policies.yaml").mkdir()
    assert problems(tmp_path) == ["policies.yaml: the file cannot be read: is a directory"]


def test_a_member_without_a_plug_on_its_fence_device_is_named(tmp_path: Path) -> None:
    fencing = "devices:\n  ipmi: {command: [/bin/true], plugs: {db-2: 2}}\n"
    found = problems(tmp_path, services=SERVICES.replace("priority: 200", "fencing: [ipmi]"), fencing=fencing)
    assert found == ["services.yaml:6: the fence device ipmi has no plug for host db-1; give it one in fencing.yaml"]


def test_a_service_without_members_is_refused(tmp_path: Path) -> None:
    start, end = SERVICES.index("    members"), SERVICES.index("    postgresql:")
    found = problems(tmp_path, services=SERVICES[:start] + "    members: []\n" + SERVICES[end:])
    assert found == ["services.yaml:4: members of service shop: must not be empty"]


def test_a_bad_matcher_is_named_with_its_line(tmp_path: Path) -> None:
    found = problems(tmp_path, alerts=ALERTS.replace('alertname="Down"', 'alertname=~"(Down"'))
    assert len(found) == 1
    assert found[0].startswith("alerts.yaml:6: match of route down: the regular expression (Down is bad")


def test_names_that_are_not_there_come_with_the_nearest_one(tmp_path: Path) -> None:
    inventory = load(write(tmp_path))
    with pytest.raises(Invalid, match="did you mean shop"):
        inventory.service("shopp")
    with pytest.raises(Invalid, match="did you mean db-1"):
        inventory.host("db-11")
    with pytest.raises(Invalid, match="db-3 is no member of shop"):
        inventory.service("shop").member("db-3")


def test_a_vault_value_in_a_file_of_recoverd_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, services=SERVICES.replace("bin_dir: /bin", "bin_dir: !vault x"))
    assert "services.yaml:10: the YAML tag !vault is understood in Ansible's files only" in found


def test_a_host_written_twice_is_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, hosts=HOSTS + "    app-1: {ansible_host: 10.0.0.2}\n")
    assert found == ['hosts.yaml:5: the key "app-1" is written twice']


def test_a_plug_that_looks_like_an_odd_number_is_kept_as_written(tmp_path: Path) -> None:
    fencing = """\
devices:
  pdu:
    command: [/bin/true]
    options: {version: 1.10, mac: 10:20:30, level: 3, lanplus: yes, serial: 0x1F}
    plugs: {db-1: 010, db-2: 7, db-3: 1_000}
    timeout_s: 2e1
"""
    device = load(write(tmp_path, fencing=fencing)).fence_devices["pdu"]
    assert device.plugs == {"db-1": "010", "db-2": "7", "db-3": "1_000"}
    assert device.options == {"version": "1.10", "mac": "10:20:30", "level": "3", "lanplus": "1", "serial": "0x1F"}
    assert device.timeout_s == 20
