"""Following, deciding, cancelling and undoing runs from the command line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from cli_kit import Cli, as_lead, cli

from gateway.home import held
from recoverd import approvals
from recoverd.journal import Journal, State

__all__ = ["as_lead", "cli"]


def ask(cli: Cli, run: str, plan: str = "a" * 64, roles: tuple[str, ...] = ("command",)) -> None:
    journal = cli.journal
    journal.set_run(run, "running", who="recoverd", executor="here:1")
    approvals.request(
        journal,
        run=run,
        gate="failover",
        plan_hash=plan,
        summary="fail orders-db over to db-2",
        required=1,
        roles=roles,
        expires_at=journal.now() + timedelta(hours=1),
        plan={"promote": ["db-2", "db-3"]},
    )
    journal.set_run(run, "waiting", who="recoverd")


def executes(cli: Cli, *states: State) -> Callable[[], None]:
    """A stand-in for an executor: moves the newest run through states as soon as it is there."""

    def work() -> None:
        journal = Journal.open(f"sqlite:///{cli.home / 'journal.db'}")
        marker = journal.marker()
        while not journal.list_runs():
            journal.wait_for_change(marker, timeout_s=10)
        run = journal.list_runs()[0].id
        for state in states:
            journal.set_run(run, state, who="recoverd", executor="here:1", summary=f"it {state}")
        journal.close()

    return work


@pytest.mark.parametrize(
    ("states", "code"),
    [
        (("running", "succeeded"), 0),
        (("running", "failed"), 1),
        (("refused",), 3),
        (("running", "waiting"), 4),
        (("cancelled",), 1),
    ],
)
def test_wait_exits_by_how_the_run_ends(cli: Cli, states: tuple[State, ...], code: int) -> None:
    assert cli.journal is not None
    worker = threading.Thread(target=executes(cli, *states))
    with held(cli.home):
        worker.start()
        ran = cli("run", "failover", "orders-db", "--reason", "a test", "--wait", "--timeout", "20")
        worker.join()
    assert ran.code == code, ran.err
    assert states[-1] in ran.out
    assert "requested by operator" in ran.err


def test_a_restore_is_asked_for_by_flags_and_what_cannot_be_meant_is_refused_at_once(cli: Cli) -> None:
    asked = (
        "run",
        "restore",
        "orders-db",
        "--reason",
        "a test",
        "--queue",
        "--into",
        "replace",
        "--site",
        "own,second",
    )
    ran = cli(*asked, "--to", "2020-11-21 09:14:00")
    assert (ran.code, cli.journal.list_runs()) == (2, [])
    assert "has no zone" in ran.err
    assert "HINT: give it, as in '2020-11-21 09:14:00+08'" in ran.err
    assert cli(*asked, "--option", "to=latest", "--to", "latest").code == 2
    assert cli("run", "failover", "orders-db", "--reason", "a test", "--queue", "--to", "db-2").code == 2
    assert cli(*asked, "--to", "2020-11-21 09:14:00+08").code == 0
    options = cli.journal.list_runs()[0].options
    assert options == {"to": "2020-11-21 09:14:00+08", "into": "replace", "site": "own,second"}


def test_wait_ends_within_its_limit_and_the_run_goes_on(cli: Cli) -> None:
    ran = cli("run", "failover", "orders-db", "--reason", "a test", "--queue", "--wait", "--timeout", "1")
    assert ran.code == 6
    assert "goes on" in ran.err
    assert cli.journal.list_runs()[0].state == "requested"


def test_what_waits_is_listed_with_its_question(cli: Cli) -> None:
    run = cli.queue()
    ask(cli, run)
    (row,) = cli("approvals", "-o", "json").data
    assert (row["run"], row["question"], row["needs"]) == (run, "fail orders-db over to db-2", "0/1")


def test_nobody_approves_a_run_of_their_own(cli: Cli) -> None:
    run = cli.queue()
    ask(cli, run)
    ran = cli("approve", run, "--yes")
    assert ran.code == 3
    assert "cannot approve" in ran.err
    assert cli.journal.list_approvals(run=run)[0].state == "waiting"


@pytest.mark.usefixtures("as_lead")
class TestAnotherPerson:
    @pytest.fixture
    def run(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> str:
        with monkeypatch.context() as patch:
            patch.delenv("RECOVERD_USER_TOKEN_FILE", raising=False)
            run = cli.queue()
        ask(cli, run)
        return run

    def test_sees_the_plan_and_approves_it(self, cli: Cli, run: str) -> None:
        ran = cli("approve", run, "--comment", "db-1 is dead, I have seen it", "--yes")
        assert ran.code == 0, ran.err
        assert "promote: db-2, db-3" in ran.err
        gate = cli.journal.list_approvals(run=run)[0]
        assert (gate.state, gate.approvers) == ("approved", ("lead",))
        assert "I have seen it" in cli("show", run).out

    def test_is_asked_only_at_a_terminal(self, cli: Cli, run: str) -> None:
        ran = cli("approve", run)
        assert ran.code == 2
        assert "--yes" in ran.err
        assert cli.journal.list_approvals(run=run)[0].state == "waiting"

    def test_approves_only_the_plan_they_have_seen(self, cli: Cli, run: str) -> None:
        assert cli("approve", run, "--plan", "bbbb").code == 3
        assert cli("approve", run, "--plan", "aaaa").code == 0

    def test_refuses(self, cli: Cli, run: str) -> None:
        assert cli("refuse", run, "--yes", "--comment", "not now").code == 0
        assert cli.journal.list_approvals(run=run)[0].state == "refused"
        assert cli("approve", run, "--yes").code == 2  # it waits for nothing any more


def test_a_waiting_run_is_cancelled_at_once_and_a_running_one_is_asked_to_stop(cli: Cli) -> None:
    first, second = cli.queue(), cli.queue()
    assert cli("cancel", first, "--reason", "a mistake").code == 0
    assert cli.journal.get_run(first).state == "cancelled"
    cli.journal.set_run(second, "running", who="recoverd", executor="here:1")
    ran = cli("cancel", second, "--reason", "a mistake")
    assert "asked to stop" in ran.out
    assert cli.journal.get_run(second).state == "running"
    assert cli("cancel", first, "--reason", "again").code == 3


def done(cli: Cli, run: str, step: str, **body: object) -> None:
    title = f"do {step}"
    facts = {"title": title, "seconds": 0.1, "summary": "done", "data": {}, "changed": True, **body}
    cli.journal.append("step.done", who="recoverd", run=run, step=step, body=facts)


def undoable(cli: Cli) -> str:
    run = cli.queue()
    cli.journal.set_run(run, "running", who="recoverd", executor="here:1")
    done(cli, run, "fence", undo={"act": "tasks.fencing:unfence", "arguments": {}})
    done(cli, run, "claim", undo={"act": "tasks.traffic:release_address", "arguments": {}})
    return run


def test_undo_says_what_it_takes_back_the_last_step_first(cli: Cli) -> None:
    run = undoable(cli)
    assert cli("undo", run, "--reason", "x", "--queue", "--yes").code == 3  # it still runs
    cli.journal.set_run(run, "failed", who="recoverd")
    ran = cli("undo", run, "--reason", "a drill", "--queue")
    assert ran.code == 2  # nobody to ask
    assert ran.err.index("taken back: do claim") < ran.err.index("taken back: do fence")
    assert cli("undo", run, "--reason", "a drill", "--queue", "--yes").code == 0
    row = cli.journal.list_runs()[0]
    assert (row.procedure, row.target, row.options["run"]) == ("undo", "orders-db", run)


def test_what_cannot_be_taken_back_is_refused_with_the_reason(cli: Cli) -> None:
    run = undoable(cli)
    done(cli, run, "promote", irreversible="a new timeline")
    cli.journal.set_run(run, "failed", who="recoverd")
    ran = cli("undo", run, "--reason", "a drill", "--queue", "--yes")
    assert ran.code == 3
    assert "do promote (a new timeline)" in ran.err
    assert len(cli.journal.list_runs()) == 1


def test_a_run_that_changed_nothing_has_nothing_to_undo(cli: Cli) -> None:
    run = cli.queue()
    cli.journal.set_run(run, "running", who="recoverd", executor="here:1")
    cli.journal.set_run(run, "succeeded", who="recoverd")
    assert cli("undo", run, "--reason", "x", "--queue", "--yes").code == 3


def test_runs_are_filtered_and_states_are_checked(cli: Cli) -> None:
    run = cli.queue()
    assert [row["id"] for row in cli("runs", "--state", "requested", "-o", "json").data] == [run]
    assert cli("runs", "--state", "failed", "-o", "json").data == []
    assert cli("runs", "--target", "other", "-o", "json").data == []
    ran = cli("runs", "--state", "fialed")
    assert ran.code == 2
    assert "failed" in ran.err


def test_show_takes_the_end_of_an_id_and_every_form(cli: Cli) -> None:
    run = cli.queue()
    assert cli("show", run[-4:]).code == 0
    assert cli("show", run, "-o", "json").data["run"] == run
    assert cli("show", run, "-o", "yaml").out.startswith("run:")
    assert cli("show", run, "-o", "markdown").out.startswith("# failover of orders-db: requested")
    assert cli("show", "nothing").code == 2


def test_a_failed_run_goes_on_and_others_do_not(cli: Cli) -> None:
    run = cli.queue()
    assert cli("resume", run, "--reason", "x", "--queue").code == 3  # it has not failed
    cli.journal.set_run(run, "running", who="recoverd", executor="here:1")
    cli.journal.set_run(run, "failed", who="recoverd")
    assert cli("resume", run, "--reason", "the disk has room again", "--queue").code == 0
    assert cli.journal.get_run(run).state == "requested"
    assert "the disk has room again" in cli("show", run).out


def test_a_run_that_failed_and_took_all_back_is_told_from_one_that_did_not(cli: Cli) -> None:
    from gateway.cli.follow import exit_code

    run = undoable(cli)
    row = cli.journal.set_run(run, "failed", who="recoverd")
    assert exit_code(cli.journal, row) == 1
    for step in ("claim", "fence"):
        cli.journal.append("step.undone", who="recoverd", run=run, step=step, body={"title": step, "by": run})
    assert exit_code(cli.journal, row) == 5
