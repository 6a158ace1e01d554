"""Host patterns of an Ansible inventory: `db-[1:3]`, `node-[a:c]`, `web[01:20:2].example.com:2222`."""

from __future__ import annotations

import re
import string

MOST_HOSTS = 100_000

_HOST_PORT = re.compile(r"^((?:[^:\[\]]|\[[^\]]*\])+):(\d+)$")
_RANGE = re.compile(r"\[([^\[\]]*)\]")


class BadPattern(ValueError):
    """The pattern is no host name and no valid range."""


def expand(pattern: str) -> tuple[list[str], int | None]:
    """The host names that the pattern stands for, and the port after it, if there is one."""
    found = _HOST_PORT.match(pattern)
    hosts, port = (found[1], int(found[2])) if found else (pattern, None)
    if found and re.fullmatch(r"\[[0-9A-Fa-f:.]*::?[0-9A-Fa-f:.]*\]", hosts) and hosts.count(":") > 1:
        return [hosts[1:-1]], port  # [2001:db8::1]:22 is an address, not a range
    return _expanded(hosts), port


def _expanded(text: str) -> list[str]:
    found = _RANGE.search(text)
    if found is None:
        return [text]
    steps = _steps(found[1])
    rest = _expanded(text[found.end() :])
    if len(steps) * len(rest) > MOST_HOSTS:
        raise BadPattern(f"it stands for more than {MOST_HOSTS} hosts")
    return [text[: found.start()] + step + tail for step in steps for tail in rest]


def _steps(bounds: str) -> list[str]:
    parts = bounds.split(":")
    if len(parts) not in (2, 3):
        raise BadPattern("a range is [begin:end] or [begin:end:step]")
    begin, end = parts[0] or "0", parts[1]
    step = _number(parts[2]) if len(parts) == 3 else 1
    if not end or step < 1:
        raise BadPattern("a range needs an end, and a step of at least 1")
    letters = string.ascii_letters
    if len(begin) == len(end) == 1 and begin in letters and end in letters:
        if letters.index(begin) > letters.index(end):
            raise BadPattern("its end stands before its begin")
        return list(letters[letters.index(begin) : letters.index(end) + 1 : step])
    width = len(begin) if begin.startswith("0") and len(begin) > 1 else 0
    if width and width != len(end):
        raise BadPattern("begin and end must have the same length where begin starts with 0")
    numbers = range(_number(begin), _number(end) + 1, step)
    if len(numbers) > MOST_HOSTS:
        raise BadPattern(f"it stands for more than {MOST_HOSTS} hosts")
    return [str(number).zfill(width) for number in numbers]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadPattern(f'"{text}" is no number')
    return int(text)
