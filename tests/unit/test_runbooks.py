"""Runbooks without any host: what stands in them, and what must not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flows.runbooks import MAKERS, make
from flows.runbooks.document import hash_of
from recoverd.errors import Invalid
from recoverd.inventory import Inventory, load
from recoverd.inventory.findings import secrets_of

ROOT = Path(__file__).parents[2] / "inventories"
INVENTORIES = ["lab", "example"]


def services(name: str) -> list[tuple[Inventory, str]]:
    inventory = load(ROOT / name)
    return [(inventory, service) for service in inventory.services]


@pytest.mark.parametrize("procedure", MAKERS)
@pytest.mark.parametrize("name", INVENTORIES)
def test_every_block_is_a_script_that_sh_can_read(name: str, procedure: str) -> None:
    for inventory, service in services(name):
        document = make(procedure, service, inventory)
        for chapter in document.chapters:
            for step in chapter.steps:
                done = subprocess.run(["sh", "-n"], input=step.commands, capture_output=True, text=True, check=False)
                assert done.returncode == 0, f"{step.title}: {done.stderr}"


@pytest.mark.parametrize("name", INVENTORIES)
def test_the_version_line_names_recoverd_and_the_inventory(name: str) -> None:
    for inventory, service in services(name):
        text = make("failover", service, inventory).markdown()
        assert "by recoverd 0." in text
        assert hash_of(inventory.root)[:16] in text


@pytest.mark.parametrize("procedure", MAKERS)
def test_secrets_are_references_and_their_values_stand_nowhere(
    procedure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "zz-the-value-of-a-secret"
    for inventory, service in services("example"):
        for secret in secrets_of(inventory):
            if secret.env:
                monkeypatch.setenv(secret.env, value)
        assert value not in make(procedure, service, inventory).markdown()


def test_a_secret_option_of_a_fence_device_is_read_when_the_command_runs() -> None:
    texts = [make("failover", service, inventory).markdown() for inventory, service in services("example")]
    assert any('"password=$(cat ' in text or '"password=$' in text for text in texts)


def test_naming_the_hosts_leaves_out_the_others() -> None:
    inventory = load(ROOT / "lab")
    text = make("failover", "orders-db", inventory, {"from": "db-1", "to": "db-2"}).markdown()
    assert "Promote db-2" in text
    assert "Promote db-3" not in text
    assert "Fence db-2" not in text
    assert "Let db-3 follow db-2" in text
    assert "Let db-1 follow" not in text  # it comes back by a rejoin


def test_members_that_are_never_promoted_are_no_candidates() -> None:
    inventory = load(ROOT / "lab")
    service = inventory.service("orders-db")
    members = tuple(m.model_copy(update={"no_failover": m.host == "db-3"}) for m in service.members)
    changed = inventory.model_copy(update={"services": {"orders-db": service.model_copy(update={"members": members})}})
    assert "Promote db-3" not in make("failover", "orders-db", changed).markdown()


@pytest.mark.parametrize(
    ("procedure", "target", "options"),
    [
        ("failovr", "orders-db", {}),
        ("failover", "orders", {}),
        ("failover", "orders-db", {"from": "db-9"}),
        ("failover", "orders-db", {"form": "db-1"}),
    ],
)
def test_what_is_not_there_is_refused(procedure: str, target: str, options: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        make(procedure, target, load(ROOT / "lab"), options)


def test_the_hash_changes_with_a_file_and_not_with_the_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.yaml").write_text("all: {}\n")
    assert hash_of(tmp_path / "a") == hash_of(tmp_path / "b")
    (tmp_path / "b" / "hosts.yaml").write_text("all: {}\n\n")
    assert hash_of(tmp_path / "a") != hash_of(tmp_path / "b")


def test_a_server_is_looked_for_by_the_real_path_of_its_data_directory() -> None:
    for inventory, service in services("lab"):
        for procedure in MAKERS:
            text = make(procedure, service, inventory).markdown()
            assert text.count("-lname") == text.count('-lname "$(readlink -f ')
