"""A host is drained from a real HAProxy by its runtime socket, and comes back as it was. What goes over SSH runs here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws_kit import each
from haproxy_kit import Balancer, Shell, Site
from pydantic import ValidationError

from flows.layers import entry_points
from recoverd.connections import Connections
from recoverd.errors import Look, Stale, Unreachable
from recoverd.inventory.isolation_drains import HaproxyDrain
from recoverd.step import Act
from recoverd.world import World
from tasks.entry_points import last_in

MAINT, DRAIN, DISABLED = 1, 8, 5


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(Connections, "ssh", lambda self, host, **_: Shell(tmp_path))
    monkeypatch.setattr(World, "epoch_of", lambda self, host: 7, raising=False)
    if not hasattr(Act, "each"):
        monkeypatch.setattr(Act, "each", each, raising=False)
    made = Site(tmp_path)
    yield made
    made.close()


def test_a_drained_host_meets_no_user_and_comes_back_to_each_backend_as_it_was(site: Site) -> None:
    assert site.balancer.states() == {"web/web-1": 0, "web/web-2": 0, "api/web-1": DISABLED}
    with site.run() as isolate:
        done = entry_points.apply(("web-1",))
        assert not done.faults, done.faults
        assert entry_points.verify(("web-1",)).faults == {}
    assert site.balancer.states()["web/web-1"] & MAINT
    assert {site.balancer.meet().server for _ in range(6)} == {"web-2"}
    with site.run():
        assert not entry_points.release(("web-1",), isolate.run.id).faults
    now = site.balancer.states()
    assert now["web/web-1"] == 0
    assert now["api/web-1"] & MAINT, "a server that was out of service before stays so"
    assert {site.balancer.meet().server for _ in range(6)} == {"web-1", "web-2"}


def test_open_sessions_get_their_time_and_what_is_left_then_is_cut(site: Site) -> None:
    site.drain(drain_s=1)
    met = [site.balancer.meet() for _ in range(4)]
    held = next(one for one in met if one.server == "web-1")
    spared = next(one for one in met if one.server == "web-2")
    with site.run():
        began = time.monotonic()
        assert not entry_points.apply(("web-1",)).faults
        assert time.monotonic() - began >= 1
    assert held.is_cut()
    assert not spared.is_cut(within_s=0.3)


def test_a_host_without_sessions_is_not_waited_for(site: Site) -> None:
    site.drain(drain_s=300)  # the test's own limit is shorter
    with site.run():
        assert not entry_points.apply(("web-1",)).faults


def test_a_server_that_somebody_has_set_since_is_left_as_it_is(site: Site) -> None:
    with site.run() as isolate:
        entry_points.apply(("web-1",))
    site.balancer.say("set server web/web-1 state ready; set server web/web-1 state drain")
    with site.run():
        done = entry_points.release(("web-1",), isolate.run.id)
        assert isinstance(done.faults["web-1"], Stale)
        assert "lb-1 has it drain in web" in entry_points.verify(("web-1",)).faults["web-1"]
    assert site.balancer.states()["web/web-1"] == DRAIN


def test_a_run_that_was_killed_while_it_drained_is_finished_or_taken_back(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: Any, **__: Any) -> None:
        site.balancer.say("set server web/web-1 state drain")
        raise Killed

    with monkeypatch.context() as patch, site.run() as first:
        patch.setattr(entry_points.leave_balancer, "function", _as(killed))
        with pytest.raises(Killed):
            entry_points.leave_balancer("web-1", "lb-1", "lb")
    with site.run():
        assert not entry_points.release(("web-1",), first.run.id).faults
    assert site.balancer.states()["web/web-1"] == 0
    site.balancer.say("set server web/web-1 state drain")
    with site.run(first.run):
        assert not entry_points.apply(("web-1",)).faults
    assert site.balancer.states()["web/web-1"] & MAINT


def _as(replacement: Any) -> Any:
    """A function of the act's name and arguments, for its key is made of them."""

    def leave_balancer(host: str, balancer: str, drain: str) -> None:
        replacement()

    leave_balancer.__module__ = "tasks.entry_points"
    return leave_balancer


def test_a_haproxy_that_was_started_anew_leads_users_there_again_and_that_shows(site: Site) -> None:
    with site.run():
        entry_points.apply(("web-1",))
        assert entry_points.verify(("web-1",)).faults == {}
    site.balancer.close()
    site.balancer = Balancer(site.root, site.servers)
    with site.run():
        assert "lb-1 has it ready in web" in entry_points.verify(("web-1",)).faults["web-1"]


def test_an_older_run_cannot_change_the_balancer_any_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with site.run():
        entry_points.apply(("web-1",))
    site.balancer.say("set server web/web-1 state ready")
    monkeypatch.setattr(World, "epoch_of", lambda self, host: 6, raising=False)
    with site.run():
        assert isinstance(entry_points.apply(("web-1",)).faults["web-1"], Stale)
    assert site.balancer.states()["web/web-1"] == 0


def test_a_balancer_that_does_not_run_is_a_fault_and_never_nothing_to_do(site: Site) -> None:
    site.drain(socket="/run/no-such.sock")
    with site.run():
        fault = entry_points.apply(("web-1",)).faults["web-1"]
        assert isinstance(fault, Look)
        assert "there is no socket" in fault.message
        assert "cannot be asked" in entry_points.verify(("web-1",)).faults["web-1"]


def test_a_balancer_that_does_not_answer_is_told_as_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(self: Connections, host: str, **_: Any) -> Any:
        raise Unreachable(f"{host} does not answer", "check it")

    monkeypatch.setattr(Connections, "ssh", silent)
    with site.run():
        assert "lb-1 cannot be asked" in entry_points.verify(("web-1",)).faults["web-1"]


@pytest.mark.parametrize("carrier", ["perl", "python3"])
def test_what_a_debian_has_is_enough_to_speak_to_the_socket(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, carrier: str
) -> None:
    """With python3 or perl alone: socat is on few hosts."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (carrier, "awk"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setattr(Connections, "ssh", lambda self, host, **_: Shell(tmp_path, path=str(tools)))
    with site.run():
        assert "lb-1 has it ready in web" in entry_points.verify(("web-1",)).faults["web-1"]


@pytest.mark.parametrize("settings", [{"server": "web-1; shutdown"}, {"backends": ["a b"]}, {"socket": "admin.sock"}])
def test_names_that_could_be_commands_are_no_names(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HaproxyDrain.model_validate({"kind": "haproxy", "name": "lb", "hosts": ["lb-1"], **settings})


def test_the_last_server_that_takes_users_is_known_before_it_is_taken_away(site: Site) -> None:
    with site.run():
        assert last_in("web-1", "lb-1", "lb") == ()
    site.balancer.say("set server web/web-2 state maint")
    with site.run():
        assert last_in("web-1", "lb-1", "lb") == ("web",), "of the other backend it serves nobody"
    site.drain(backends=["api"])
    with site.run():
        assert last_in("web-1", "lb-1", "lb") == ()
