"""Files of a host in quarantine: where nothing can run or read them, and from where they come back exactly."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.step import Effect, act
from recoverd.world import world
from tasks.hosts import run_host

TIME_LIMIT_S = 600.0
MOST_FILES = 500
"""More findings than this on one host are no infection that a program should tidy up by itself."""


def _is_quarantined(host: str, turn: int, files: Sequence[str]) -> Effect | None:
    """Files that are gone by themselves, or that must stay, are no reason to go on: they are named."""
    told = [line.split("\t", 2) for line in _run(host, "state", turn, files, world().run.id) if line.count("\t") >= 2]
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for kind, detail, path in told:
        by_kind.setdefault(kind, []).append((detail, path))
    if "there" in by_kind or not told:
        return None
    moved, left = by_kind.get("moved", []), by_kind.get("left", [])
    words = f"{len(moved)} files of {host} are in quarantine"
    words += f", {len(by_kind['ended'])} processes of theirs ended" if "ended" in by_kind else ""
    words += f", {len(by_kind['gone'])} were gone" if "gone" in by_kind else ""
    words += f"; left: {'; '.join(f'{path} ({why})' for why, path in left[:5])}" if left else ""
    data = {
        "moved": {path: sha256 for sha256, path in moved},
        "left": {path: why for why, path in left},
        "links": [link for link, _ in by_kind.get("link", [])],
    }
    return Effect(words, data)


def _this_run(host: str, turn: int, files: Sequence[str]) -> dict[str, str]:
    return {"run": world().run.id}


@act(
    "put infected files of {host} into quarantine, turn {turn}", ask=_is_quarantined,
    undo="tasks.quarantining:put_back", remember=_this_run, time_limit_s=TIME_LIMIT_S,
)  # fmt: skip
def quarantine(host: str, turn: int, files: Sequence[str]) -> None:
    """Stop what runs from these files, move them away and take all rights from them, then end what ran.

    What the host is reached by, and what is as its package brought it, stays: the outcome names it.

    Args:
        host: Where.
        turn: Which time in this run.
        files: Absolute paths without line breaks.

    Raises:
        Look: A file could not be moved; the others may have been.
    """
    _run(host, "take", turn, files, world().run.id)


def _is_put_back(host: str, turn: int, files: Sequence[str], remembered: dict[str, str]) -> Effect | None:
    if any(line.startswith("kept=") for line in _run(host, "state", turn, (), remembered["run"])):
        return None
    return Effect(f"{host} has no file of run {remembered['run']} in quarantine")


@act("put files of {host} back from quarantine, turn {turn}", ask=_is_put_back, time_limit_s=TIME_LIMIT_S)
def put_back(host: str, turn: int, files: Sequence[str], remembered: dict[str, str]) -> None:
    """Undo `quarantine`. What ran from the files is not started again.

    Raises:
        Look: Something else is in a file's place, or what was kept was changed; nothing was put back.
    """
    _run(host, "back", turn, (), remembered["run"])


def _run(host: str, verb: str, turn: int, files: Sequence[str], run: str) -> list[str]:
    given = {"VERB": verb, "FILES": "\n".join(files), "TURN": str(turn), "RUN": run}
    return run_host("quarantine", host, given, timeout_s=TIME_LIMIT_S).out.splitlines()
