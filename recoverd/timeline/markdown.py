"""The timeline as a Markdown document, for a Prefect artifact, a ticket or a review."""

from __future__ import annotations

import re
from collections.abc import Iterator

from recoverd.timeline.model import Moment, Timeline
from recoverd.timeline.moments import since_words
from recoverd.timeline.text import clock, record_words, rpo_words, rto_words, took_words


def as_markdown(timeline: Timeline) -> str:
    """The whole timeline as a document."""
    return "\n".join(_document(timeline)) + "\n"


def _document(timeline: Timeline) -> Iterator[str]:
    yield f"# {escape(timeline.procedure)} of {escape(timeline.target)}: {timeline.state}"
    yield ""
    if timeline.summary:
        yield f"{escape(timeline.summary)}."
        yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in _facts(timeline):
        yield f"| {name} | {escape(value)} |"
    yield ""
    yield from _phases(timeline)
    yield "## What happened"
    yield ""
    yield f"Times count from {timeline.began}."
    yield ""
    yield "| time | | what | took | who |"
    yield "|---:|---|---|---:|---|"
    for moment in timeline.moments:
        yield _row(moment)
    yield ""
    yield f"Record: {escape(record_words(timeline))}."


def _facts(timeline: Timeline) -> Iterator[tuple[str, str]]:
    yield "run", timeline.run
    yield "started by", f"{timeline.trigger}, {timeline.requester}"
    yield "reason", timeline.reason
    yield "began", f"{clock(timeline)} ({timeline.began})"
    if timeline.rto_s is not None:
        yield "recovery time", rto_words(timeline)
    if timeline.rpo:
        yield "data loss", rpo_words(timeline)


def _phases(timeline: Timeline) -> Iterator[str]:
    if not timeline.phases:
        return
    yield "## Recovery time by phase"
    yield ""
    yield "| phase | reached | took |"
    yield "|---|---:|---:|"
    for phase in timeline.phases:
        yield f"| {escape(phase.name)} | {since_words(phase.since_s)} | {phase.seconds:.3f} s |"
    yield ""


def _row(moment: Moment) -> str:
    words = f"**{escape(moment.title)}**: {escape(moment.text)}" if moment.title else escape(moment.text)
    words = "<br>".join([words, *(f"· {escape(detail)}" for detail in moment.details)])
    return f"| {since_words(moment.since_s)} | {moment.what} | {words} | {took_words(moment)} | {escape(moment.who)} |"


def escape(text: str) -> str:
    """Text as Markdown shows it literally, on one line: much of it comes from outside."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w)|^#)", r"\\\1", flat)
