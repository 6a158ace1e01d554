"""Running the machine's own tools, each within a limit and marked as the lab's so that `down` can find strays."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.layout import MARK
from recoverd.errors import RecoverdError, TimedOut


class CommandFailed(RecoverdError):
    """A tool that the lab needs said no."""


@dataclass(frozen=True)
class Ran:
    """What a command gave back."""

    code: int
    out: str
    err: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.code == 0


def call(argv: Sequence[str], *, state: Path, timeout_s: float = 20, stdin: str = "", check: bool = True) -> Ran:
    """Run a command of the lab whose state directory is `state`.

    Raises:
        CommandFailed: It exited with another code than 0, and `check` is set.
        TimedOut: It did not end within `timeout_s`; it and its children in the same process group were killed.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment(state),
        cwd="/",
        start_new_session=True,
    )
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimedOut(f"`{shown(argv)}` did not end within {timeout_s:g} s") from error
        raise
    if check and process.returncode != 0:
        said = (err.strip() or out.strip() or "nothing")[-800:]
        raise CommandFailed(f"`{shown(argv)}` exited with {process.returncode} and said: {said}")
    return Ran(process.returncode, out, err)


def environment(state: Path) -> dict[str, str]:
    """The environment of the lab's processes: small, in the C locale, with the mark of the lab."""
    path = os.environ.get("PATH", "/usr/bin:/bin")
    return {"PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "HOME": "/root", MARK: str(state)}


def shown(argv: Sequence[str]) -> str:
    """A command as a person would type it, shortened."""
    text = shlex.join(argv)
    return text if len(text) <= 200 else text[:199] + "…"
