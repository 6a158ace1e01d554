"""hosts.yaml, group_vars/ and host_vars/ mean what they mean to Ansible.

`inventories/expected/` holds what `ansible-inventory --list` of ansible-core 2.19 says about the inventories beside it.
Record it again with: RECOVERD_RECORD_ANSIBLE=1 pytest tests/unit/test_inventory_ansible.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recoverd.inventory.ansible import read_tree
from recoverd.inventory.patterns import BadPattern, expand
from recoverd.inventory.variables import Resolved, resolve
from recoverd.inventory.yamlfile import read

HERE = Path(__file__).parent / "inventories"
NAMES = sorted(path.parent.name for path in HERE.glob("*/hosts.yaml"))


def ours(name: str) -> Resolved:
    tree = read_tree(read(HERE / name / "hosts.yaml", "hosts.yaml"))
    resolved = resolve(tree, HERE / name)
    assert tree.problems == []
    return resolved


def theirs(name: str) -> dict[str, Any]:
    program = os.environ.get("ANSIBLE_INVENTORY_PROGRAM") or shutil.which("ansible-inventory")
    if program is None:
        pytest.skip("ansible is not installed; the recorded answers are compared instead")
    done = subprocess.run(
        [program, "-i", str(HERE / name / "hosts.yaml"), "--list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=HERE,
        env={name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
    )
    listed = json.loads(done.stdout)
    variables = {host: plain(values) for host, values in listed.pop("_meta")["hostvars"].items()}
    groups = {group: sorted(members(listed, group)) for group in sorted(listed)}
    return {"groups": groups, "variables": {host: variables.get(host, {}) for host in groups["all"]}}


def plain(value: Any) -> Any:
    """ansible-inventory marks vault and unsafe values in its own way."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_vault"}:
            return "<encrypted by ansible-vault>"
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def members(listed: dict[str, Any], group: str) -> set[str]:
    body = listed.get(group, {})
    return set(body.get("hosts", [])).union(*(members(listed, child) for child in body.get("children", [])))


@pytest.mark.parametrize("name", NAMES)
def test_hosts_groups_and_variables_are_those_that_ansible_reported(name: str) -> None:
    expected = json.loads((HERE / "expected" / f"{name}.json").read_text())
    resolved = ours(name)
    assert {host: values.values for host, values in resolved.variables.items()} == expected["variables"]
    assert {group: sorted(resolved.members[group]) for group in expected["groups"]} == expected["groups"]


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_answers_are_still_those_of_ansible(name: str) -> None:
    answer = theirs(name)
    path = HERE / "expected" / f"{name}.json"
    if os.environ.get("RECOVERD_RECORD_ANSIBLE"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(answer, indent=1, sort_keys=True) + "\n")
    assert answer == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("pattern", "hosts", "port"),
    [
        ("db-1", ["db-1"], None),
        ("db-[1:3]", ["db-1", "db-2", "db-3"], None),
        ("db-[01:05:2].x:2222", ["db-01.x", "db-03.x", "db-05.x"], 2222),
        ("n-[a:c]", ["n-a", "n-b", "n-c"], None),
        ("r[1:2]-[a:b]", ["r1-a", "r1-b", "r2-a", "r2-b"], None),
        ("[2001:db8::1]:22", ["2001:db8::1"], 22),
    ],
)
def test_host_ranges_expand_as_in_ansible(pattern: str, hosts: list[str], port: int | None) -> None:
    assert expand(pattern) == (hosts, port)


@pytest.mark.parametrize(
    "pattern", ["db[1]", "db[1:]", "db[1:x]", "db[c:a]", "db[01:100]", "db[1:9:0]", "db[1:999999999]"]
)
def test_a_bad_host_range_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        expand(pattern)
