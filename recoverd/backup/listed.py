"""The list of a set of files: what its stream holds, as tar shows it, with the hash of each file. See tasks/scripts/files_list.sh."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Look

_QUOTED = r'"((?:[^"\\]|\\.)*)"'
_ENTRY = re.compile(rf"# (\S+) +(\S+) +(\S+) (\S+ \S+) +{_QUOTED}(?: (?:->|link to) {_QUOTED})?")
_SUM = re.compile(r"\\?([0-9a-f]{64})  ")
_LETTERS = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}
_NAMES = {code: letter for letter, code in _LETTERS.items()}


class Listed(BaseModel):
    """An entry of a set of files.

    Attributes:
        name: As tar quotes it, without slashes at its ends.
        mode: As `ls` shows it; its first letter is the kind, `h` a hard link.
        owner: Numbers of user and group.
        size: Bytes; of a device its numbers, and then 0.
        at: When it was changed last, UTC.
        target: Where a link leads, quoted too.
        sha256: Of a file, also by a further name of it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    mode: str
    owner: str
    size: int
    at: str
    target: str = ""
    sha256: str = ""

    @property
    def path(self) -> str:
        """For people: as it is on the host, where that can be printed; else as it is quoted."""
        plain = unquoted(self.name)
        return f"/{plain if plain.isprintable() else self.name}"


def read_listed(text: str) -> Iterator[Listed]:
    """The entries of a list, in the order of the stream. Raises Look for a line that is none: what it speaks of would be missed."""
    last: Listed | None = None
    for line in text.split("\n"):  # a name may hold other ends of lines
        if match := _ENTRY.fullmatch(line):
            if last is not None:
                yield last
            mode, owner, size, at, name, target = match.groups(default="")
            number = int(size) if size.isdigit() else 0
            last = Listed(name=name.rstrip("/"), mode=mode, owner=owner, size=number, at=at, target=target)
        elif line.startswith("# "):
            raise Look(f"the list of the set has a line that nobody can read: {line[:100]}", "read it by hand")
        elif last is not None and (found := _SUM.match(line)):
            last = last.model_copy(update={"sha256": found[1]})
    if last is not None:
        yield last


def below(entry: Listed, path: str) -> bool:
    """Whether an entry is a path, or below it; the path as it is on the host."""
    wanted = quoted(path)
    return entry.name == wanted or entry.name.startswith(f"{wanted}/")


def quoted(path: str) -> str:
    """A path as tar quotes it in the C locale, as in the lists of sets: without the slash at its beginning and its end."""
    return "".join(
        f"\\{_NAMES[byte]}" if byte in _NAMES else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in path.strip("/").encode("utf-8", "surrogateescape")
    )


def unquoted(name: str) -> str:
    """A name as it is; bytes that are no UTF-8 as Python keeps them in names of files."""
    steps = re.findall(r"\\[0-7]{3}|\\.|[^\\]", name)
    codes = (
        int(step[1:], 8) if step[1:].isdigit() else _LETTERS.get(step[1:], ord("?")) if step[0] == "\\" else ord(step)
        for step in steps
    )
    return bytes(code & 255 for code in codes).decode("utf-8", "surrogateescape")
