"""Which hosts a selector means, which zone they are in, and what an empty one means: nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from recoverd.errors import Invalid
from recoverd.inventory import Inventory, InventoryError, load

HOSTS = """
all:
  children:
    web:
      hosts:
        web-1: {ansible_host: 10.0.0.1, recoverd_labels: {role: front, tier: "1"}}
        web-2: {ansible_host: 10.0.0.2, recoverd_labels: {role: front}}
        web-3: {ansible_host: "fd00::3", recoverd_labels: {role: back}}
    db:
      hosts:
        db-1: {ansible_host: 10.0.0.9}
    empty:
"""
ZONES = """
zones:
  fronts: {hosts: "label:role=front", policy: careful, timer_s: 30, peers: [db-1]}
  webs: {hosts: "group:web", management: [10.0.0.0/24]}
"""


def inventory(place: Path, zones: str = ZONES, hosts: str = HOSTS) -> Inventory:
    (place / "hosts.yaml").write_text(hosts)
    (place / "services.yaml").write_text("services:\n")
    (place / "policies.yaml").write_text("policies:\n  careful: {isolate: {hand: ask}}\n")
    (place / "isolation.yaml").write_text(zones)
    return load(place)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("web-3", ("web-3",)),
        ("group:web", ("web-1", "web-2", "web-3")),
        ("label:role=front", ("web-1", "web-2")),
        ('label:role=~"front|back"', ("web-1", "web-2", "web-3")),
        ("db-1, web-2 , group:db", ("web-2", "db-1")),
    ],
)
def test_a_selector_means_these_hosts_each_once_in_the_order_of_the_inventory(
    tmp_path: Path, text: str, hosts: tuple[str, ...]
) -> None:
    made = inventory(tmp_path, "zones:\n")
    assert made.selection(text).hosts == hosts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "means no host"),
        (" ", "means no host"),
        ("web-1,", "means no host"),
        ("group:", "there is no group"),
        ("group:wbe", "there is no group wbe"),
        ("group:empty", "the group empty has no host"),
        ("label:role=none", "no host has labels that match"),
        ('label:role!="front"', ""),
        ("label:role", "selects by no label"),
        ("wbe-1", "there is no host wbe-1"),
    ],
)
def test_a_selector_that_means_nobody_is_refused(tmp_path: Path, text: str, said: str) -> None:
    made = inventory(tmp_path, "zones:\n")
    if not said:  # hosts without labels are never meant by what they do not have
        assert made.selection(text).hosts == ("web-3",)
        return
    with pytest.raises(Invalid, match=said):
        made.selection(text)


def test_the_first_zone_that_selects_a_host_counts_and_else_the_defaults(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    assert [made.zone_of(host).name for host in made.hosts] == ["fronts", "fronts", "webs", "default"]
    assert made.zone_of("web-1").timer_s == 30
    assert made.selection("label:role=front").policy == "careful"
    with pytest.raises(Invalid, match="go by different policies: web-2 by careful, web-3 by default"):
        made.selection("group:web")


def test_a_monitoring_system_names_a_host_by_name_address_or_address_and_port(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    for text in ("web-1", "10.0.0.1", "10.0.0.1:9100", "web-1:9100"):
        assert made.host_at(text) == "web-1"
    assert made.host_at("[fd00::3]:9100") == made.host_at("fd00::3") == "web-3"
    assert made.host_at("10.0.0.77:9100") is None


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        ("zones: {webs: {hosts: 'group:wbe'}}", "there is no group wbe"),
        ("zones: {webs: {hosts: web-9}}", "there is no host web-9"),
        ("zones: {webs: {hosts: web-1, peers: [web-9]}}", "unknown host web-9"),
        ("zones: {webs: {hosts: web-1, policy: carefull}}", "unknown policy carefull"),
        ("zones: {webs: {hosts: web-1, management: [10.0.0.300]}}", "10.0.0.300"),
        ("zones: {webs: {hosts: web-1, layers: [firewall, firewall]}}", "a layer is named twice"),
        ("zones: {webs: {hosts: web-1, timer: 3}}", "timer"),
    ],
)
def test_a_zone_that_cannot_be_meant_so_is_an_error_with_its_place(tmp_path: Path, zones: str, said: str) -> None:
    with pytest.raises(InventoryError, match=said) as error:
        inventory(tmp_path, zones)
    assert "isolation.yaml" in str(error.value)


def test_labels_that_are_no_mapping_set_the_host_aside(tmp_path: Path) -> None:
    hosts = HOSTS.replace("recoverd_labels: {role: back}", "recoverd_labels: back")
    with pytest.raises(Invalid, match="recoverd_labels must be a mapping"):
        inventory(tmp_path, "zones:\n", hosts).selection("group:web")
