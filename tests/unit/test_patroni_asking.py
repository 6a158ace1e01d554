"""Where Patroni manages the cluster: what is read from it, what is asked of it, and that nothing is promoted here."""

from __future__ import annotations

import ast
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from views_kit import ADDRESSES, lost, on_host, orphan, primary, seen, standby

import flows.failover
import flows.patroni
import flows.patroni_users
import tasks.observation
from flows.verdict import Diagnosis, Verdict
from recoverd.errors import RecoverdError, Refused, Stale, Unsafe
from recoverd.execution import rehearsal
from recoverd.inventory import Inventory, PatroniApi, load
from recoverd.step import Effect, Outcome
from recoverd.world import World
from tasks.patroni import manages, waiting_time_s
from tasks.patroni_standing import judge_standing
from tasks.patroni_views import Leader, PatroniView, read_view
from tasks.views import Answer, ServerView, ServiceView

PROJECT = Path(__file__).resolve().parents[2]
SERVICE = "orders-db"


def member(name: str, role: str = "replica", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role, "state": "streaming", "host": ADDRESSES.get(name, "10.9.9.9"), **more}


def patroni(*members: dict[str, Any], settings: dict[str, Any] | None = None, **more: Any) -> PatroniView:
    found = members or (member("db-1", "leader", state="running"), member("db-2"), member("db-3"))
    hosts = {address: host for host, address in ADDRESSES.items()}
    return read_view("db-2", {"scope": "orders", "members": list(found), **more}, settings or {}, hosts)


def test_a_member_is_known_by_its_address_whatever_patroni_calls_it() -> None:
    view = patroni(member("pg-a", "leader", host=ADDRESSES["db-1"]), member("pg-b", host=ADDRESSES["db-2"]))
    assert view.leader == "db-1"
    assert view.name_of("db-2") == "pg-b"


def test_a_leader_is_found_under_the_names_of_old_and_new_versions() -> None:
    assert {patroni(member("db-1", role)).leader for role in ("leader", "master", "primary")} == {"db-1"}
    assert patroni(member("db-1")).leader == ""


@pytest.mark.parametrize(
    ("facts", "may"),
    [
        ({}, True),
        ({"tags": {"nofailover": True}}, False),
        ({"tags": {"failover_priority": 0}}, False),
        ({"tags": {"failover_priority": 2, "nofailover": True}}, False),
        ({"tags": {"failover_priority": 0, "nofailover": False}}, True),
        ({"state": "stopped"}, False),
        ({"state": "start failed"}, False),
    ],
)
def test_a_member_may_lead_only_if_it_runs_and_no_tag_forbids_it(facts: dict[str, Any], may: bool) -> None:
    assert patroni(member("db-2", **facts)).may_lead("db-2") is may


def test_the_wait_for_patronis_own_failover_is_longer_than_its_lock_and_has_a_limit() -> None:
    settings = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}
    assert 20 < waiting_time_s(patroni(settings=settings)) < 60
    assert waiting_time_s(patroni(settings={"ttl": 9999})) <= 240


def test_pause_is_read_and_said() -> None:
    assert patroni(pause=True).paused
    assert "PAUSED" in patroni(pause=True).summary


@pytest.mark.parametrize(
    ("host", "server", "writing", "words"),
    [
        (on_host("db-1"), standby("db-1"), False, "read-only"),
        (on_host("db-1"), primary("db-1"), True, "takes writes although"),
        (on_host("db-1", running=False), lost("db-1"), False, "no PostgreSQL runs"),
        (on_host("db-1"), lost("db-1"), True, "does not answer"),
        (on_host("db-1", frozen=True), lost("db-1", Answer.STALLED), True, "does not answer"),
    ],
)
def test_what_an_old_primary_may_still_do_is_judged_by_its_host_and_its_server(
    host: Any, server: Any, writing: bool, words: str
) -> None:
    standing = judge_standing(host, server, 30)
    assert standing.writing is writing
    assert words in standing.reason


def test_of_a_host_that_is_gone_the_record_says_what_one_relies_on() -> None:
    gone = on_host("db-1").model_copy(update={"answer": Answer.SILENT, "problem": "no route"})
    reason = judge_standing(gone, lost("db-1"), 30).reason
    assert "30 s" in reason
    assert "watchdog" in reason


@contextmanager
def listening(body: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def inventory() -> Inventory:
    """The lab's, with every host on loopback."""
    found = load(PROJECT / "inventories" / "lab")
    hosts = {name: host.model_copy(update={"address": "127.0.0.1"}) for name, host in found.hosts.items()}
    return found.model_copy(update={"hosts": hosts})


def with_api(inventory: Inventory, api: PatroniApi | None) -> Inventory:
    service = inventory.service(SERVICE)
    server = service.postgresql.model_copy(update={"patroni": api})
    return inventory.model_copy(update={"services": {SERVICE: service.model_copy(update={"postgresql": server})}})


@pytest.mark.parametrize("managed", [True, False])
def test_what_the_inventory_says_of_patroni_holds_without_asking(
    inventory: Inventory, managed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_args, **_named: pytest.fail("it asked"))
    told = with_api(inventory, PatroniApi(managed=managed))
    with rehearsal("failover", SERVICE, told):
        assert manages(told.service(SERVICE), timeout_s=1.0) is managed


@pytest.mark.parametrize(
    ("answer", "is_patroni"),
    [({"state": "running", "patroni": {"version": "4.1.0"}}, True), ({"detail": "not found"}, False), ("hello", False)],
)
def test_only_patroni_itself_is_taken_for_patroni(
    inventory: Inventory, answer: object, is_patroni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(json.dumps(answer).encode()) as port:
        monkeypatch.setattr("tasks.patroni_api.PatroniApi", lambda: PatroniApi(port=port))
        with rehearsal("failover", SERVICE, inventory):
            assert manages(inventory.service(SERVICE), timeout_s=1.0) is is_patroni


def test_hosts_without_patroni_are_found_out_at_once(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr("tasks.patroni_api.PatroniApi", lambda: PatroniApi(port=port))
    monkeypatch.setattr("tasks.patroni_api.Http", lambda *_args, **_named: pytest.fail("it spoke HTTP"))
    with rehearsal("failover", SERVICE, inventory):
        assert not manages(inventory.service(SERVICE), timeout_s=1.0)


@pytest.mark.parametrize("writers", [("db-1",), ("db-1", "db-2")])
def test_where_several_servers_take_writes_patroni_is_asked_who_leads(
    inventory: Inventory, writers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def server(_service: object, host: str, **_limits: object) -> ServerView:
        return primary(host) if host in writers else standby(host)

    monkeypatch.setattr(tasks.observation, "view_server", server)
    monkeypatch.setattr(tasks.observation, "view_host", lambda _service, host, **_limits: on_host(host))
    monkeypatch.setattr(tasks.observation, "vantage_points", lambda *_: ())
    monkeypatch.setattr(tasks.observation, "manages", lambda *_args, **_named: True)
    monkeypatch.setattr(tasks.observation, "ask_patroni", lambda *_: patroni(member("db-2", "leader")))
    with rehearsal("failover", SERVICE, inventory):
        assert tasks.observation.look(SERVICE).leader == ("db-2" if len(writers) > 1 else "")


MODULES = ("flows/patroni.py", "flows/patroni_users.py", *(f"tasks/{name}.py" for name in (
    "patroni", "patroni_api", "patroni_standing", "patroni_views",
)))  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_no_code_around_patroni_can_promote(module: str) -> None:
    tree = ast.parse((PROJECT / module).read_text())
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    words = {arg.value for call in calls for arg in call.args if isinstance(arg, ast.Constant)}
    assert not names & {"promote", "run_script", "follow", "relax_synchronous"}
    assert not any("pg_promote" in str(word) or "pg_ctl" in str(word) for word in words)


class Around:
    """The steps around the flow, answered from here; what they were asked is kept in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, view: ServiceView, patroni_view: PatroniView) -> None:
        self.asked: list[str] = []
        self.view, self.patroni, self.led = view, patroni_view, Leader(host="db-2", writes=True, timeline=2)
        outcome = Outcome(Effect("db-2 leads", self.led.model_dump(mode="json")), changed=True)
        answers: dict[str, Any] = {
            "observe_service": lambda *_: self.view,
            "note_epochs": lambda *_: None,
            "observe_patroni": lambda *_: self.patroni,
            "await_leader": lambda *_: self.led,
            "ask_for_failover": lambda *_: outcome,
            "fence_primary": lambda *_: outcome,
            "gate": lambda *_: "digest",
            "account_for": lambda _service, diagnosis, new, _seen: f"{diagnosis.primary} to {new}",
            "prove_entry_points": lambda *_: (),
            "check_end": lambda *_: None,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(flows.patroni, name, self._noting(name, answer))
        monkeypatch.setattr(flows.failover, "observe_service", lambda *_: self.view)
        for name in ("promote", "fence_primary", "lead_users_to"):
            monkeypatch.setattr(flows.failover, name, lambda *_: pytest.fail("behind Patroni's back"))

    def _noting(self, name: str, answer: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            if not name.startswith(("observe", "note")):
                self.asked.append(name)
            return answer(*args, **named)

        return call


DEAD = Diagnosis(verdict=Verdict.DEAD, primary="db-1", reasons=("gone",))
UNWRITABLE = Diagnosis(verdict=Verdict.UNWRITABLE, primary="db-1", reasons=("its disk hangs",))


@pytest.fixture
def dead() -> ServiceView:
    return seen(lost("db-1"), orphan("db-2"), orphan("db-3")).model_copy(update={"patroni": True})


@pytest.fixture
def here(inventory: Inventory) -> Iterator[World]:
    """A run for real, but without a journal: nothing of it may reach a host."""
    with rehearsal("failover", SERVICE, inventory) as made:
        made.dry_run = False
        yield made


def test_a_failover_of_a_cluster_of_patronis_takes_its_way(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni())
    monkeypatch.setattr(flows.failover, "diagnose", lambda *_: DEAD)
    assert flows.failover.carry_out(SERVICE) == "db-1 to db-2"
    assert around.asked == ["await_leader", "account_for"]


def test_a_primary_that_is_gone_is_left_to_patroni_and_one_that_hangs_is_taken_to_it(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni())
    flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert "ask_for_failover" not in around.asked
    around.view = seen(primary("db-1"), standby("db-2"), standby("db-3"))
    flows.patroni.fail_over_by_patroni(SERVICE, UNWRITABLE)
    assert "ask_for_failover" in around.asked


def test_patroni_is_asked_when_its_own_failover_does_not_come(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni())
    around.led = Leader(host="", writes=False, problem="nobody holds the lock")
    flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert around.asked == ["await_leader", "ask_for_failover", "account_for"]


@pytest.mark.parametrize(
    ("role", "rule", "asked"),
    [
        ("replica", "ask", ["gate", "ask_for_failover", "account_for"]),
        ("replica", "act", ["ask_for_failover", "account_for"]),
        ("replica", "never", []),
        ("sync_standby", "never", ["ask_for_failover", "account_for"]),
    ],
)
def test_patroni_is_asked_for_a_member_that_is_not_synchronous_only_as_the_policy_says(
    here: World, monkeypatch: pytest.MonkeyPatch, role: str, rule: str, asked: list[str]
) -> None:
    members = (member("db-1", "leader", state="running"), member("db-2"), member("db-3", role))
    hangs = seen(primary("db-1", writes=Answer.STALLED), standby("db-2"), standby("db-3"))
    around = Around(monkeypatch, hangs, patroni(*members, settings={"synchronous_mode": True}))
    policies = {"lab": here.inventory.policies["lab"].model_copy(update={"possible_loss": rule})}
    here.inventory = here.inventory.model_copy(update={"policies": policies})
    with nullcontext() if asked else pytest.raises(Unsafe, match="would be lost"):
        flows.patroni.fail_over_by_patroni(SERVICE, UNWRITABLE)
    assert around.asked == asked


def test_a_leader_that_takes_no_writes_is_no_success(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni())
    around.led = Leader(host="db-2", writes=False, problem="it is still in recovery")
    with pytest.raises(RecoverdError, match="takes no writes: it is still in recovery"):
        flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert "account_for" not in around.asked


def test_nothing_is_moved_when_patroni_brings_the_old_primary_back(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni())
    around.led = Leader(host="db-1", writes=True, timeline=1, seconds=4.0)
    assert "nothing was moved" in flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert around.asked == ["await_leader", "prove_entry_points", "check_end"]


def test_a_paused_patroni_is_respected_unless_a_person_says_so_and_then_the_fence_comes_first(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni(pause=True))
    policies = dict(here.inventory.policies)
    never = policies["lab"].model_copy(update={"unfenced_promotion": "never"})
    asking, here.inventory = here.inventory, here.inventory.model_copy(update={"policies": {"lab": never}})
    with pytest.raises(Refused, match="paused"):
        flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert around.asked == []
    here.inventory = asking
    flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert around.asked == ["gate", "fence_primary", "ask_for_failover", "account_for"]


def test_nobody_waits_for_a_paused_patroni_although_nobody_leads(
    here: World, dead: ServiceView, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, dead, patroni(member("db-1", state="stopped"), member("db-2"), pause=True))
    flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert "await_leader" not in around.asked
    assert "ask_for_failover" in around.asked


def test_an_approval_that_comes_when_the_primary_is_back_moves_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = Around(monkeypatch, seen(primary("db-1"), standby("db-2"), standby("db-3")), patroni(pause=True))
    with pytest.raises(Stale, match="takes writes again"):
        flows.patroni.fail_over_by_patroni(SERVICE, DEAD)
    assert around.asked == ["gate"]
