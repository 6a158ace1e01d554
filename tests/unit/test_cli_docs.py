"""docs/cli.md and the command line say the same, in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gateway.cli.main import INTERRUPTED, app
from recoverd import errors

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
EVERYWHERE = {"--output", "-o", "--help", "-h"}


def commands(command: Any, path: tuple[str, ...] = ("recoverd",)) -> Iterator[tuple[str, set[str]]]:
    """Every command that does something, and the root, with the names of its options."""
    inner = getattr(command, "commands", None)
    options = {
        name for one in command.params if one.param_type_name == "option" for name in [*one.opts, *one.secondary_opts]
    }
    if inner is None or len(path) == 1:
        yield " ".join(path), options
    for name, each in (inner or {}).items():
        yield from commands(each, (*path, name))


def sections() -> dict[str, str]:
    parts = re.split(r"^### `(recoverd[^`]*)`$", DOCUMENT, flags=re.MULTILINE)
    bodies = [re.split(r"^## ", body, flags=re.MULTILINE)[0] for body in parts[2::2]]
    return dict(zip(parts[1::2], bodies, strict=True))


COMMANDS = dict(commands(get_command(app)))


def leaves() -> dict[str, set[str]]:
    """By command that does something: its options."""
    return {name: options for name, options in COMMANDS.items() if name != "recoverd"}


def test_every_command_is_documented_and_no_other() -> None:
    assert sections().keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented_and_no_other(command: str) -> None:
    rows = [line for line in sections()[command].splitlines() if line.startswith("| `-")]
    told = {name for row in rows for name in re.findall(r"`(--?[a-z-]+)`", row.split("|")[1])}
    assert told == COMMANDS[command] - EVERYWHERE


def test_options_of_every_command_are_documented_once() -> None:
    for name in EVERYWHERE:
        assert f"`{name}`" in DOCUMENT


def test_every_exit_code_is_documented() -> None:
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", DOCUMENT, flags=re.MULTILINE)}
    of_errors = {one.exit_code for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)}
    assert of_errors | {0, 4, 5, INTERRUPTED} <= told


def test_every_command_says_what_it_does() -> None:
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert command.help or command.short_help or "", name
