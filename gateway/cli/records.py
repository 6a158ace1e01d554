"""`recoverd journal …`: is the record whole, and a copy of it that needs no recoverd to be read."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Output, the_journal
from gateway.cli.output import Format, emit, note, write
from recoverd.words import counted

if TYPE_CHECKING:
    from recoverd.journal import Anchor, Verification

app = typer.Typer(no_args_is_help=True, help="The record of all runs: verify it, export it.")


@app.command("verify")
def verify(
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="Verify this export instead of the journal.")
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", metavar="SEQ:HASH", help="An end that was noted earlier: it must still be in there."),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Find entries that were edited, removed, replaced or reordered. Exits with 1 when there are any."""
    from recoverd.journal import verify_export

    known = _anchor(anchor)
    found = verify_export(_existing(file), known) if file is not None else the_journal().verify(known)
    data = {**asdict(found), "ok": found.ok}
    emit(data, output, lambda: _print(found))
    if not found.ok:
        raise typer.Exit(1)


@app.command("export")
def export(
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to a new file instead.")] = None,
) -> None:
    """Write all entries as JSON Lines, with a last line that says where they end."""
    journal = the_journal()
    end = journal.export(sys.stdout) if out is None else _export_to(journal, out)
    note(f"{end.seq} entries; keep this end elsewhere, it proves later that nothing was replaced: {end.seq}:{end.hash}")


def _export_to(journal: Any, out: Path) -> Anchor:
    import os

    from recoverd.errors import Invalid

    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Invalid(f"{out} cannot be made: {error.strerror}", "name a file that is not there yet") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        end: Anchor = journal.export(file)
        file.flush()
        os.fsync(file.fileno())
    return end


def _existing(file: Path) -> Path:
    from recoverd.errors import Invalid

    if not file.is_file():
        raise Invalid(f"there is no file {file}", "name an export of `recoverd journal export`")
    return file


def _print(found: Verification) -> None:
    for problem in found.problems:
        write(f"entry {problem.seq} {problem.what}: {problem.detail}")
    if not found.complete:
        write("and more")
    wrong = counted(len(found.problems), "problem")
    words = "the journal is whole" if found.ok else f"the journal is not whole: {wrong}"
    write(f"{words}; {found.count} entries, up to {found.end.seq}:{found.end.hash}")


def _anchor(text: str | None) -> Anchor | None:
    from recoverd.errors import Invalid
    from recoverd.journal import Anchor

    if text is None:
        return None
    seq, _, digest = text.partition(":")
    if not seq.isdigit() or len(digest) != 64:
        raise Invalid(f"{text!r} is no anchor", "it has the form SEQ:HASH, as `recoverd journal export` prints it")
    return Anchor(int(seq), digest.lower())
