"""Backup: a base backup of a service, or the files of hosts (flows/backup_files.py), byte-identical on all of its sites.

    observe servers and sites → choose the source → ways to the sites → stream, and ship each part while it is made
    → sign → read back → judge → let old sets go

It holds a lock of its own, not the service's: a failover never waits for a backup. Rule 2 of the house: nothing is let go
before the new set is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import Any

from prefect import flow

from flows.engine import other_engine
from flows.fence import note_summary
from flows.keeping import Completeness, Source, choose_source, expired, judge_backup
from flows.ways import close_ways, open_ways
from recoverd.backup import keys
from recoverd.backup.manifest import Manifest
from recoverd.errors import Invalid, RecoverdError, Refused, Stale, TryAgain, Unproven
from recoverd.execution import execution
from recoverd.step import decide, observe
from recoverd.world import world
from tasks.observation import observe_service
from tasks.sets import Survey, let_go, seal, survey, survey_sites
from tasks.taking import begin_stream, drop_staged, manifest_of, ship
from tasks.together import together

SCOPE = "backup"


@flow(name="backup", persist_result=False)
def backup(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Take a base backup of a service, or the files of hosts, and bring it to all of its sites.

    Args:
        target: Name of the service, or of the backup of files.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `host`: of a backup of files, take this host alone.
    """
    with execution("backup", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    if (other := other_engine(service)) is not None:
        return other.back_up(service)
    here = world()
    if service in here.inventory.files:
        from flows.backup_files import back_up_hosts

        return back_up_hosts(service)
    if here.run.options.get("host"):
        raise Invalid("the host of a base backup is chosen by itself", "leave --host out")
    wanted = here.inventory.backup_of(service)
    refuse_without_key(service)
    view, seen = observe_service(service), survey_sites(service)
    made = keys.set_id(here.run.created_at, here.run.id)
    source = choose_source(service, view, seen, wanted, made)
    if source.refusal:
        raise Refused(f"{service} is not backed up: {source.refusal}", "see `recoverd sites` and `recoverd check`")
    judged = make_set(service, source)
    if judged is None:
        return f"would back {service} up from {source.host} to {', '.join(source.sites)}"
    note_summary(judged.summary)
    return judged.summary


def refuse_without_key(service: str) -> None:
    """Nothing is taken that could not be signed. Raises Refused."""
    if world().inventory.backup_of(service).signing_key is None:
        raise Refused(f"the backup of {service} has no signing key here", "name `signing_key` in backups.yaml")


def make_set(
    service: str, source: Source, and_tell: Callable[[str, str, str], object] | None = None
) -> Completeness | None:
    """Take a set and bring it to its sites, whatever it is of; None in a dry run.

    Args:
        service: The service, or the archive of files.
        source: Where it is taken and where it goes.
        and_tell: Asks the source what else there is to know of the set, before that is dropped.

    Raises:
        Unproven: Too few sites hold it whole.
    """
    here = world()
    reached = open_ways(service, source.host, source.sites)
    begin_stream(service, source.host, source.set)
    shipped = ship_to_all(service, source, reached)
    if here.dry_run:
        return None
    manifest = compose(service, source.host, source.set)
    if and_tell is not None:
        and_tell(service, source.host, source.set)
    seal_on(service, source.set, shipped, manifest)
    found = read_back(service, source.set)
    judged = judge_backup(source.set, found)
    close_ways(service, source.host, reached)
    if not judged.complete:
        raise Unproven(
            f"{judged.summary}", f"mend the sites, then `recoverd resume {here.run.id}`; nothing old was let go"
        )
    drop_staged(service, source.host, source.set)
    if not manifest.missing:  # what is not there any more may be in the older sets alone
        let_old_ones_go(service)
    return judged


def ship_to_all(service: str, source: Source, sites: Sequence[str]) -> tuple[str, ...]:
    """Ship to all sites at once; those that took everything. One that fails does not keep the others from it.

    Raises:
        RecoverdError: No site took everything; the error of the first.
    """
    here = world()

    def attempt(site: str) -> RecoverdError | None:
        try:
            ship(service, source.host, source.set, site)
        except Stale:
            raise
        except RecoverdError as error:
            here.say(f"{site} does not have {source.set} whole: {error.message}")
            return error
        return None

    calls: dict[str, Callable[[], RecoverdError | None]] = {site: partial(attempt, site) for site in sites}
    found = together(calls)
    done = tuple(site for site, error in found.items() if error is None)
    if not done:
        raise next(error for error in found.values() if error is not None)
    return done


def seal_on(service: str, set_name: str, sites: Sequence[str], manifest: Manifest) -> None:
    """Sign the set on each site. One that has gone away meanwhile makes the backup degraded, as the reading back will say."""
    for site in sites:
        try:
            seal(service, set_name, site, manifest)
        except TryAgain as error:
            world().say(f"{set_name} is not sealed on {site}: {error.message}")


@decide("settle what {set_name} consists of")
def compose(service: str, host: str, set_name: str) -> Manifest:
    """What is signed. The answer is kept, so that a run that goes on later signs the very same for every site."""
    return manifest_of(service, host, set_name)


@observe("read {set_name} back from every site", time_limit_s=6 * 3600.0)
def read_back(service: str, set_name: str) -> Survey:
    """Every byte, where it stands: what was sent is not what is there until somebody has read it."""
    return survey(service, read=True, only=set_name)


def let_old_ones_go(service: str) -> None:
    """Apply the retention of each site, now that the new set is proven."""
    wanted, seen = world().inventory.backup_of(service), survey_sites(service)
    for site in wanted.sites:
        view = next(one for one in seen.sites if one.site == site.name)
        if view.reached and not view.quarantined:  # what a quarantined site says is no reason to remove anything
            for old in expired(site.name, seen, site.retention or wanted.retention, datetime.now(timezone.utc)):
                let_go(service, old, site.name)
