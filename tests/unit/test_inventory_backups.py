"""backups.yaml: what is wrong with it is said before anything is backed up to the wrong place."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from recoverd.errors import Invalid
from recoverd.inventory import HostSite, InventoryError, S3Site, load

EXAMPLE = Path(__file__).parents[2] / "inventories" / "example"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(copytree(EXAMPLE, tmp_path / "inventory"))


def test_the_example_has_three_sites_of_two_kinds() -> None:
    backup = load(EXAMPLE).backup_of("shop")
    assert [type(site) for site in backup.sites] == [HostSite, HostSite, S3Site]
    assert backup.trusted_key == EXAMPLE / "backup-signing.pub.pem"
    with pytest.raises(Invalid, match="no backup of ledger"):
        load(EXAMPLE).backup_of("ledger")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("host: shop-db-2", "host: shop-db-22", "unknown host shop-db-22"),
        ("  shop:\n", "  shpo:\n", "unknown service shpo"),
        ("name: west", "name: own", "own is the name of more than one site"),
        ("host: backup-west, path", "host: shop-db-2, path", "one and the same place"),
        ("drill_host: backup-west", "drill_host: backup-wst", "unknown host backup-wst"),
        (
            "      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
            "      - AGE-SECRET-KEY-1",
            "must look like",
        ),
        ("secret_key:", "secret_kye:", "secret_key"),
        ("path: /srv/backups}\n      - {name: west", 'path: "/srv/my backups"}\n      - {name: west', "must look like"),
    ],
)
def test_a_mistake_is_named(copy: Path, old: str, new: str, said: str) -> None:
    file = copy / "backups.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InventoryError) as refused:
        load(copy)
    assert any(said in str(problem) for problem in refused.value.problems), refused.value
    assert all(problem.file == "backups.yaml" and problem.line for problem in refused.value.problems)


def test_files_of_hosts_have_an_archive_a_host_and_the_rules_of_a_backup() -> None:
    inventory = load(EXAMPLE)
    assert inventory.archives_of("shop-config") == ("shop-config.shop-db-1", "shop-config.shop-db-2")
    assert inventory.archives_of("shop") == ("shop",)
    common = inventory.backup_of("shop-config.shop-db-1")
    assert (common.name, [site.name for site in common.sites]) == ("shop-config.shop-db-1", ["west", "offsite"])
    assert not common.wal.enabled
    assert inventory.target("shop-config").kind == "backup"
    assert inventory.policy_of("shop-config").name == "default"
    with pytest.raises(Invalid, match="no service and no backup of files shop-confg") as refused:
        inventory.target("shop-confg")
    assert "shop-config" in refused.value.hint


def test_a_group_stands_for_its_hosts(copy: Path) -> None:
    file = copy / "backups.yaml"
    group, hosts = next((name, hosts) for name, hosts in load(copy).groups.items() if len(hosts) > 1 and name != "all")
    file.write_text(file.read_text().replace("hosts: [shop-db-1, shop-db-2]", f"hosts: [{group}, {hosts[0]}]"))
    inventory = load(copy)
    assert inventory.hosts_of(inventory.files["shop-config"]) == hosts


PGBACKREST = """\
backups:
  shop:
    engine: pgbackrest
    stanza: shop
    sites:
      - {name: own, repo: 1, host: shop-db-1}
      - {name: west, repo: 2, host: backup-west, account: pgbackrest}
      - {name: offsite, repo: 3, endpoint: "https://s3.eu-central-1.amazonaws.com"}
    restore:
      drill_host: backup-west
"""


def test_pgbackrest_needs_no_keys_and_runs_where_each_repository_stands(copy: Path) -> None:
    (copy / "backups.yaml").write_text(PGBACKREST)
    inventory = load(copy)
    found = inventory.pgbackrest["shop"]
    assert [found.runner(site) for site in found.sites] == ["shop-db-1", "backup-west", "shop-db-1"]
    assert [found.account_of(site) for site in found.sites] == ["postgres", "pgbackrest", "postgres"]
    assert inventory.restore_rules_of("shop").drill_host == "backup-west"
    assert "shop" not in inventory.backups
    with pytest.raises(Invalid, match="pgBackRest makes the backups of shop"):
        inventory.backup_of("shop")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("hosts: [shop-db-1, shop-db-2]", "hosts: [shop-db-1, shop-db-22]", "unknown host or group shop-db-22"),
        ("  shop-config:\n", "  shop:\n", "shop is the name of a service too"),
        ("/etc/systemd/system]", "/etc/systemd/../system]", "must be written plainly"),
        ("/etc/systemd/system]", "/etc/postgresql/15]", "/etc/postgresql/15 is in /etc/postgresql already"),
        ("/etc/systemd/system]", "/etc/postgresql]", "a path is named twice"),
        ("/etc/systemd/system]", "etc/systemd]", "must look like"),
        ("/etc/systemd/system]", "/]", "must look like"),
        ('exclude: ["*.swp"]', 'exclude: ["--checkpoint-action=exec=id"]', "must look like"),
        ('exclude: ["*.swp"]', "excludes: []", 'unknown key "excludes"'),
        (
            "    hosts: [shop-db-1, shop-db-2]\n",
            "    policy: strict\n    hosts: [shop-db-1]\n",
            "unknown policy strict",
        ),
    ],
)
def test_a_mistake_in_files_is_named(copy: Path, old: str, new: str, said: str) -> None:
    test_a_mistake_is_named(copy, old, new, said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("engine: pgbackrest", "engine: pgbackrset", "unknown engine pgbackrset; it is one of builtin, pgbackrest"),
        ("    stanza: shop\n", "", 'the key "stanza" is missing'),
        ("stanza: shop", "stanza: shop\n    recipients: [x]", 'unknown key "recipients"'),
        ("repo: 2", "repo: 1", "1 is the number of more than one site"),
        ("name: west", "name: own", "own is the name of more than one site"),
        ("host: backup-west,", "host: backup-wst,", "unknown host backup-wst"),
        ("host: backup-west, ", "", "give host or endpoint"),
        ('endpoint: "https', 'host: shop-db-2, endpoint: "https', "give host or endpoint"),
        ("stanza: shop", "stanza: shop\n    host: shop-db-9", "unknown host shop-db-9"),
        ("stanza: shop", "stanza: shop\n    backup_type: fulll", "must be"),
        ("    engine: pgbackrest\n", "", 'unknown key "stanza"'),
    ],
)
def test_a_mistake_about_pgbackrest_is_named(copy: Path, old: str, new: str, said: str) -> None:
    assert old in PGBACKREST
    (copy / "backups.yaml").write_text(PGBACKREST.replace(old, new, 1))
    with pytest.raises(InventoryError) as refused:
        load(copy)
    assert any(said in str(problem) for problem in refused.value.problems), refused.value
    assert all(problem.file == "backups.yaml" and problem.line for problem in refused.value.problems)


def test_the_schema_knows_the_keys_of_each_engine() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    known = json.loads((EXAMPLE.parent / "schema" / "backups.json").read_text())
    check = jsonschema.Draft202012Validator(known)
    text = yaml.safe_load(PGBACKREST)
    assert check.is_valid(text)
    text["backups"]["shop"]["recipients"] = ["x"]
    assert not check.is_valid(text)
    assert check.is_valid(yaml.safe_load((EXAMPLE / "backups.yaml").read_text()))
    assert not check.is_valid({"backups": {"shop": {"stanza": "shop"}}})
