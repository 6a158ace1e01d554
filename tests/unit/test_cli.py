"""The command line: exit codes, streams, formats, and what it refuses before it starts anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_kit import Cli, cli

from gateway.cli import main
from gateway.cli.options import parsed_options
from gateway.cli.output import clean
from recoverd.errors import Busy, Invalid, Look, RecoverdError, Unsafe

__all__ = ["cli"]


def test_version_answers_without_the_heavy_packages() -> None:
    script = (
        "import sys; from gateway.cli.main import run; run(['version'])\n"
        "heavy = {'prefect', 'paramiko', 'fastapi', 'sqlalchemy', 'pydantic_settings', 'psycopg2', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("recoverd 0.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Look("x"), 1),
        (Invalid("x"), 2),
        (Unsafe("x"), 3),
        (Busy("x"), 6),
        (RecoverdError("x"), 1),
        (ValueError("x"), 1),
    ],
)
def test_errors_are_a_sentence_and_a_code_of_their_class(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("gateway.cli.reviewing.the_journal", fail)
    ran = cli("runs")
    assert ran.code == code
    assert ran.out == ""
    assert ran.err.startswith("recoverd: ")
    assert "Traceback" not in ran.err


def test_a_traceback_is_shown_only_to_those_who_debug(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERD_DEBUG", "1")
    with pytest.raises(Invalid):
        cli("show", "nothing")


def test_an_interrupt_is_clean(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.cli.reviewing.the_journal", interrupt)
    ran = cli("runs")
    assert (ran.code, ran.out) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["frobnicate"], "frobnicate"),
        (["run", "failover", "--reason", "x"], "TARGET"),
        (["run", "failover", "orders-db"], "--reason"),
        (["runs", "--limit", "0"], "limit"),
        (["runs", "-o", "xml"], "xml"),
    ],
)
def test_wrong_usage_is_2_and_names_what_is_wrong(cli: Cli, arguments: list[str], word: str) -> None:
    ran = cli(*arguments)
    assert ran.code == 2
    assert word in ran.err
    assert "HINT: " in ran.err
    assert ran.out == ""


def test_a_global_option_in_the_wrong_place_is_told_its_place(cli: Cli) -> None:
    assert "before the command" in cli("runs", "--inventory", "x").err


def test_flags_go_over_the_environment(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERD_INVENTORY", str(tmp_path / "not-there"))
    assert cli("inventory", "show").code == 2
    ran = cli("--inventory", str(cli.inventory), "inventory", "show", "-o", "json")
    assert ran.code == 0
    assert ran.data["root"] == str(cli.inventory)


def test_a_wrong_setting_is_named_with_its_variable(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECOVERD_LISTEN_PORT", "http")
    ran = cli("runs")
    assert ran.code == 2
    assert "RECOVERD_LISTEN_PORT" in ran.err


def test_an_empty_list_says_so_beside_the_data(cli: Cli) -> None:
    table, data = cli("runs"), cli("runs", "-o", "json")
    assert (table.code, table.out) == (0, "")
    assert "no run fits" in table.err
    assert data.data == []


def test_yaml_holds_the_same_as_json(cli: Cli) -> None:
    from ruamel.yaml import YAML

    cli.queue()
    rows = YAML(typ="safe").load(cli("runs", "-o", "yaml").out)
    assert rows == cli("runs", "-o", "json").data


def test_no_colours_and_no_cut_words_where_no_terminal_is(cli: Cli) -> None:
    reason = "why " * 100
    cli("run", "failover", "orders-db", "--reason", reason, "--queue")
    out = cli("runs", "-o", "table").out
    assert "\x1b" not in out
    assert "…" not in out
    assert len(out.splitlines()) == 2


def test_control_characters_from_outside_do_not_reach_a_terminal(cli: Cli) -> None:
    run = cli.queue("--option", "instance=\x1b]0;owned\x07\x1b[2J")
    assert "\x1b" not in cli("show", run).out
    assert clean("a\x1b[2Jb\r\u202ec") == "a\\x1b[2Jb \\u202ec"


def test_a_run_that_nobody_would_take_up_is_not_made(cli: Cli) -> None:
    ran = cli("run", "failover", "orders-db", "--reason", "a test")
    assert ran.code == 6
    assert "recoverd serve" in ran.err
    assert cli.journal.list_runs() == []


def test_a_dead_serve_counts_as_none(cli: Cli) -> None:
    (cli.home / "serve.lock").write_text("4194999\n")
    assert cli("run", "failover", "orders-db", "--reason", "a test").code == 6


def test_with_serve_there_a_run_is_made_by_the_person_with_the_reason(cli: Cli) -> None:
    from gateway.home import held

    with held(cli.home):
        ran = cli(
            "run", "failover", "orders-db", "--reason", "a test", "--override-cooldown", "--option", "instance=db-1"
        )
    assert ran.code == 0
    (row,) = cli.journal.list_runs()
    assert ran.out.strip() == row.id
    assert "10.77.0.11" in ran.err  # the resolved hosts are shown
    assert (row.requester, row.reason, row.mode, row.trigger) == ("operator", "a test", "act", "hand")
    assert row.options == {"override_cooldown": True, "instance": "db-1"}


def test_ask_lets_a_run_be_approved_whatever_the_policy_says(cli: Cli) -> None:
    assert cli.journal.get_run(cli.queue("--ask")).mode == "ask"


def test_the_policy_says_whether_a_person_may_act_at_once(cli: Cli) -> None:
    policies = cli.inventory / "policies.yaml"
    policies.write_text(policies.read_text().replace("hand: act", "hand: ask"))
    assert cli.journal.get_run(cli.queue()).mode == "ask"


def test_a_person_without_the_right_starts_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoverd.person.login_user", lambda: "mallory")
    ran = cli("run", "failover", "orders-db", "--reason", "a test", "--queue")
    assert ran.code == 3
    assert "mallory" in ran.err
    assert cli.journal.list_runs() == []


@pytest.mark.parametrize(
    ("arguments", "near"),
    [(("failver", "orders-db"), "failover"), (("failover", "order-db"), "orders-db")],
)
def test_a_misspelt_name_is_answered_with_the_nearest(cli: Cli, arguments: tuple[str, str], near: str) -> None:
    ran = cli("run", *arguments, "--reason", "a test", "--queue")
    assert ran.code == 2
    assert near in ran.err


def test_a_reason_is_needed_and_blanks_are_none(cli: Cli) -> None:
    assert cli("run", "failover", "orders-db", "--reason", "  ", "--queue").code == 2


def test_options_are_read_as_json_where_they_are() -> None:
    found = parsed_options(["to=db-2", "override-cooldown=true", "most=3", "text=a=b", 'hosts=["a"]'])
    assert found == {"to": "db-2", "override_cooldown": True, "most": 3, "text": "a=b", "hosts": ["a"]}


@pytest.mark.parametrize("given", [["to"], ["=x"], ["a b=1"], ["to=1", "to=2"]])
def test_options_that_cannot_be_read_are_refused(given: list[str]) -> None:
    with pytest.raises(Invalid):
        parsed_options(given)


def test_inventory_show_merges_overrides_and_holds_references_only(cli: Cli) -> None:
    ran = cli("inventory", "show", "orders-db", "-o", "json")
    member = ran.data["services"]["orders-db"]["members"][0]
    assert member["postgresql"]["bin_dir"] == "/var/lib/postgresql/server/bin"
    assert member["postgresql"]["password"] == {"file": "/var/lib/recoverd-lab/lab/secrets/postgres"}


def test_schemas_are_printed_and_written(cli: Cli, tmp_path: Path) -> None:
    assert json.loads(cli("inventory", "schema", "policies").out)["title"].startswith("policies.yaml")
    assert cli("inventory", "schema", "polices").code == 2
    assert cli("inventory", "schema", "--out", str(tmp_path / "made")).code == 0
    assert (tmp_path / "made" / "services.json").exists()


def test_the_journal_is_verified_exported_and_verified_again(cli: Cli, tmp_path: Path) -> None:
    cli.queue()
    assert cli("journal", "verify").code == 0
    out = tmp_path / "journal.jsonl"
    assert cli("journal", "export", "--out", str(out)).code == 0
    assert out.stat().st_mode & 0o077 == 0
    assert cli("journal", "export", "--out", str(out)).code == 2  # nothing is overwritten
    assert cli("journal", "verify", "--file", str(out), "-o", "json").data["ok"] is True
    out.write_text(out.read_text().replace("a test", "a lie"))
    ran = cli("journal", "verify", "--file", str(out))
    assert ran.code == 1
    assert "edited" in ran.out
    out.write_text("name,amount\n" * 1000)
    ran = cli("journal", "verify", "--file", str(out))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[0].endswith(f"{out} is no export of a journal: line 1 is not JSON")
    assert len(ran.err.splitlines()) == 2


def test_check_of_the_files_alone_finds_secrets_that_are_not_there(cli: Cli) -> None:
    ran = cli("check", "--offline", "-o", "json")
    assert ran.code in {0, 1}
    areas = {finding["area"] for finding in ran.data}
    assert "routes" in areas
    assert {finding["level"] for finding in ran.data} <= {"ok", "warning", "problem"}


def test_a_pipe_that_closes_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "from gateway.cli.main import main; import sys; sys.argv = ['recoverd', 'inventory', 'schema']; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(timeout=20) == main.BROKEN_PIPE
    assert said == ""


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("procedure", "option", "hint"),
    [("switchover", "tp=db-2", "it has: to"), ("rejoin", "hots=db-3", "did you mean host?")],
)
def test_an_option_that_the_procedure_does_not_have_is_refused(
    cli: Cli, command: str, procedure: str, option: str, hint: str
) -> None:
    more = ("--reason", "a test", "--queue") if command == "run" else ()
    ran = cli(command, procedure, "orders-db", "--option", option, *more)
    assert ran.code == 2
    assert hint in ran.err
    assert cli.journal.list_runs() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("runbook", "failover", "orders-db", "--out", "/proc/none/book.md"),
        ("inventory", "schema", "--out", "/proc/none"),
        ("--home", "/proc/none", "runs"),
        ("--inventory", "/proc/none", "check"),
    ],
)
def test_a_place_that_cannot_be_is_wrong_input_and_no_fault_of_recoverd(
    cli: Cli, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECOVERD_HOME", str(cli.home))  # given back afterwards: the flags set both
    monkeypatch.setenv("RECOVERD_INVENTORY", str(cli.inventory))
    ran = cli(*arguments)
    assert ran.code == 2
    assert "HINT: " in ran.err
    assert "fault of recoverd" not in ran.err


def test_the_lab_that_is_not_there_is_named_in_the_hint(cli: Cli) -> None:
    assert "recoverd lab up --name none" in cli("lab", "status", "--name", "none").err
    assert cli("lab", "up", "--name", "none", "--wal-level", "minimal").code == 2


def test_every_command_that_ends_by_itself_has_an_output_for_programs() -> None:
    from test_cli_docs import leaves

    others = {"recoverd serve", "recoverd watch", "recoverd journal export", "recoverd inventory schema"}
    assert {name for name, options in leaves().items() if "--output" not in options} == others
