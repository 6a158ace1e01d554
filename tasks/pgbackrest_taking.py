"""Taking a backup with pgBackRest, into one repository."""

from __future__ import annotations

import re

from recoverd.step import Effect, act
from recoverd.world import world
from tasks.pgbackrest import fault_of, repository, settings_of
from tasks.pgbackrest_jobs import JOB_TIME_LIMIT_S, Job, job_of, run_job, wait_for

_LABEL = re.compile(r"new backup label = (\S+)")


def take_dir(service: str, site: str) -> str:
    """Where the files of a backup's job are, on the host that takes it."""
    return f"/var/lib/recoverd/pgbackrest/{service}/{world().run.id}-{site}"


def _has_taken(service: str, site: str) -> Effect | None:
    job = _take_state(service, site)
    label = _LABEL.search(job.said)
    if job.running or job.code != 0 or label is None:
        return None
    return Effect(f"{site} has the new set {label[1]}", {"site": site, "set": label[1]})


@act(
    "have pgBackRest take a set to the site {site}",
    ask=_has_taken,
    irreversible="a set is let go by pgBackRest's own retention, or with `pgbackrest expire`",
    time_limit_s=JOB_TIME_LIMIT_S,
    retries=0,
)
def take(service: str, site: str) -> None:
    """Take a backup into one repository, on the host where that stands, and wait for it.

    Raises:
        Away: pgBackRest could not.
    """
    wanted, place = settings_of(service), repository(service, site)
    host, job = wanted.runner(place), take_dir(service, site)
    others = " ".join(str(one.repo) for one in wanted.sites if one.host not in (None, host))
    given = {
        "OTHERS": others,
        "JOB": job,
        "OS_USER": wanted.account_of(place),
        "SET": wanted.backup_type,
        "WHAT": "backup",
        "AGAIN": "1",
        "IO_S": "60",
    }
    run_job(service, host, place, "begin", given)
    ended = wait_for(f"{site}: the backup", lambda: _take_state(service, site), host)
    if ended.code != 0:
        raise fault_of(place, f"the backup on {host}", ended.code or 0, ended.said)


def forget_take(service: str, site: str) -> None:
    """Remove the files of a backup's job. May be repeated."""
    place = repository(service, site)
    host = settings_of(service).runner(place)
    run_job(service, host, place, "clean", {"JOB": take_dir(service, site)})


def _take_state(service: str, site: str) -> Job:
    place = repository(service, site)
    return job_of(
        run_job(service, settings_of(service).runner(place), place, "state", {"JOB": take_dir(service, site)})
    )
