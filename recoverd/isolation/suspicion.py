"""What looks wrong on a host, and which procedure comes next: pure rules over what the host said of itself.

A rootkit in its kernel can lie to all of this. What is found is a reason to act; that nothing is found is no proof of anything.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recoverd.errors import Invalid

Severity = Literal["grave", "doubtful", "note"]
ORDER: tuple[Severity, ...] = ("grave", "doubtful", "note")
TEMPORARY = ("/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/")  # noqa: S108 - named, not used
BASELINE_KINDS = ("account", "key", "suid", "cron", "unit", "program")
PACKAGES = ("running", "all", "no")
TALKERS = 5
LOUD_BYTES_PER_S = 1 << 20
_PEER = re.compile(r"^\s*\d+\s+\d+\s+(\S+)\s+(\S+)\s")
_USERS = re.compile(r'users:\(\("([^"]*)",pid=(\d+)')
_SENT = re.compile(r"\bbytes_sent:(\d+)")


def check_options(options: Mapping[str, Any]) -> None:
    """What the door asks before a run is written down. Raises Invalid."""
    wanted = {"packages": PACKAGES, "evidence": ("yes", "no"), "baseline": ("save",)}
    for name, words in wanted.items():
        if options.get(name) not in (None, *words):
            raise Invalid(f"{options[name]!r} is none of {', '.join(words)}", f"--option {name}={words[0]}")


class Finding(BaseModel):
    """One thing that looks wrong.

    Attributes:
        what: A sentence.
        next: The procedure that would come next, with its options; empty where a person looks first.
    """

    model_config = ConfigDict(frozen=True)

    severity: Severity
    what: str
    next: str = ""


class Baseline(BaseModel):
    """How a host was when somebody said that it is well: by kind, what there was, with its hash where it has one."""

    model_config = ConfigDict(frozen=True)

    kinds: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)


Said = Sequence[Sequence[str]]
"""The lines of a host, each cut at its tabs."""


def read_lines(text: str) -> tuple[tuple[str, ...], ...]:
    """The lines of the script."""
    return tuple(tuple(line.split("\t")) for line in text.splitlines() if "\t" in line)


def baseline_of(said: Said) -> Baseline:
    """What of it may be compared with later."""
    kinds: dict[str, dict[str, str]] = {kind: {} for kind in BASELINE_KINDS}
    for kind, *words in said:
        if kind in kinds and words:
            kinds[kind][" ".join(words[:2] if kind == "key" else words[:1])] = words[-1]
    return Baseline(kinds=kinds)


def suspicions(host: str, said: Said, before: Baseline | None, forbidden: Sequence[str]) -> tuple[Finding, ...]:
    """What looks wrong, the gravest first.

    Args:
        host: Its name.
        said: What it said.
        before: How it was; None: nobody has kept that.
        forbidden: Patterns of command lines that must not run there.
    """
    found = [
        *_processes(host, said, forbidden), *_accounts(host, said), *_packages(host, said), *_preload(host, said),
        *_talkers(said), *(_since(host, baseline_of(said), before) if before else ()), *_lacking(said),
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: ORDER.index(one.severity)))


def _rows(said: Said, kind: str, width: int) -> Iterable[Sequence[str]]:
    return (row[1:] for row in said if row[0] == kind and len(row) > width)


def _processes(host: str, said: Said, forbidden: Sequence[str]) -> Iterable[Finding]:
    patterns = [re.compile(one) for one in forbidden]
    for pid, _, user, _, exe, memory, args in _rows(said, "process", 7):
        words = f"process {pid} of {user} ({args.strip()[:120]})"
        if memory and exe.startswith("/memfd:"):
            yield Finding(severity="grave", what=f"{words} runs from memory alone", next=f"isolate {host}")
        elif memory:
            yield Finding(
                severity="doubtful", what=f"{words} runs from {exe}: an upgrade does that too, until it is restarted"
            )
        elif exe.startswith(TEMPORARY) or _script(args).startswith(TEMPORARY):
            yield Finding(severity="grave", what=f"{words} runs from a temporary directory", next=f"isolate {host}")
        if any(pattern.search(args) for pattern in patterns):
            yield Finding(severity="grave", what=f"{words} must not run there", next=f"isolate {host}")


def _script(args: str) -> str:
    """What an interpreter runs: the first word after its own that is no option. A later one is what that is told."""
    return next((word for word in args.split()[1:] if not word.startswith("-")), "")


def _accounts(host: str, said: Said) -> Iterable[Finding]:
    for (name,) in (row[:1] for row in _rows(said, "uid0", 1)):
        if name != "root":
            yield Finding(severity="grave", what=f"{name} has the user id of root", next=f"isolate {host}")
    for (name,) in (row[:1] for row in _rows(said, "empty", 1)):
        yield Finding(
            severity="grave", what=f"{name} has no password at all", next=f"contain --on {host} --accounts {name}"
        )


def _packages(host: str, said: Said) -> Iterable[Finding]:
    for (line,) in (row[:1] for row in _rows(said, "changed", 1)):
        flags, _, rest = line.partition(" ")
        is_config, path = rest.strip().startswith("c "), rest.strip().removeprefix("c ").strip()
        if flags == "missing":
            yield Finding(severity="doubtful", what=f"{path} of a package is missing")
        elif "5" in flags and not is_config:
            yield Finding(severity="grave", what=f"{path} is not what its package brought", next=f"isolate {host}")
        elif "5" in flags:
            yield Finding(severity="note", what=f"{path} was configured")
    for path, *_ in _rows(said, "unowned", 1):
        if not path.startswith(TEMPORARY):
            yield Finding(severity="doubtful", what=f"{path} runs, and belongs to no package")


def _preload(host: str, said: Said) -> Iterable[Finding]:
    for words, *_ in _rows(said, "preload", 1):
        yield Finding(severity="grave", what=f"every program loads {words.strip()} first", next=f"isolate {host}")


def _talkers(said: Said) -> Iterable[Finding]:
    """Who has sent most between the two samples."""
    seconds = max((int(words[0]) for words in _rows(said, "seconds", 1)), default=0) / 1000
    first, second = (_sent(_rows(said, kind, 1)) for kind in ("talk1", "talk2"))
    grown = {key: second[key] - first.get(key, 0) for key in second}
    most = sorted(((sent, key) for key, sent in grown.items() if sent > 0 and seconds), reverse=True)[:TALKERS]
    for sent, (program, pid, _, peer) in most:
        rate = sent / seconds
        words = f"{program} ({pid}) sends {rate / 1000:.0f} kB/s to {peer}"
        yield Finding(severity="doubtful" if rate >= LOUD_BYTES_PER_S else "note", what=words)


def _sent(rows: Iterable[Sequence[str]]) -> dict[tuple[str, str, str, str], int]:
    found: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for line, *_ in rows:
        place, who, sent = (
            _PEER.match(line),
            _USERS.search(line),
            _SENT.search(line),
        )
        if place and sent:
            program, pid = who.groups() if who else ("?", "?")
            found[program, pid, place[1], place[2]] += int(sent[1])
    return found


def _since(host: str, now: Baseline, before: Baseline) -> Iterable[Finding]:
    """What is there that was not, and what is not as it was."""
    words = {
        "account": "the account {} is new", "key": "a key of {} is new", "suid": "{} gives its owner's rights, and is new",
        "cron": "the job file {} is new", "unit": "the unit {} is new", "program": "{} runs, and did not",
    }  # fmt: skip
    for kind, found in now.kinds.items():
        known = before.kinds.get(kind, {})
        for name, digest in found.items():
            changed = name in known and known[name] != digest and kind in {"cron", "unit", "program"}
            if name in known and not changed:
                continue
            said = f"{name} is not what it was" if changed else words[kind].format(name)
            grave = kind in {"suid", "account", "key"} or (changed and kind == "program")
            account = name.split()[0]
            following = f"contain --on {host} --accounts {account}" if kind in {"account", "key"} else f"isolate {host}"
            yield Finding(
                severity="grave" if grave else "doubtful",
                what=f"{said} since the baseline",
                next=following if grave else "",
            )


def _lacking(said: Said) -> Iterable[Finding]:
    lacks = {"root": "recoverd is not root there: much could not be seen", "packages": "there is no package database"}
    for name, *_ in _rows(said, "no", 1):
        yield Finding(severity="note", what=lacks.get(name, name))
