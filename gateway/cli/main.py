"""The entry point: global options, the commands, and how errors become words and exit codes.

0  succeeded              1  failed: look           2  wrong input
3  refused by a rule      4  waits for approval     5  failed, and was undone
6  not reached: try again                           130  interrupted
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import (
    data,
    deciding,
    drills,
    evidence,
    inventories,
    isolated,
    labs,
    plans,
    readiness,
    records,
    reviewing,
    running,
    serving,
    sites,
    versions,
    wal,
)
from gateway.cli.options import configure
from gateway.cli.output import PipeClosed, note
from recoverd.errors import RecoverdError

INTERRUPTED = 130
BROKEN_PIPE = 141

app = typer.Typer(
    name="recoverd",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def main() -> None:
    """What the `recoverd` program calls."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line.

    Returns:
        The exit code.
    """
    try:
        answer = app(args=list(arguments), prog_name="recoverd", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _say("interrupted", "", INTERRUPTED)
    except typer.Abort:
        return _say("interrupted", "", INTERRUPTED)
    except (PipeClosed, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more: end without a word
        return BROKEN_PIPE
    except RecoverdError as error:
        _raise_if_debugging(error)
        return _say(error.message, error.hint, error.exit_code)
    except typer.TyperException as error:
        return _say_usage(error)
    except Exception as error:  # noqa: BLE001 - the last line of defence: words instead of a traceback
        _raise_if_debugging(error)
        from recoverd.redact import redact

        hint = "this is a fault of recoverd; the same with RECOVERD_DEBUG=1 before it shows where"
        return _say(redact(f"{type(error).__name__}: {error}"), hint, 1)
    return answer if isinstance(answer, int) else 0


@app.callback()
def options(
    inventory: Annotated[
        Path | None,
        typer.Option("--inventory", "-i", metavar="DIR", help="Directory of the inventory (also: RECOVERD_INVENTORY)."),
    ] = None,
    home: Annotated[
        Path | None,
        typer.Option("--home", metavar="DIR", help="Where journal and evidence are (also: RECOVERD_HOME)."),
    ] = None,
) -> None:
    """Recovery automation: written emergency plans as procedures that run, and leave a record.

    Exit codes: 0 succeeded, 1 failed, 2 wrong input, 3 refused, 4 waits for approval, 5 undone, 6 try again.
    """
    configure(inventory, home)


def _say(message: str, hint: str, code: int) -> int:
    note(f"recoverd: {message}")
    if hint:
        note(f"HINT: {hint}")
    return code


def _say_usage(error: typer.TyperException) -> int:
    """An error in the command line itself, in the same form as all others."""
    words = error.format_message().strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "recoverd"
    hint = f"`{command} --help` shows how it is called"
    if getattr(error, "option_name", "") in {"--inventory", "--home", "-i"}:
        hint = "global options stand before the command: recoverd --inventory DIR check"
    if not words:  # called without a command: its help has been printed
        return 2
    return _say(words[:1].lower() + words[1:], hint, 2)


def _raise_if_debugging(error: BaseException) -> None:
    if os.environ.get("RECOVERD_DEBUG", "") not in {"", "0"}:
        raise error


app.add_typer(labs.app, name="lab")
app.add_typer(sites.app, name="sites")
for module in (serving, readiness, plans, running, reviewing, deciding, wal, drills, isolated, data, versions):
    module.register(app)
app.add_typer(records.app, name="journal")
app.add_typer(evidence.app, name="evidence")
app.add_typer(inventories.app, name="inventory")
