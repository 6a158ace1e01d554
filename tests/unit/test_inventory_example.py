"""The example, the schemas and the reference are true."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from recoverd.inventory import Inventory, Libpq, Postgres, PostgresOverrides, VirtualAddress, findings, load
from recoverd.inventory.loader import SECTIONS
from recoverd.inventory.matchers import all_match
from recoverd.inventory.reference import FILES, renewed
from recoverd.inventory.schema_export import text
from recoverd.inventory.yamlfile import read

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "inventories" / "example"


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return load(EXAMPLE)


def test_the_example_loads_without_a_doubt(inventory: Inventory) -> None:
    assert findings(inventory) == ()
    assert {host.site for host in inventory.hosts.values()} == set(inventory.sites) == {"east", "west"}


def test_the_example_shows_every_kind(inventory: Inventory) -> None:
    shop, ledger = inventory.service("shop"), inventory.service("ledger")
    assert ledger.postgresql.patroni is not None
    assert ledger.postgresql.patroni.managed
    assert isinstance(shop.entry_points[0], VirtualAddress)
    assert isinstance(ledger.entry_points[0], Libpq)
    agents = {Path(device.command[0]).name for device in inventory.fence_devices.values()}
    assert agents == {"fence_ipmilan", "fence_pve"}
    assert {source.kind for source in inventory.sources.values()} == {"alertmanager", "grafana"}
    assert inventory.fence_devices["bmc-shop-db-2"].options["lanplus"] == "1"
    assert inventory.fence_devices["bmc-shop-db-2"].options["ip"] == "10.20.9.12"
    assert inventory.service("reports").postgres_of("reports-db-2").data_dir == "/srv/postgresql/16/main"


def test_roles_and_people_agree_whichever_side_says_it(inventory: Inventory) -> None:
    assert inventory.people["chen"].roles == ("command", "technical")
    assert inventory.roles["legal"].people == ("haddad",)


def test_an_alert_takes_the_first_route_that_matches(inventory: Inventory) -> None:
    def route(**labels: str) -> str:
        return next(route.name for route in inventory.routes if all_match(route.match, labels))

    assert route(alertname="PostgresDown", severity="critical", service="shop") == "primary-down"
    assert route(alertname="PostgresDown", severity="warning", service="shop") == "everything-else"
    assert route(alertname="PostgresDown", severity="critical", service="reports") == "reports-down"


def test_an_inventory_is_frozen_and_survives_pickling(inventory: Inventory) -> None:
    copy = pickle.loads(pickle.dumps(inventory))  # noqa: S301 - our own
    assert copy == inventory
    assert hash(copy.service("shop")) == hash(inventory.service("shop"))
    with pytest.raises(ValidationError):
        inventory.service("shop").policy = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        inventory.hosts["x"] = inventory.host("shop-db-1")  # type: ignore[index]
    json.loads(inventory.model_dump_json())


@pytest.mark.parametrize("stem", sorted(SECTIONS))
def test_the_schemas_are_current_and_accept_the_example(stem: str) -> None:
    written = (ROOT / "inventories" / "schema" / f"{stem}.json").read_text(encoding="utf-8")
    assert written == text(stem), "run: python -m recoverd.inventory.schema_export"
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator(json.loads(written)).validate(read(EXAMPLE / f"{stem}.yaml", stem).value)


def test_the_reference_is_current_and_has_every_field() -> None:
    document = (ROOT / "docs" / "inventory.md").read_text(encoding="utf-8")
    assert renewed(document) == document, "run: python -m recoverd.inventory.reference"
    for model in _models(*(model for models in SECTIONS.values() for model in models.values())):
        section = document.partition(f"**{model.__name__}**")[2].partition("\n**")[0]
        assert set(model.model_fields) <= set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)), model.__name__


def _models(*found: type[BaseModel]) -> set[type[BaseModel]]:
    """All models that can stand in a file, also those that stand inside of others."""
    listed = {model for models in FILES.values() for model in models}
    names = {name for model in found for name in model.model_json_schema().get("$defs", {})} | {
        one.__name__ for one in found
    }
    assert names <= {model.__name__ for model in listed}
    return listed


def test_what_a_member_overrides_are_settings_of_the_service() -> None:
    assert set(PostgresOverrides.model_fields) <= set(Postgres.model_fields)


def test_the_exporter_and_the_reference_run_as_modules(tmp_path: Path) -> None:
    import sys

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", *arguments], check=True, timeout=30, cwd=ROOT, capture_output=True)

    run("recoverd.inventory.schema_export", str(tmp_path))
    assert {path.stem for path in tmp_path.glob("*.json")} == set(SECTIONS)
    (tmp_path / "doc.md").write_text("<!-- reference: begin -->\n<!-- reference: end -->\n")
    run("recoverd.inventory.reference", str(tmp_path / "doc.md"))
    assert "| `data_dir` |" in (tmp_path / "doc.md").read_text()


def test_the_schedules_of_the_example_name_procedures_and_services_that_exist() -> None:
    from deployments.catalogue import PROCEDURES
    from deployments.schedules import load_schedules

    found = load_schedules(EXAMPLE, PROCEDURES)
    services = load(EXAMPLE).services
    assert [schedule.target in services for schedule in found] == [True]
    assert not any(schedule.active for schedule in found)
