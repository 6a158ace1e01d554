"""The timeline as lines for a terminal: words with the name of a style, so that a pipe gets them plain."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from recoverd.journal.entries import instant_text
from recoverd.timeline.model import Moment, Timeline
from recoverd.timeline.moments import since_words

Line = tuple[tuple[str, str], ...]
"""Pieces of a line: text and style."""

WIDTH = 110
_TELLING_S = 0.001
_TIME, _WHAT, _TOOK = 11, 10, 9
_INDENT = _TIME + 2 + _WHAT + 1
_STYLES = {
    "alert": "yellow",
    "run": "bold",
    "look": "dim",
    "decision": "cyan",
    "change": "green",
    "intention": "yellow",
    "proof": "bold green",
    "account": "bold",
    "approval": "magenta",
    "lock": "dim",
    "trouble": "red",
    "record": "",
}
_STATES = {"succeeded": "bold green", "failed": "bold red", "refused": "bold magenta", "waiting": "bold yellow"}


def as_text(timeline: Timeline, width: int = WIDTH) -> str:
    """The whole timeline as plain text."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines(timeline, width)) + "\n"


def lines(timeline: Timeline, width: int = WIDTH) -> Iterator[Line]:
    """The whole timeline, line by line."""
    yield from _head(timeline, width)
    yield ()
    for moment in timeline.moments:
        yield from moment_lines(moment, width)
    yield from _summary(timeline)


def moment_lines(moment: Moment, width: int = WIDTH) -> Iterator[Line]:
    """One moment: time since the beginning, its sort, what was done, how long it took; below that, what came of it."""
    style = _STYLES[moment.what]
    room = max(40, width - _INDENT - _TOOK)
    took = took_words(moment)
    first, *rest = textwrap.wrap(moment.title or moment.text, room) or [""]
    lead = f"{since_words(moment.since_s):>{_TIME}}  "
    yield ((lead, ""), (f"{moment.what:<{_WHAT}} ", style), (f"{first:<{room}}", style), (f"{took:>{_TOOK}}", "dim"))
    below = [(line, style) for line in rest]
    if moment.title and moment.text:
        below += [(line, "") for line in textwrap.wrap(moment.text, room, initial_indent="→ ", subsequent_indent="  ")]
    for detail in moment.details:
        wrapped = textwrap.wrap(detail, room, initial_indent="  · ", subsequent_indent="    ")
        below += [(line, "dim") for line in wrapped]
    for line, its in below:
        yield ((" " * _INDENT, ""), (line, its))


def took_words(moment: Moment) -> str:
    """How long it took; empty where that is nothing worth telling."""
    return "" if moment.seconds is None or moment.seconds < _TELLING_S else f"{moment.seconds:.3f} s"


def _head(timeline: Timeline, width: int) -> Iterator[Line]:
    state = timeline.state
    yield (
        (f"{timeline.procedure} of {timeline.target} ", "bold"),
        (state, _STATES.get(state, "bold")),
        (f"  (run {timeline.run})", ""),
    )
    for line in textwrap.wrap(timeline.summary, width):
        yield ((line, ""),)
    for line in textwrap.wrap(f"started by {timeline.trigger}, {timeline.requester}: {timeline.reason}", width):
        yield ((line, ""),)
    yield ((f"times count from {timeline.began}, {clock(timeline)}", "dim"),)


def clock(timeline: Timeline) -> str:
    """When it began, as people write it."""
    return f"{timeline.began_at:%Y-%m-%d %H:%M:%S}.{timeline.began_at.microsecond // 1000:03d} UTC"


def _summary(timeline: Timeline) -> Iterator[Line]:
    if timeline.phases:
        yield ()
        yield (("recovery time by phase", "bold"),)
        for phase in timeline.phases:
            at = f"{since_words(phase.since_s):>{_TIME}}  "
            yield ((at, ""), (f"{phase.name:<16}", ""), (f"{phase.seconds:>{_TOOK}.3f} s", "dim"))
    if timeline.rto_s is not None:
        yield ((f"RTO  {rto_words(timeline)}", "bold"),)
    if timeline.rpo:
        yield ((f"RPO  {rpo_words(timeline)}", "bold"),)
    yield ()
    yield ((record_words(timeline), "dim"),)


def rto_words(timeline: Timeline) -> str:
    """The recovery time against its objective."""
    met = timeline.rto_objective_s is None or (timeline.rto_s or 0) <= timeline.rto_objective_s
    allowed = "" if timeline.rto_objective_s is None else f" of {timeline.rto_objective_s:g} s allowed"
    return f"{timeline.rto_s:.3f} s{allowed}{'' if met else ': missed'}"


def rpo_words(timeline: Timeline) -> str:
    """The loss against its objective."""
    return timeline.rpo + (f" ({timeline.rpo_objective} allowed)" if timeline.rpo_objective else "")


def record_words(timeline: Timeline) -> str:
    """Where all of this stands in the journal."""
    end = f"; ended {instant_text(timeline.ended_at)}" if timeline.ended_at else ""
    return (
        f"journal entries {timeline.first_seq} to {timeline.last_seq}, "
        f"the last with hash {timeline.last_hash[:16]}…{end}"
    )
