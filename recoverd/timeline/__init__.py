"""What a run did and when, for a reviewer who was not there: pure functions from the journal's entries.

    timeline = build(row, entries, alert)
    print(as_text(timeline)); as_markdown(timeline); as_data(timeline)

Layers, top down: text, markdown (renderings) > build > moments, phases > model.
"""

from recoverd.timeline.build import build
from recoverd.timeline.markdown import as_markdown
from recoverd.timeline.model import Moment, Phase, Timeline, as_data
from recoverd.timeline.text import as_text, lines, moment_lines

__all__ = [
    "Moment",
    "Phase",
    "Timeline",
    "as_data",
    "as_markdown",
    "as_text",
    "build",
    "lines",
    "moment_lines",
]
