"""Decisions about backups: where to take one, whether it is complete, which old ones may go. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from recoverd.backup import keys
from recoverd.backup.compare import Health
from recoverd.inventory import Backup, HostSite, Retention
from recoverd.step import decide
from tasks.sets import Survey
from tasks.views import Answer, Facts, ServiceView

ENOUGH_SITES = 2
"""A backup is complete when so many sites hold it whole; until all do, it is degraded."""


class Source(Facts):
    """Where a set is taken from, what it is called, and where it goes.

    Attributes:
        host: Empty where it cannot be taken.
        sites: The sites that answer, in the order of the inventory.
        away: Those that do not, with the reason.
    """

    host: str
    set: str
    sites: tuple[str, ...]
    away: tuple[str, ...] = ()
    reason: str = ""
    refusal: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refusal:
            return f"no backup: {self.refusal}"
        rest = f"; not reached: {'; '.join(self.away)}" if self.away else ""
        return f"{self.set} from {self.host} ({self.reason}) to {', '.join(self.sites)}{rest}"


@decide("choose where the backup of {service} is taken")
def choose_source(service: str, view: ServiceView, survey: Survey, backup: Backup, set_name: str) -> Source:
    """The answer is kept when the run is resumed."""
    return pick_source(view, survey, backup, set_name)


def pick_source(view: ServiceView, survey: Survey, backup: Backup, set_name: str) -> Source:
    """A standby that holds a site itself costs users nothing and the network least; then that of the primary; then any."""
    reached = tuple(site.site for site in survey.sites if site.reached and not site.quarantined)
    away = tuple(
        f"{site.site} ({site.problem or 'in quarantine'})" for site in survey.sites if site.site not in reached
    )
    ready = {
        server.host: server
        for server in view.servers
        if server.answer is Answer.YES
        and view.host(server.host).answer is Answer.YES
        and (not server.in_recovery or (server.receiver is not None and server.receiver.status == "streaming"))
    }
    refusal = ""
    if len(view.primaries) != 1:
        refusal = f"there are {len(view.primaries)} primaries, so nobody knows whose data it would be"
    elif len(reached) < ENOUGH_SITES:
        refusal = f"{len(reached)} sites can be reached, and a backup needs {ENOUGH_SITES}: {'; '.join(away)}"
    if refusal or not ready:
        return Source(host="", set=set_name, sites=reached, away=away, refusal=refusal or "no server can be asked")
    holders = {site.host for site in backup.sites if isinstance(site, HostSite) and site.name in reached}

    def worth(host: str) -> tuple[bool, bool]:
        return host in holders, ready[host].in_recovery

    host = max(ready, key=worth)
    kind = "a standby" if ready[host].in_recovery else "the primary"
    return Source(
        host=host, set=set_name, sites=reached, away=away,
        reason=f"{kind}{', which holds a site itself' if host in holders else ''}",
    )  # fmt: skip


@decide("choose where the files of {host} go")
def choose_sites(archive: str, host: str, survey: Survey, set_name: str) -> Source:
    """Files are read where they are; every site that answers and is not in quarantine gets them. The answer is kept."""
    reached = tuple(site.site for site in survey.sites if site.reached and not site.quarantined)
    away = tuple(
        f"{site.site} ({site.problem or 'in quarantine'})" for site in survey.sites if site.site not in reached
    )
    enough = len(reached) >= ENOUGH_SITES
    refusal = (
        "" if enough else f"{len(reached)} sites can be reached, and a backup needs {ENOUGH_SITES}: {'; '.join(away)}"
    )
    return Source(
        host=host if enough else "", set=set_name, sites=reached, away=away, reason="its own files", refusal=refusal
    )


class Unread(Facts):
    """What a set of files does not have, or not as of one moment.

    Attributes:
        missing: Paths that were not there.
        changed: What tar said of files that changed or went while they were read.
    """

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline; empty where there is nothing to say."""
        words = [f"NOT THERE: {', '.join(self.missing)}, so that no older set was let go"] if self.missing else []
        if self.changed:
            words.append(f"changed while they were read: {len(self.changed)} files, such as {self.changed[0]}")
        return "; ".join(words)


class Spread(Facts):
    """On which sites a backup is whole, and on which it is not."""

    whole: tuple[str, ...]
    lacking: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether it counts as a backup at all."""
        return len(self.whole) >= ENOUGH_SITES

    @property
    def word(self) -> str:
        """What it is, in a word."""
        return "complete" if self.complete and not self.lacking else "degraded" if self.complete else "NOT A BACKUP"

    @property
    def rest(self) -> str:
        """Who lacks it, to be said at the end; empty where nobody does."""
        return f"; lacking: {', '.join(self.lacking)}" if self.lacking else ""


class Completeness(Spread):
    """How good a set is, over all sites."""

    set: str
    size: int

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"{self.set} is {self.word}: {self.size} bytes, whole on {', '.join(self.whole) or 'no site'}{self.rest}"


@decide("judge the backup set {set_name}")
def judge_backup(set_name: str, survey: Survey) -> Completeness:
    """By what was read back from the sites; the answer is kept when the run is resumed."""
    return weigh(set_name, survey)


def weigh(set_name: str, survey: Survey) -> Completeness:
    """Only a set that was read counts: a listing proves nothing."""
    whole = [site.site for site in survey.sites if survey.health(site.site, set_name) is Health.GOOD]
    lacking = [
        f"{site.site} ({survey.health(site.site, set_name).value})" for site in survey.sites if site.site not in whole
    ]
    size = next((one.size for one in survey.manifests if one.set == set_name), 0)
    return Completeness(set=set_name, whole=tuple(whole), lacking=tuple(lacking), size=size)


def expired(site: str, survey: Survey, retention: Retention, now: datetime) -> tuple[str, ...]:
    """Sets that a site need not keep any more, the oldest first.

    Kept are the newest `sets` that are whole on that site, whatever is younger than `days`, and everything while no set is
    whole there: a set that is not whole counts for nothing, and goes with its age.
    """
    view = next(one for one in survey.sites if one.site == site)
    whole = [one.set for one in view.sets if one.health in {Health.GOOD, Health.LISTED}]
    if not whole:
        return ()
    keep = set(sorted(whole)[-retention.sets :])
    oldest_kept = min(keep)
    young = now - timedelta(days=retention.days)
    return tuple(
        one.set
        for one in view.sets
        if one.set not in keep
        and one.set < oldest_kept
        and one.health is not Health.ABSENT
        and (not retention.days or keys.begun_at(one.set) < young)
    )
