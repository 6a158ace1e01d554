"""`recoverd runs` and `recoverd show`: what has run, and what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import Limit, Output, complete_run, the_journal
from gateway.cli.output import Format, ShowFormat, clean, console, emit, emit_rows, write

if TYPE_CHECKING:
    from recoverd.journal import Journal, RunRow, State
    from recoverd.timeline import Timeline

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of the run, or its end.", autocompletion=complete_run)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("runs")(runs)
    app.command("show")(show)


def runs(
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only runs in this state. May be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="Only runs on this service.")] = None,
    procedure: Annotated[str | None, typer.Option("--procedure", help="Only runs of this procedure.")] = None,
    limit: Limit = 20,
    output: Output = Format.table,
) -> None:
    """List runs, the newest first."""
    rows = the_journal().list_runs(
        states=_states(state) if state else None, target=target, procedure=procedure, limit=limit
    )
    columns = ("id", "procedure", "target", "state", "trigger", "requester", "created_at", "took_s", "summary")
    emit_rows([run_data(row) for row in rows], columns, output, empty="no run fits")


def show(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print each step as it comes, until it ends.")] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds to follow at most.")] = 3600,
    output: Annotated[
        ShowFormat,
        typer.Option("--output", "-o", envvar="RECOVERD_OUTPUT", help="table, json, yaml or markdown."),
    ] = ShowFormat.table,
) -> None:
    """Print the timeline of a run: what was seen, decided, done and proven, when, by whom and why."""
    journal = the_journal()
    row = journal.get_run(run)
    if follow and not row.ended:
        from gateway.cli.follow import follow as follow_run

        row = follow_run(journal, row.id, timeout_s=timeout_s, until_waiting=False)
    print_timeline(journal, row, output)


def print_timeline(journal: Journal, row: RunRow, output: ShowFormat = ShowFormat.table) -> None:
    """Print the timeline of a run in a form."""
    from recoverd.timeline import as_data, as_markdown

    timeline = timeline_of(journal, row)
    if output is ShowFormat.markdown:
        write(as_markdown(timeline))
        return
    emit(as_data(timeline), output, lambda: _print_lines(timeline))


def timeline_of(journal: Journal, row: RunRow) -> Timeline:
    """The timeline of a run, from the journal."""
    from recoverd.timeline import build

    return build(row, journal.entries(run=row.id), journal.get_alert(row.alert) if row.alert else None)


def run_data(row: RunRow) -> dict[str, Any]:
    """A run as plain values, for lists."""
    ended = row.ended_at
    took_s = round((ended - (row.started_at or row.created_at)).total_seconds(), 3) if ended else None
    return {
        "id": row.id,
        "procedure": row.procedure,
        "target": row.target,
        "state": row.state,
        "mode": row.mode,
        "trigger": row.trigger,
        "requester": row.requester,
        "reason": row.reason,
        "options": row.options,
        "incident": row.incident,
        "alert": row.alert,
        "created_at": _time(row.created_at),
        "started_at": _time(row.started_at),
        "ended_at": _time(ended),
        "took_s": took_s,
        "flow_run": row.flow_run,
        "executor": row.executor,
        "summary": row.summary,
    }


def _time(at: Any) -> str | None:
    return None if at is None else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _print_lines(timeline: Timeline) -> None:
    from rich.text import Text

    from recoverd.timeline import as_text, lines
    from recoverd.timeline.text import WIDTH

    out = console()
    if not out.is_terminal:
        write(clean(as_text(timeline)))
        return
    for line in lines(timeline, max(70, min(out.width - 1, WIDTH + 40))):
        out.print(Text.assemble(*((clean(text), style) for text, style in line)), soft_wrap=True)


def _states(given: list[str]) -> list[State]:
    from typing import get_args

    from recoverd.errors import Invalid
    from recoverd.inventory.problems import nearest
    from recoverd.journal import State

    known = get_args(State)
    for word in given:
        if word not in known:
            near = nearest(word, known)
            raise Invalid(f"{word!r} is no state of a run", f"did you mean {near}?" if near else ", ".join(known))
    return given  # type: ignore[return-value]  # each has just been looked up
