"""A runbook as data, and as Markdown: numbered chapters of steps, each with its commands in a fenced block."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Step:
    """Something to do.

    Attributes:
        title: In the imperative, with the host it is about.
        commands: A script for `sh`, to be pasted as a whole; empty where only thought is needed.
        text: What must be seen, and what to do when it is not.
    """

    title: str
    commands: str = ""
    text: str = ""


@dataclass(frozen=True)
class Chapter:
    """Steps that belong together, of which often only one is to be done."""

    title: str
    text: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Document:
    """A runbook."""

    title: str
    procedure: str
    target: str
    version: str
    inventory: str
    inventory_sha256: str
    printed_at: str
    chapters: tuple[Chapter, ...]

    def markdown(self) -> str:
        """The document as it is printed."""
        return "\n".join(self._lines()).rstrip("\n") + "\n"

    def _lines(self) -> Iterator[str]:
        yield f"# {self.title}"
        yield ""
        yield f"Runbook `{self.procedure}` of `{self.target}`. Printed {self.printed_at} by recoverd {self.version}"
        yield f"from the inventory `{self.inventory}`, sha256 `{self.inventory_sha256[:16]}`. Print it again when that changes."
        yield ""
        for number, chapter in enumerate(self.chapters, start=1):
            yield f"## {number}. {chapter.title}"
            yield ""
            if chapter.text:
                yield chapter.text
                yield ""
            for step in chapter.steps:
                yield from _step(step)


def _step(step: Step) -> Iterator[str]:
    yield f"### {step.title}"
    yield ""
    if step.text:
        yield step.text
        yield ""
    if step.commands:
        yield "```sh"
        yield step.commands.rstrip("\n")
        yield "```"
        yield ""


def hash_of(root: Path) -> str:
    """SHA-256 over the names and contents of an inventory's files: equal files give an equal hash."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith(".")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()
