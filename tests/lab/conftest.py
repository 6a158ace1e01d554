"""One lab for all tests of a session, healthy at the start of each; a second one where a test wants it otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from failover_kit import Controller, controller
from lab_kit import lab_name

from lab import Lab, up
from lab.cluster import wait_for_standbys
from lab.layout import base_dir
from recoverd.errors import RecoverdError

LEFT_FOR_BOOT = "/etc/rcS.d/S??recoverd-* /etc/systemd/system/recoverd-* /etc/systemd/system/*.wants/recoverd-*"


@pytest.fixture(scope="session", autouse=True)  # first of all: no test's own change of it may be what is put back
def lab_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All labs of the session live below a directory of their own."""
    base = tmp_path_factory.mktemp("labs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECOVERD_LAB_DIR", str(base))
        yield base


@pytest.fixture(autouse=True)
def _only_labs_of_the_session(lab_base: Path) -> None:
    """A test whose labs would stand elsewhere, where people have theirs, does not begin."""
    assert base_dir() == lab_base, "RECOVERD_LAB_DIR was changed by a fixture of another module that is still in force"


@pytest.fixture(scope="session")
def _labs(lab_base: Path) -> Iterator[dict[str, Lab]]:
    labs: dict[str, Lab] = {}
    yield labs
    for name in labs:
        Lab.remove(name)


@pytest.fixture
def lab(_labs: dict[str, Lab]) -> Lab:
    """A healthy lab: db-1 primary, db-2 and db-3 streaming. What the last test left broken is built anew."""
    return healthy(_labs, lab_name("t"), up)


@pytest.fixture
def sync_lab(_labs: dict[str, Lab]) -> Lab:
    """A second lab, beside the other: synchronous replication, supervised postmasters, two more hosts."""
    return healthy(_labs, lab_name("s"), lambda name: up(name, hosts=("web-1", "web-2"), sync=True, supervisor=True))


@pytest.fixture
def backup_lab(_labs: dict[str, Lab]) -> Lab:
    """A lab with all three sites of a backup: its objects and the files below /srv/backups outlast a test."""
    return healthy(_labs, lab_name("b"), lambda name: up(name, backups=True))


@pytest.fixture
def ward_lab(_labs: dict[str, Lab]) -> Lab:
    """Five hosts without databases, whole and with an empty packet filter, for what isolates, contains and examines."""
    name, hosts = lab_name("w"), tuple(f"web-{i}" for i in range(1, 6))
    if name not in _labs or any(host.faults or host.power == "off" for host in _labs[name].status().hosts):
        Lab.remove(name)
        _labs[name] = up(name, hosts=hosts, databases=False)
    for host in hosts:
        _labs[name].run(host, f"rm -rf /var/lib/recoverd/* {LEFT_FOR_BOOT}; nft flush ruleset")
    return _labs[name]


def healthy(labs: dict[str, Lab], name: str, build: Callable[[str], Lab]) -> Lab:
    if name not in labs or not is_healthy(labs[name]):
        Lab.remove(name)
        labs[name] = build(name)
    for host in labs[name].layout.databases:  # epochs of another test's journal would make this one's runs stale
        labs[name].run(host.name, "rm -rf /var/lib/recoverd/*")
    return labs[name]


def is_healthy(lab: Lab) -> bool:
    status = lab.status()
    roles = [host.postgresql for host in status.hosts if host.postgresql != "none"]
    if roles != ["primary", "standby", "standby"] or not status.hosts[0].virtual_address:
        return False
    if any(host.s3 not in ("serving", "none") for host in status.hosts):
        return False
    try:
        wait_for_standbys(lab.host("db-1"), 2, timeout_s=5)
    except RecoverdError:
        return False
    return not any(host.faults for host in status.hosts)


@pytest.fixture
def recoverd(lab: Lab, tmp_path: Path) -> Iterator[Controller]:
    """A recoverd that knows the healthy lab, with a home of its own."""
    with controller(lab, tmp_path / "home") as made:
        yield made
