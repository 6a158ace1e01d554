"""Where the demo speaks: lines for a person, coloured on a terminal only."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

PIPE_WIDTH = 110


class Screen:
    """Standard output. Waiting is shown in a line that the next one replaces, on a terminal only."""

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self._console = Console(
            file=sys.stdout, highlight=False, width=None if self.is_terminal else PIPE_WIDTH, soft_wrap=True
        )
        self._waiting = False

    @property
    def width(self) -> int:
        """Columns to use."""
        return max(60, min(self._console.width - 1, 140)) if self.is_terminal else PIPE_WIDTH

    def head(self, text: str) -> None:
        """The beginning of an act."""
        self.line()
        self.line((f"== {text}", "bold"))

    def say(self, text: str) -> None:
        """A sentence of progress."""
        self.line((f"   {text}", ""))

    def line(self, *pieces: tuple[str, str]) -> None:
        """A line of pieces, each a text and its style."""
        self._clear()
        text = Text.assemble(*((_clean(words), style) for words, style in pieces))
        text.rstrip()
        self._console.print(text)
        sys.stdout.flush()

    def wait(self, text: str) -> None:
        """What is waited for just now."""
        if self.is_terminal:
            sys.stdout.write(f"\r\x1b[K   {_clean(text)[: self.width - 3]}")
            sys.stdout.flush()
            self._waiting = True

    def _clear(self) -> None:
        if self._waiting:
            sys.stdout.write("\r\x1b[K")
            self._waiting = False


def _clean(text: str) -> str:
    """Text without control characters: some of it comes from servers."""
    return "".join(char if char.isprintable() else " " for char in text)
