from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployments.catalogue import PROCEDURES, Procedure, load_catalogue, procedure
from deployments.child import Order
from deployments.prefect_home import auth_string, client_environment, server_environment
from deployments.processes import Kept
from deployments.schedules import load_schedules
from deployments.server import PrefectServer
from deployments.start import cancel, cancel_asked, resume, start
from recoverd.errors import Invalid, Stale, TimedOut
from recoverd.inventory import Policy
from recoverd.journal import Journal, Mode


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.open(f"sqlite:///{tmp_path / 'journal.db'}")


def ask(journal: Journal, **more: object) -> str:
    return start("failover", "orders", trigger="hand", requester="ann", reason="x", journal=journal, **more).id  # type: ignore[arg-type]


def test_an_unknown_procedure_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid) as refused:
        procedure("fail-over")
    assert refused.value.hint == "did you mean 'failover'?"


def test_a_flow_that_is_not_there_is_named() -> None:
    with pytest.raises(Invalid, match="nowhere:flow"):
        Procedure("p", "nowhere:flow", "", urgency=0).flow()


def test_the_most_urgent_procedure_is_the_one_users_wait_for() -> None:
    assert max(PROCEDURES.values(), key=lambda one: one.urgency).name == "failover"
    assert load_catalogue() is PROCEDURES


def test_a_run_of_a_transaction_that_fails_was_never_requested(journal: Journal) -> None:
    def intake() -> None:
        with journal.transaction() as tx:
            start("failover", "orders", trigger="alert", requester="am", reason="x", tx=tx)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        intake()
    assert journal.list_runs() == []


@pytest.mark.parametrize(
    ("asked", "of_policy", "mode", "state"),
    [
        ("act", "act", "act", "requested"),
        ("act", "ask", "ask", "requested"),
        ("ask", "act", "ask", "requested"),
        ("act", "record", "record", "refused"),
    ],
)
def test_a_run_does_no_more_by_itself_than_the_policy_allows_its_trigger(
    journal: Journal, asked: Mode, of_policy: Mode, mode: Mode, state: str
) -> None:
    policy = Policy.model_validate({"name": "default", "failover": {"schedule": of_policy}})
    row = start(
        "failover", "orders", trigger="schedule", requester="prefect", reason="x", mode=asked, policy=policy,
        journal=journal,
    )  # fmt: skip
    assert (row.mode, row.state) == (mode, state)
    assert (row.summary == "") is (state == "requested"), row.summary


def test_a_run_is_queued_with_the_urgency_of_its_procedure(journal: Journal) -> None:
    start("rejoin", "orders", trigger="hand", requester="ann", reason="x", journal=journal)
    ask(journal)
    assert [row.procedure for row in journal.pending_runs()] == ["failover", "rejoin"]


def test_the_same_id_asked_for_twice_is_one_run(journal: Journal) -> None:
    assert ask(journal, run="fo-1") == ask(journal, run="fo-1")
    assert len(journal.list_runs()) == 1


def test_a_run_that_has_not_begun_is_cancelled_at_once_and_only_once(journal: Journal) -> None:
    run = ask(journal)
    assert cancel(run, who="bob", reason="mistake", journal=journal).state == "cancelled"
    with pytest.raises(Stale):
        cancel(run, who="bob", reason="again", journal=journal)


def test_a_running_run_is_asked_to_stop_until_it_is_queued_again(journal: Journal) -> None:
    run = ask(journal)
    journal.set_run(run, "running", who="r", executor="h:1")
    assert cancel_asked(journal, run) is None
    assert cancel(run, who="bob", reason="mistake", journal=journal).state == "running"
    assert cancel_asked(journal, run) == "bob"
    journal.set_run(run, "failed", who="r")
    resume(run, who="ann", reason="go on", journal=journal)
    assert cancel_asked(journal, run) is None


def test_only_what_waits_or_failed_goes_on(journal: Journal) -> None:
    run = ask(journal)
    with pytest.raises(Stale):
        resume(run, who="ann", reason="x", journal=journal)


def test_an_order_survives_the_socket() -> None:
    order = Order("fo-1", "a-b-c")
    assert Order.decode(order.encode()) == order


def test_the_servers_secret_is_made_once_and_private(tmp_path: Path) -> None:
    assert auth_string(tmp_path) == auth_string(tmp_path)
    assert (tmp_path / "prefect" / "auth").stat().st_mode & 0o777 == 0o600


def test_nothing_is_sent_to_anyone_and_flow_runs_are_vacuumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    environment = server_environment(tmp_path, "http://127.0.0.1:1/api", 1)
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED"] == "events,flow_runs"


def test_an_operators_own_server_is_used_and_none_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example:4200/api")
    server = PrefectServer(tmp_path, 0)
    server.start()
    assert (server.url, server.pid) == ("http://prefect.example:4200/api", None)
    assert client_environment(tmp_path, server.url)["PREFECT_API_URL"] == server.url
    assert not (tmp_path / "prefect").exists()


def test_a_taken_port_is_an_error_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Invalid, match="is taken"):
        PrefectServer(tmp_path, taken.getsockname()[1]).start()


SCHEDULE = "- {procedure: %s, target: orders, cron: '%s', timezone: %s}\n"


@pytest.mark.parametrize(
    ("procedure_name", "cron", "timezone", "wrong"),
    [
        ("failovr", "0 3 1 * *", "UTC", "no procedure 'failovr'"),
        ("failover", "0 3 1 *", "UTC", "cron"),
        ("failover", "0 3 1 * *", "Mars/Base", "timezone"),
    ],
)
def test_a_wrong_schedule_is_named(tmp_path: Path, procedure_name: str, cron: str, timezone: str, wrong: str) -> None:
    (tmp_path / "schedules.yaml").write_text(SCHEDULE % (procedure_name, cron, timezone))
    with pytest.raises(Invalid, match=wrong):
        load_schedules(tmp_path, PROCEDURES)


def test_schedules_are_data_of_the_inventory(tmp_path: Path) -> None:
    assert load_schedules(tmp_path, PROCEDURES) == ()
    (tmp_path / "schedules.yaml").write_text(SCHEDULE % ("switchover", "0 3 1 * *", "Asia/Shanghai"))
    (schedule,) = load_schedules(tmp_path, PROCEDURES)
    assert schedule.for_prefect().parameters == {"target": "orders", "reason": "by schedule", "options": {}}


CHILD = "import os, socket, sys, time; s = socket.socket(fileno=int(sys.argv[1])); s.send(b'ready'); s.recv(9)"


def kept(code: str = CHILD) -> Kept:
    return Kept("child", lambda number: ([sys.executable, "-c", code, str(number)], []), lambda: dict(os.environ))


def test_a_kept_process_is_started_again_when_it_is_killed() -> None:
    child = kept()
    child.start()
    try:
        child.wait_ready(timeout_s=10)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while child.pid in (None, first) or not child.is_ready:
            assert time.monotonic() < deadline
        assert child.starts == 2
    finally:
        child.stop()
    assert child.pid is None
    assert child.tell(b"!") is False


def test_a_kept_process_that_never_gets_ready_is_an_error_with_a_limit() -> None:
    child = kept("raise SystemExit(3)")
    child.start()
    try:
        with pytest.raises(TimedOut, match="was not ready"):
            child.wait_ready(timeout_s=0.2)
    finally:
        child.stop()


def test_a_child_dies_with_its_parent() -> None:
    code = "from deployments.processes import die_with_parent; die_with_parent(); print('up', flush=True); input()"
    parent = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {code!r}], stdout=subprocess.PIPE, stdin=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{int(done.stdout)}/exe").exists():
        assert time.monotonic() < deadline


ROOT = Path(__file__).parents[2] / "deployments"


def test_the_deployment_file_for_other_prefect_servers_has_every_procedure() -> None:
    from ruamel.yaml import YAML

    with (ROOT / "prefect.yaml").open() as file:
        deployments = YAML(typ="safe").load(file)["deployments"]
    found = {one["entrypoint"]: one["description"] for one in deployments}
    assert found == {one.entrypoint.replace(":", "."): one.summary for one in PROCEDURES.values()}


def test_the_unit_gives_secrets_as_credentials_and_lets_runs_live_on() -> None:
    lines = (ROOT / "systemd" / "recoverd.service").read_text().splitlines()
    assert {"KillMode=process", "NoNewPrivileges=yes", "LoadCredential=secret:/etc/recoverd/credentials"} <= set(lines)
