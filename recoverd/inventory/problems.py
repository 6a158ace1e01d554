"""What is wrong with an inventory: every problem with its file and line, all of them in one error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from recoverd.errors import Invalid


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or doubtful, in a file of the inventory.

    Attributes:
        file: The file's path below the inventory's directory.
        line: Line in the file, from 1; None where the file as a whole is meant.
        what: A lowercase sentence that never holds a secret's value.
        nearest: The valid word that was probably meant.
    """

    file: str
    line: int | None
    what: str
    nearest: str | None = None

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}" + (f'; did you mean "{self.nearest}"?' if self.nearest else "")


class InventoryError(Invalid):
    """The inventory cannot be used. `problems` holds every reason, in the order of files and lines."""

    def __init__(self, problems: Iterable[Problem], root: str = "") -> None:
        self.problems = tuple(dict.fromkeys(sorted(problems, key=lambda p: (p.file, p.line or 0))))
        self.root = root
        count = f"{len(self.problems)} problem{'' if len(self.problems) == 1 else 's'}"
        where = f" {root}" if root else ""
        lines = "\n".join(str(problem) for problem in self.problems)
        super().__init__(
            f"the inventory{where} has {count}\n{lines}",
            "correct these lines; docs/inventory.md lists every key, and `recoverd check` reads the inventory again",
        )

    def __reduce__(self) -> tuple[type[InventoryError], tuple[tuple[Problem, ...], str]]:  # type: ignore[override]
        return (type(self), (self.problems, self.root))


def nearest(word: object, valid: Iterable[str]) -> str | None:
    """The valid word that looks most like the given one, or None when none comes near."""
    found = difflib.get_close_matches(str(word), list(valid), n=1, cutoff=0.6)
    return found[0] if found else None
