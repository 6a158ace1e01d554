"""Someone else's Ansible inventory is read as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from inventory_kit import SERVICES, problems, write

from recoverd.errors import Invalid
from recoverd.inventory import Inventory, findings, load

EXISTING = Path(__file__).parent / "inventories" / "existing"


@pytest.fixture
def existing(tmp_path: Path) -> Inventory:
    root = tmp_path / "existing"
    shutil.copytree(EXISTING, root)
    (root / "services.yaml").write_text("services: {}\n")
    return load(root)


def test_connection_variables_become_fields(existing: Inventory) -> None:
    host = existing.host("pg1")
    assert (host.address, host.port, host.user, host.become) == ("192.0.2.11", 22, "dba", True)
    assert host.key_file == Path("~/.ssh/db").expanduser()
    assert host.known_hosts == existing.root / "known_hosts"
    assert host.groups == ("linux", "db-servers")
    assert existing.host("pg2").address == "fd00::12"
    assert existing.host("localhost").local
    assert existing.host("app1.example.com").address == "app1.example.com"
    assert (existing.host("app9").address, existing.host("app9").port) == ("app9.prod.example.com", 2200)
    assert existing.groups["app.servers"] == ("app1.example.com", "app2.example.com", "app9")


def test_a_vault_or_template_address_sets_only_that_host_aside(existing: Inventory) -> None:
    assert set(existing.unusable) == {"pg3", "pg4"}
    with pytest.raises(Invalid, match="encrypted by ansible-vault"):
        existing.host("pg3")
    with pytest.raises(Invalid, match="template"):
        existing.host("pg4")
    assert {"host pg3", "host pg4"} <= {finding.subject for finding in findings(existing)}


def test_a_service_that_needs_such_a_host_says_why(tmp_path: Path) -> None:
    hosts = "all:\n  hosts:\n    db-1: {ansible_host: \"{{ lookup('x') }}\"}\n    db-2: {ansible_port: !vault x}\n    app-1:\n"
    first, second = problems(tmp_path, hosts=hosts)
    assert first.startswith("services.yaml:5: the host db-1 cannot be used: hosts.yaml:3: ansible_host is the template")
    assert second.startswith("services.yaml:7: the host db-2 cannot be used: hosts.yaml:4: ansible_port is encrypted")


def test_variables_are_frozen(existing: Inventory) -> None:
    variables = existing.host("pg1").variables
    assert variables["custom_json"]["a"] == (1, 2.5, None)
    with pytest.raises(TypeError):
        variables["x"] = 1  # type: ignore[index]
    assert variables["custom_json"] == {"a": (1, 2.5, None)}


def test_an_encrypted_vars_file_is_left_out_and_mentioned(tmp_path: Path) -> None:
    inventory = load(write(tmp_path, **{"group_vars/all/vault.yml": "$ANSIBLE_VAULT;1.1;AES256\n6162\n"}))
    assert [str(one) for one in inventory.warnings] == [
        "group_vars/all/vault.yml: the file is encrypted by ansible-vault; recoverd does not know its variables"
    ]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("", "hosts.yaml:1: the inventory is empty; write `all:`, and `hosts:` below it"),
        ("[a]", "hosts.yaml:1: the inventory is no mapping of groups; write `all:`, and `hosts:` below it"),
        ("plugin: aws_ec2", "hosts.yaml:1: this configures an inventory plug-in of Ansible; write its hosts out"),
        ("all:\n  hosts: [a]", "hosts.yaml:2: hosts of group all must be a mapping"),
        ("all:\n  hosts:\n    1: ", "hosts.yaml:3: the host name 1 must stand in quotation marks"),
        (
            "all:\n  hosts:\n    d[1]: ",
            "hosts.yaml:3: the host range d[1] is bad: a range is [begin:end] or [begin:end:step]",
        ),
        ("a: {children: {b: }}\nb: {children: {a: }}", "hosts.yaml: a group is a child of itself, through a, b"),
        (
            "all:\n  vars: {recoverd_sit: x}\n  hosts: {a: }",
            'hosts.yaml:2: unknown variable "recoverd_sit"; did you mean "recoverd_site"?',
        ),
        ("all:\n  vars: {recoverd_site: x}\n  hosts: {a: }", "hosts.yaml:2: unknown site x"),
        (
            "all:\n  hosts: {a: }\nb:\n  vars: {ansible_group_priority: x}",
            "hosts.yaml:4: ansible_group_priority of group b must be a number",
        ),
    ],
)
def test_a_hosts_file_that_makes_no_sense_is_a_problem(tmp_path: Path, hosts: str, expected: str) -> None:
    assert problems(tmp_path, hosts=hosts, services="services: {}") == [expected]


def test_what_ansible_only_skips_is_a_warning(tmp_path: Path) -> None:
    hosts = "all:\n  host: {x: }\n  hosts: {db-1: , db-2: , app-1: }\nodd: text\n"
    inventory = load(write(tmp_path, hosts=hosts))
    assert [str(one) for one in inventory.warnings] == [
        'hosts.yaml:2: unknown key "host" in group all, which Ansible skips; did you mean "hosts"?',
        "hosts.yaml:4: odd is no group, as it is no mapping; Ansible skips it, and so does recoverd",
    ]


def test_a_bad_port_names_the_place_where_it_is_written(tmp_path: Path) -> None:
    found = problems(tmp_path, **{"host_vars/db-1.yml": "x: 1\nansible_port: 70000\n"})
    assert found == [
        "services.yaml:5: the host db-1 cannot be used: host_vars/db-1.yml:2: ansible_port must be a port from 1 to 65535 (host db-1)"
    ]


def test_a_member_overrides_what_the_service_says(tmp_path: Path) -> None:
    services = SERVICES.replace(
        "      - host: db-2", "      - host: db-2\n        postgresql: {port: 5433, data_dir: /other}"
    )
    service = load(write(tmp_path, services=services)).service("shop")
    assert (service.postgres_of("db-1").port, service.postgres_of("db-1").data_dir) == (5432, "/data")
    assert (service.postgres_of("db-2").port, service.postgres_of("db-2").data_dir) == (5433, "/other")
