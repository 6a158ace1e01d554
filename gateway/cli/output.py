"""What commands print: data on standard output in the form that was asked for, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough that nothing is wrapped or cut where a program reads instead of a person.
PIPE_WIDTH = 4000


class Format(str, Enum):
    """The forms that every command can print its data in."""

    table = "table"
    json = "json"
    yaml = "yaml"


class ShowFormat(str, Enum):
    """Those of `show`, which also writes a document."""

    table = "table"
    json = "json"
    yaml = "yaml"
    markdown = "markdown"


def emit(data: Any, form: Format | ShowFormat, table: Callable[[], None]) -> None:
    """Print data: as JSON or YAML for programs, else by `table` for people."""
    if form.value == "json":
        write(json.dumps(data, indent=2, ensure_ascii=False, default=str))
    elif form.value == "yaml":
        write(as_yaml(json.loads(json.dumps(data, ensure_ascii=False, default=str))))
    else:
        table()


def emit_rows(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], form: Format | ShowFormat, *, empty: str
) -> None:
    """Print rows; of them people see `columns`. That there are none is said on standard error."""
    if not rows:
        note(empty)
    emit(list(rows), form, lambda: rows_table(rows, columns) if rows else None)


def rows_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table without rules, as `kubectl` and `docker` do: it can be cut and grepped."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " ").upper(), overflow="fold")
    for row in rows:
        cells = [clean(_cell(row.get(column))) for column in columns]
        table.add_row(*(Text(cell, style=style_of(cell)) for cell in cells))
    out = console()
    with out.capture() as captured:
        out.print(table)
    write("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def style_of(word: str) -> str:
    """The colour of a state or a level; none for any other word."""
    return _STYLES.get(word, "")


_STYLES = {
    "ok": "green",
    "succeeded": "green",
    "approved": "green",
    "primary": "green",
    "warning": "yellow",
    "waiting": "yellow",
    "running": "cyan",
    "requested": "cyan",
    "problem": "red",
    "failed": "red",
    "refused": "magenta",
    "off": "red",
    "no answer": "red",
}


def console(*, error: bool = False) -> Console:
    """A console that honours NO_COLOR, and neither wraps nor colours where no terminal is."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


class PipeClosed(Exception):
    """Nobody reads the output any more. Not an OSError: Typer would answer that one itself."""


def write(text: str) -> None:
    """Print data. Raises PipeClosed when its reader has gone."""
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise PipeClosed from None


def save(path: Path, text: str) -> None:
    """Write a file that a person has named.

    Raises:
        Invalid: It cannot be written there.
    """
    from recoverd.errors import Invalid

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path} cannot be written: {error.strerror}", "name a place where you may write") from error


def note(text: str) -> None:
    """Tell the person something that is not the data."""
    print(clean(text), file=sys.stderr, flush=True)


def clean(text: str) -> str:
    """Text without the control characters that could drive a terminal: much of it comes from outside."""
    return "".join(char if char in "\n\t" or char.isprintable() else _visible(char) for char in text)


def as_yaml(data: Any) -> str:
    """Plain data as YAML."""
    from io import StringIO

    from ruamel.yaml import YAML

    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.allow_unicode = True
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the order says something
    yaml.dump(data, text)
    return text.getvalue()


def interactive() -> bool:
    """Whether a person sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirmed(question: str, *, yes: bool, doing: str) -> bool:
    """Ask a person at a terminal. Without one nobody is asked, and `--yes` must have been given.

    Raises:
        Invalid: There is nobody to ask.
    """
    if yes:
        return True
    if not interactive():
        from recoverd.errors import Invalid

        raise Invalid(f"there is no terminal to ask whether to {doing}", "look at it first, then say --yes")
    print(f"{clean(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "-"
    return str(value)


def _visible(char: str) -> str:
    return char.encode("unicode_escape").decode() if not char.isspace() else " "
