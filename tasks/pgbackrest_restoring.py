"""Restoring with pgBackRest: a set into a directory of the run's own, and the WAL after it, each segment proven."""

from __future__ import annotations

from recoverd.backup.repository_faults import Fault
from recoverd.backup.stretch import Needed
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.pgbackrest import Away, fault_of, probe, repository, settings_of
from tasks.pgbackrest_jobs import JOB_TIME_LIMIT_S, Job, job_of, run_job, wait_for
from tasks.restoring import data_dir, server_of, work_dir
from tasks.views import Facts

_SPARE_BYTES = 256 << 20


class Space(Facts):
    """Free space for a restore."""

    host: str
    free_bytes: int
    needed_bytes: int

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.host} has {self.free_bytes >> 20} MiB free, and {self.needed_bytes >> 20} are needed"


@observe("look for room on {host}")
def observe_space(service: str, host: str, size: int) -> Space:
    """Free bytes where the restore will stand, and what it takes with some to spare."""
    facts = run_job(service, host, settings_of(service).sites[0], "room", _given(service, host, "", "")).facts()
    return Space(host=host, free_bytes=int(facts["free_kb"]) * 1024, needed_bytes=size + size // 10 + _SPARE_BYTES)


def _this_work(service: str, host: str, site: str, set_name: str) -> dict[str, str]:
    return {"work": work_dir(service)}


def _is_brought(service: str, host: str, site: str, set_name: str) -> Effect | None:
    job = _restore_state(service, host, site, set_name)
    if job.running or job.code != 0 or job.holds != f"{repository(service, site).repo} {set_name}":
        return None
    return Effect(
        f"{set_name} of {site} stands in {data_dir(service)} on {host}, every file verified",
        {"site": site, "set": set_name, "bytes": job.bytes},
    )


@act(
    "have pgBackRest restore {set_name} from the site {site} on {host}, beside what is there",
    ask=_is_brought,
    undo="tasks.pgbackrest_restoring:clean_restored",
    remember=_this_work,
    time_limit_s=JOB_TIME_LIMIT_S,
    retries=0,
)
def bring_set(service: str, host: str, site: str, set_name: str) -> None:
    """Restore a set into this run's own directory. What an earlier attempt left there is used, or removed.

    Raises:
        Away: The repository is damaged or down, or pgBackRest could not; what it left is partial.
    """
    place = repository(service, site)
    probe(service, place, host)
    given = _given(service, host, "restore", f"{site}-{set_name}")
    run_job(service, host, place, "begin", {**given, "WHAT": "restore", "SET": set_name})
    ended = wait_for(f"{site}: {set_name}", lambda: _restore_state(service, host, site, set_name), host)
    if ended.code == 0:
        return
    fault = fault_of(place, f"restoring {set_name} on {host}", ended.code or 0, ended.said)
    if fault.fault is Fault.UNCLEAR:  # it says so of a set that is not there, and of a site that does not answer
        probe(service, place, host)
    raise fault


def _restore_state(service: str, host: str, site: str, set_name: str) -> Job:
    given = _given(service, host, "restore", f"{site}-{set_name}")
    return job_of(run_job(service, host, repository(service, site), "state", given))


def _has_wal(service: str, host: str, site: str, last: str, needed: tuple[Needed, ...], files: int) -> Effect | None:
    job = _wal_state(service, host, site, last)
    if job.running or job.code != 0 or job.files < files:
        return None
    return Effect(f"{files} files of WAL up to {last} are on {host}, each verified", {"files": files, "last": last})


@act("have the WAL up to {last} on {host}", ask=_has_wal, time_limit_s=JOB_TIME_LIMIT_S, retries=0)
def bring_wal(service: str, host: str, site: str, last: str, needed: tuple[Needed, ...], files: int) -> None:
    """Have pgBackRest hand out the segments, each from the first repository that has it right.

    Args:
        service: The service.
        host: Where to.
        site: The site that the set came from.
        last: The last segment.
        needed: Segments, and histories with an empty hash.
        files: How many there are.

    Raises:
        Away: No repository gives one of them as it was archived.
    """
    numbers = {one.name: str(one.repo) for one in settings_of(service).sites}
    lines = [f"{one.name} {one.sha1 or '-'} {','.join(numbers[name] for name in one.sites)}" for one in needed]
    place, given = repository(service, site), _given(service, host, "wal", f"{site}-{last}")
    run_job(service, host, place, "begin", {**given, "WHAT": "wal", "WAL_LIST": "\n".join(lines)})
    ended = wait_for(f"WAL up to {last}", lambda: _wal_state(service, host, site, last), host)
    _note_bad_wal(service, ended)
    if ended.code != 0:
        raise Away(
            f"WAL is not whole on any site that is left: {_last_line(ended.said)}",
            "restore to a moment before it: `recoverd sites` says how far each set leads", Fault.DAMAGED,
        )  # fmt: skip


def _note_bad_wal(service: str, job: Job) -> None:
    names = {one.repo: one.name for one in settings_of(service).sites}
    found: dict[str, list[str]] = {}
    for repo, segment, reason in job.bad:
        world().say(f"{names.get(repo, repo)} does not give {segment}: {reason}")
        found.setdefault(names.get(repo, str(repo)), []).append(segment)
    note_bad(service, "wal", found)


def note_bad(service: str, set_name: str, bad: dict[str, list[str]]) -> None:
    """Keep in the journal what of which site is damaged, as a restore by the built-in engine does."""
    here = world()
    if here.journal is not None and not here.dry_run and bad:
        body = {"service": service, "set": set_name, "bad": {site: sorted(set(names)) for site, names in bad.items()}}
        here.journal.append("site.bad", who="recoverd", run=here.run.id, body=body)


def _wal_state(service: str, host: str, site: str, last: str) -> Job:
    return job_of(
        run_job(service, host, repository(service, site), "state", _given(service, host, "wal", f"{site}-{last}"))
    )


def stop_scratch(service: str, host: str, site: str) -> None:
    """Between two attempts: end the scratch server of the first, and remove its files. May be repeated."""
    run_job(service, host, repository(service, site), "wipe", _given(service, host, "wipe", ""), timeout_s=150.0)


def give_up(service: str, host: str, site: str, set_name: str) -> None:
    """The same, and note on the host that this set is not tried again in this run: the next one overwrites its data."""
    place, given = repository(service, site), _given(service, host, "wipe", "")
    run_job(service, host, place, "wipe", {**given, "SET": f"{place.repo} {set_name}"}, timeout_s=150.0)


def given_up(service: str, host: str) -> frozenset[tuple[str, str]]:
    """Site and set of what was given up in this run, also before it was resumed."""
    places = {str(one.repo): one.name for one in settings_of(service).sites}
    out = run_job(service, host, settings_of(service).sites[0], "room", _given(service, host, "", "")).out
    words = [line.removeprefix("given_up=").split() for line in out.splitlines() if line.startswith("given_up=")]
    return frozenset((places[one[0]], one[1]) for one in words if len(one) == 2 and one[0] in places)


@observe("see how far the recovery on {host} came")
def observe_end(service: str, host: str, site: str) -> Ended:
    """The position up to which WAL was replayed, from the history of the timeline that the recovery began."""
    facts = run_job(service, host, repository(service, site), "ended", _given(service, host, "wipe", "")).facts()
    return Ended(reached=facts.get("reached", ""), stopped=facts.get("stopped", ""))


class Ended(Facts):
    """Where a recovery ended.

    Attributes:
        reached: A WAL position; empty where nobody can tell.
        stopped: What PostgreSQL says of the target that it stopped at; empty where it just found no more WAL.
    """

    reached: str
    stopped: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.reached or 'nobody can tell'}, {self.stopped or 'at the end of the WAL'}"


def _is_clean(service: str, host: str, site: str, set_name: str, remembered: dict[str, str]) -> Effect | None:
    given = {**_given(service, host, "", ""), "WORK": remembered["work"]}
    found = run_job(service, host, repository(service, site), "state", given).facts()
    return Effect(f"nothing is left of the restore on {host}") if "gone" in found else None


@act("remove the restored copy on {host}", ask=_is_clean, time_limit_s=600.0)
def clean_restored(service: str, host: str, site: str, set_name: str, remembered: dict[str, str]) -> None:
    """Undo a restore beside: end its jobs and the scratch server, and remove its directory. Nothing else is touched."""
    remove_restored(service, host, site, remembered["work"])


def remove_restored(service: str, host: str, site: str, work: str = "") -> None:
    """Remove all that a restore made; none: of this run. May be repeated."""
    work, place = work or work_dir(service), repository(service, site)
    given = {**_given(service, host, "", ""), "WORK": work, "PGDATA": f"{work}/data", "JOB": f"{work}/jobs"}
    run_job(service, host, place, "wipe", given, timeout_s=150.0)
    run_job(service, host, place, "clean", given, timeout_s=300.0)


def _given(service: str, host: str, what: str, name: str) -> dict[str, str]:
    """The place of this run's restore, and of one of its jobs."""
    server, work = server_of(service, host), work_dir(service)
    return {
        "WORK": work, "JOB": f"{work}/jobs/{what}-{name}", "PGDATA": data_dir(service), "OS_USER": server.os_user,
        "BIN": server.bin_dir,
    }  # fmt: skip


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]
