"""The rules of a check: each spoils one fact of a healthy service, and is told so with a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from views_kit import ADDRESSES, MEMBERS, NOW, on_host, primary, standby

from flows.finding import Finding
from flows.readiness import judge
from recoverd.connections import Reach
from recoverd.inventory import Inventory, load
from tasks.needs import ClientNeeds, DeviceNeeds, EntryNeeds, HostNeeds, Needs, ServerNeeds, Slot
from tasks.views import Answer, HostView, Replica, ServerView, ServiceView, Sight

LAB = Path(__file__).parents[2] / "inventories" / "lab"
ADDRESS = "10.77.0.100/24"
SETTINGS = {
    "wal_log_hints": "on", "data_checksums": "off", "full_page_writes": "on", "fsync": "on", "hot_standby": "on",
    "wal_level": "replica", "max_wal_senders": "12", "max_replication_slots": "12", "wal_retrieve_retry_interval": "100",
    "wal_keep_size": "64", "max_slot_wal_keep_size": "256", "restore_command": "",
}  # fmt: skip
SLOTS = (Slot(name="db_2", active=True), Slot(name="db_3", active=True))


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    found = load(LAB)
    hosts = {
        name: host.model_copy(update={"address": ADDRESSES.get(name, host.address)})
        for name, host in found.hosts.items()
    }
    policy = found.policies["lab"].model_copy(update={"max_lag_bytes": 1024**2})
    return found.model_copy(update={"hosts": hosts, "policies": {**found.policies, "lab": policy}})


def ready(
    hosts: dict[str, dict[str, Any]] | None = None,
    views: dict[str, HostView] | None = None,
    servers: dict[str, ServerView] | None = None,
    needs: dict[str, ServerNeeds] | None = None,
    **parts: Any,
) -> Needs:
    """A healthy service with some facts changed."""
    seen = {"db-1": primary(), "db-2": standby("db-2"), "db-3": standby("db-3")} | (servers or {})
    on = {name: on_host(name, addresses=(ADDRESS,) if name == "db-1" else ()) for name in MEMBERS} | (views or {})
    sights = [Sight(vantage=v, server=s, reach=Reach.ANSWERS) for v in ("controller", "app-1") for s in MEMBERS]
    view = ServiceView(
        service="orders-db", at=NOW, hosts=tuple(on.values()), servers=tuple(seen.values()), sights=tuple(sights),
        addresses=ADDRESSES,
    )  # fmt: skip
    ask = {name: server(name) for name in MEMBERS} | (needs or {})
    facts: dict[str, Any] = {
        "view": view,
        "hosts": tuple(host(name, **(hosts or {}).get(name, {})) for name in MEMBERS),
        "servers": tuple(ask.values()),
        "devices": tuple(DeviceNeeds(device="power", host=name, answer="on") for name in MEMBERS),
        "entries": (EntryNeeds(entry="orders-address", vantage="app-1", reach=Reach.ANSWERS),),
        "clients": (ClientNeeds(host="app-1"),),
    }
    return Needs(**(facts | parts))


def host(name: str, **changed: Any) -> HostNeeds:
    facts: dict[str, Any] = {"is_root": True, "has_os_user": True, "data_version": "15", "state_writable": True}
    return HostNeeds(host=name, **(facts | changed))


def server(name: str, *, settings: dict[str, str] | None = None, **changed: Any) -> ServerNeeds:
    facts: dict[str, Any] = {"superuser": True, "may_promote": True, "replicator": True}
    slots = SLOTS if name == "db-1" else ()
    return ServerNeeds(host=name, settings={**SETTINGS, **(settings or {})}, **({"slots": slots} | facts | changed))


def found(needs: Needs, inventory: Inventory) -> tuple[Finding, ...]:
    findings = judge(needs, inventory.service("orders-db"), inventory)
    assert all(finding.hint for finding in findings if finding.level != "ok")
    return tuple(finding for finding in findings if finding.level != "ok")


def test_a_healthy_service_has_no_finding(inventory: Inventory) -> None:
    assert found(ready(), inventory) == ()


def setting(name: str, value: str) -> Needs:
    return ready(needs={"db-2": server("db-2", settings={name: value})})


@pytest.mark.parametrize(
    ("needs", "level", "where", "words"),
    [
        (ready(hosts={"db-2": {"problem": "no answer", "hint": "x"}}), "problem", "db-2", "no answer"),
        (ready(hosts={"db-2": {"is_root": False}}), "problem", "db-2", "not run as root"),
        (ready(hosts={"db-2": {"missing_tools": ("flock",)}}), "problem", "db-2", "flock is missing"),
        (ready(hosts={"db-2": {"missing_tools": ("arping",)}}), "problem", "db-2", "arping"),
        (ready(hosts={"db-2": {"missing_programs": ("pg_rewind",)}}), "problem", "db-2", "pg_rewind"),
        (ready(hosts={"db-2": {"clock_offset_s": 1.0}}), "warning", "db-2", "1.0 s ahead"),
        (ready(hosts={"db-2": {"clock_offset_s": -60.0}}), "problem", "db-2", "60.0 s behind"),
        (ready(hosts={"db-2": {"unit": "not-found"}}), "problem", "db-2", "systemd does not know"),
        (ready(hosts={"db-2": {"state_writable": False}}), "problem", "db-2", "no epoch"),
        (ready(views={"db-2": on_host("db-2", enabled_at_boot=True)}), "problem", "db-2", "at boot"),
        (ready(views={"db-2": on_host("db-2", fenced="3 fa-1")}), "warning", "db-2", "fenced"),
        (ready(views={"db-2": on_host("db-2", free_bytes=100 * 1024**2)}), "warning", "db-2", "100 MiB"),
        (ready(views={"db-2": on_host("db-2", free_bytes=1024)}), "problem", "db-2", "0 MiB"),
        (ready(needs={"db-2": server("db-2", superuser=False)}), "warning", "db-2", "no superuser"),
        (ready(needs={"db-2": server("db-2", superuser=False, may_promote=False)}), "problem", "db-2", "may not promote"),
        (ready(needs={"db-2": server("db-2", replicator=None)}), "problem", "db-2", "does not exist"),
        (ready(servers={"db-2": standby("db-2", receiver=None)}), "problem", "db-2", "does not stream"),
        (ready(servers={"db-2": standby("db-2", timeline=9)}), "problem", "db-2", "timeline 9"),
        (ready(servers={"db-2": standby("db-2", system_identifier="8")}), "problem", "db-2", "another database"),
        (ready(servers={"db-2": standby("db-2", received_lsn=0)}), "problem", "db-2", "behind"),
        (ready(servers={"db-1": primary(read_only=True)}), "problem", "db-1", "read_only"),
        (ready(servers={"db-2": primary("db-2")}), "problem", "orders-db", "primaries at once"),
        (ready(needs={"db-1": server("db-1", slots=SLOTS[:1])}), "warning", "db-3", "no slot"),
        (ready(needs={"db-1": server("db-1", slots=(*SLOTS, Slot(name="old", active=False)))}), "warning", "db-1", "old"),
        (setting("wal_log_hints", "off"), "problem", "db-2", "rewound"),
        (setting("full_page_writes", "off"), "problem", "db-2", "full_page_writes"),
        (setting("hot_standby", "off"), "problem", "db-2", "hot_standby"),
        (setting("max_wal_senders", "2"), "problem", "db-2", "max_wal_senders"),
        (setting("max_replication_slots", "1"), "problem", "db-2", "max_replication_slots"),
        (setting("wal_retrieve_retry_interval", "5000"), "warning", "db-2", "5 s"),
        (setting("max_slot_wal_keep_size", "-1"), "warning", "db-2", "fills"),
        (setting("restore_command", "cp x"), "warning", "db-2", "restore_command"),
    ],
)  # fmt: skip
def test_a_spoiled_fact_is_told(needs: Needs, level: str, where: str, words: str, inventory: Inventory) -> None:
    told = found(needs, inventory)
    assert any((one.level, one.where) == (level, where) and words in one.what for one in told), told


def test_checksums_serve_as_well_as_hints(inventory: Inventory) -> None:
    settings = {"wal_log_hints": "off", "data_checksums": "on"}
    assert found(ready(needs={"db-2": server("db-2", settings=settings)}), inventory) == ()


def test_a_device_that_says_off_of_a_living_host_would_fence_another(inventory: Inventory) -> None:
    devices = tuple(
        DeviceNeeds(device="power", host=name, answer="off" if name == "db-2" else "on") for name in MEMBERS
    )
    (told,) = found(ready(devices=devices), inventory)
    assert (told.level, told.area) == ("problem", "fencing")
    assert "another machine" in told.what


@pytest.mark.parametrize("holders", [(), ("db-2",), ("db-1", "db-2")])
def test_an_address_stands_on_the_primary_alone(holders: tuple[str, ...], inventory: Inventory) -> None:
    views = {name: on_host(name, addresses=(ADDRESS,) if name in holders else ()) for name in MEMBERS}
    assert [told.area for told in found(ready(views=views), inventory)] == ["entry points"]


def test_a_client_that_does_not_reach_the_address_is_told(inventory: Inventory) -> None:
    entries = (EntryNeeds(entry="orders-address", vantage="app-1", reach=Reach.LOST),)
    (told,) = found(ready(entries=entries), inventory)
    assert told.what == "app-1 does not reach 10.77.0.100 (lost)"


@pytest.mark.parametrize(("confirm", "levels"), [(0, ["problem"]), (1, ["warning"]), (2, [])])
def test_synchronous_commits_need_standbys_to_spare(confirm: int, levels: list[str], inventory: Inventory) -> None:
    replicas = tuple(
        Replica(application=f"db_{n}", state="streaming", sync_state="quorum") for n in range(2, 2 + confirm)
    )
    names = "ANY 1 (db_2, db_3)"
    lead = primary(synchronous_standby_names=names, replicas=replicas)
    others = {host: standby(host, synchronous_standby_names=names) for host in ("db-2", "db-3")}
    assert [told.level for told in found(ready(servers={"db-1": lead, **others}), inventory)] == levels


def test_a_stranger_that_confirms_commits_is_told(inventory: Inventory) -> None:
    names = "ANY 1 (*)"
    members = tuple(Replica(application=f"db-{n}", state="streaming", sync_state="quorum") for n in (2, 3))
    stranger = Replica(application="walreceiver", address="10.77.0.99", state="streaming", sync_state="quorum")
    lead = primary(synchronous_standby_names=names, replicas=(*members, stranger))
    others = {host: standby(host, synchronous_standby_names=names) for host in ("db-2", "db-3")}
    (told,) = [one for one in found(ready(servers={"db-1": lead, **others}), inventory) if one.level != "ok"]
    assert told.what == "commits may be confirmed by walreceiver at 10.77.0.99, which is no member"


def test_a_standby_that_would_not_know_what_commits_waited_for_is_told(inventory: Inventory) -> None:
    lead = primary(synchronous_standby_names="")
    other = standby("db-2", synchronous_standby_names="ANY 1 (db_1, db_3)")
    (told,) = found(ready(servers={"db-1": lead, "db-2": other}), inventory)
    assert (told.level, told.where) == ("warning", "db-2")
    assert "synchronous_standby_names is 'ANY 1 (db_1, db_3)'" in told.what


def test_a_login_that_is_refused_is_a_matter_of_credentials(inventory: Inventory) -> None:
    servers = {"db-2": ServerView(host="db-2", answer=Answer.REJECTED, problem="password authentication failed")}
    refused = ServerNeeds(host="db-2", problem="password authentication failed")
    told = found(ready(servers=servers, needs={"db-2": refused}), inventory)
    assert [one.area for one in told] == ["credentials"]


def test_a_policy_that_breaks_the_objectives_is_told(inventory: Inventory) -> None:
    service = inventory.service("orders-db")
    tight = service.model_copy(
        update={"objectives": service.objectives.model_copy(update={"rto_s": 5, "rpo_bytes": 10})}
    )
    told = [one for one in judge(ready(), tight, inventory) if one.area == "policies"]
    assert {one.level for one in told} == {"warning"}
    assert any("RTO of 5 s" in one.what for one in told)
    assert any("RPO is 10 bytes" in one.what for one in told)


def test_where_nobody_answers_no_failover_is_recommended(inventory: Inventory) -> None:
    servers = {
        host: ServerView(host=host, answer=Answer.SILENT, problem="no answer") for host in ("db-1", "db-2", "db-3")
    }
    told = [one for one in found(ready(servers=servers), inventory) if one.area == "replication"]
    assert [one.what for one in told] == ["no member could be asked"]
    assert "failover" not in told[0].hint
