"""Jobs of pgBackRest in the background of a host: they take hours, and outlive the one who asked."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recoverd.connections import Completed
from recoverd.errors import TimedOut, TryAgain
from recoverd.inventory import Repository
from recoverd.world import world
from tasks.hosts import run_on
from tasks.passages import backup_scope
from tasks.pgbackrest import IO_S, settings_of

JOB_TIME_LIMIT_S = 48 * 3600
_PATIENCE_S = 120.0
_LOOK_EVERY_S = 0.3
_TELL_EVERY_S = 5.0


@dataclass(frozen=True)
class Job:
    """A job on a host, as its state tells.

    Attributes:
        code: How it ended; None while it has not.
        holds: The repository's number and the set that the restored data is of.
        bad: Lines of repository, segment and reason, for WAL that could not be had there.
    """

    running: bool
    code: int | None
    said: str
    holds: str
    bytes: int
    files: int
    bad: tuple[tuple[int, str, str], ...]


def run_job(
    service: str, host: str, site: Repository, verb: str, given: Mapping[str, str], *, timeout_s: float = 60.0
) -> Completed:
    """Say a word to a job, or about the place where one works. Raises what `run_on` raises."""
    wanted = settings_of(service)
    known = {
        "VERB": verb, "SERVICE": backup_scope(service), "OS_USER": wanted.account_of(site), "PROGRAM": wanted.program,
        "CONFIG": wanted.config, "STANZA": wanted.stanza, "REPO": str(site.repo), "IO_S": str(3 * IO_S),
        "LIMIT_S": str(JOB_TIME_LIMIT_S), "WORK": "", "SET": "", "OTHERS": "", "AGAIN": "", "WAL_LIST": "", "WHAT": "", "BIN": "",
    }  # fmt: skip
    return run_on("pgbackrest", host, {**known, **given}, timeout_s=timeout_s)


def wait_for(what: str, look: Callable[[], Job], host: str) -> Job:
    """Wait for the end of a job. A host that does not answer for a moment is asked again: the job goes on without us.

    Raises:
        TimedOut: It was broken off, or does not end.
        TryAgain: The host does not answer any more.
    """
    deadline, silent_since, told = time.monotonic() + JOB_TIME_LIMIT_S, 0.0, time.monotonic()
    while time.monotonic() < deadline:
        try:
            job = look()
            silent_since = 0.0
        except TryAgain:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _PATIENCE_S:
                raise
            time.sleep(1.0)
            continue
        if not job.running and job.code is not None:
            return job
        if not job.running:
            raise TimedOut(f"{what} was broken off on {host}", "did the host go down? resume the run: it begins again")
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            world().say(f"{what}: {job.bytes >> 20} MiB")
        time.sleep(_LOOK_EVERY_S)
    raise TimedOut(f"{what} did not end on {host}", "it goes on there; resume the run later")


def job_of(done: Completed) -> Job:
    """The job that a host tells of."""
    facts = done.facts()
    bad = [line.removeprefix("bad=").split("\t") for line in done.out.splitlines() if line.startswith("bad=")]
    code = facts.get("rc", "")
    return Job(
        running="running" in facts, code=int(code) if code else None,
        said=base64.b64decode(facts.get("said", "")).decode(errors="replace"), holds=facts.get("holds", ""),
        bytes=int(facts.get("bytes") or 0), files=int(facts.get("files") or 0),
        bad=tuple((int(one[0]), one[1], one[2]) for one in bad if len(one) == 3 and one[0].isdigit()),
    )  # fmt: skip
