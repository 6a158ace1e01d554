"""Would the backup of a service come back? Pure rules over what was found (tasks/readiness_backups.py) and over its drills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from flows.drilling import Standing
from flows.finding import Finding, Level
from flows.predicting import duration
from recoverd.backup.compare import Health
from recoverd.backup.manifest import Manifest
from recoverd.drills import Drill
from recoverd.inventory import Backup, HostSite
from tasks.readiness_backups import BackupNeeds, KeeperNeeds
from tasks.sets import SiteView

CLOCK_WARNING_S = 0.5
CLOCK_PROBLEM_S = 60.0
"""The day and the hour of sets and of WAL come from these clocks; half a minute does no harm."""
_WHOLE = {Health.GOOD, Health.LISTED}


def judge_backup_needs(
    needs: BackupNeeds, backup: Backup, members: Sequence[str], now: datetime
) -> tuple[Finding, ...]:
    """All findings about the sites, the hosts and the keys.

    Args:
        needs: What was found.
        backup: Of the inventory.
        members: Hosts of the service: that they are reached, and their clocks, is told of elsewhere.
        now: The controller's clock.
    """
    return (*sites(needs, backup, now), *keys(needs, backup), *hosts(needs, members), *room(needs, backup))


def sites(needs: BackupNeeds, backup: Backup, now: datetime) -> Iterator[Finding]:
    """Each site answers, and its newest whole set is young enough."""
    seen = needs.survey
    anywhere = any(one.health in _WHOLE for site in seen.sites for one in site.sets)
    youngest_s = min(
        (age for site in seen.sites if (age := _age_s(site, seen.manifests, now)) is not None), default=None
    )
    for site in seen.sites:
        where = f"site {site.site}"
        if not site.reached:
            yield Finding("problem", "backups", where, site.problem, _way_hint(backup, site.site))
            continue
        if site.quarantined:
            hint = f"see what happened to it; then recoverd sites lift {seen.service} {site.site}"
            yield Finding("problem", "backups", where, f"it is in quarantine: {site.quarantined}", hint)
        age_s = _age_s(site, seen.manifests, now)
        if age_s is None:
            hint = f"recoverd run backup {seen.service} --reason …"
            level: Level = "warning" if anywhere else "problem"
            yield Finding(level, "backups", where, "it holds no set that is whole", hint)
        elif age_s > backup.max_age_s:
            level = "problem" if youngest_s is not None and youngest_s > backup.max_age_s else "warning"
            what = f"its newest whole set ends {duration(age_s)} ago; max_age_s is {duration(backup.max_age_s)}"
            hint = f"recoverd runs --procedure backup --target {seen.service}, and the line in schedules.yaml"
            yield Finding(level, "backups", where, what, hint)
        else:
            yield Finding("ok", "backups", where, f"its newest whole set ends {duration(age_s)} ago")
        bad = [one for one in site.sets if one.health not in {*_WHOLE, Health.ABSENT}]
        if bad:
            words = f"{bad[-1].set} is {bad[-1].health.value} there" + (f", and {len(bad) - 1} more" if bad[1:] else "")
            yield Finding("warning", "backups", where, words, f"recoverd sites verify {seen.service}")


def _age_s(site: SiteView, manifests: Sequence[Manifest], now: datetime) -> float | None:
    whole = {one.set for one in site.sets if one.health in _WHOLE}
    ends = [one.ended_at for one in manifests if one.set in whole]
    return (now - max(ends)).total_seconds() if ends else None


def _way_hint(backup: Backup, name: str) -> str:
    site = next(one for one in backup.sites if one.name == name)
    if isinstance(site, HostSite):
        return f"ssh {site.host}, and see that {site.path} is mounted and can be written"
    return f"see the bucket {site.bucket}: its address, its certificate, and what the credentials may do"


def keys(needs: BackupNeeds, backup: Backup) -> Iterator[Finding]:
    """The keys are there and fit each other."""
    for doubt in needs.doubts:
        yield Finding("problem", "backups", doubt.key, doubt.what, doubt.hint)
    if backup.signing_key is None:
        yield Finding(
            "warning", "backups", "signing_key", "no backup can be taken from this machine", "name it in backups.yaml"
        )
    if backup.identity is None:
        yield Finding(
            "warning", "backups", "identity", "nothing can be restored from this machine", "name it in backups.yaml"
        )
    if not needs.doubts and backup.identity is not None:
        yield Finding("ok", "backups", "keys", "what is signed is believed, and what is encrypted can be opened")


def hosts(needs: BackupNeeds, members: Sequence[str]) -> Iterator[Finding]:
    """The hosts that keep or rehearse the backup: reached, with the programs that it takes, and the right time."""
    versions = {one.server_version // 10_000 for one in needs.survey.manifests[-1:]}
    for host in needs.hosts:
        found = [*_state(host, versions, member=host.host in members)]
        if not found and not host.problem:
            found = [Finding("ok", "backups", host.host, "it has the programs that backups and restores take")]
        yield from found


def _state(host: KeeperNeeds, versions: set[int], *, member: bool) -> Iterator[Finding]:
    if host.problem:
        if not member:
            yield Finding("problem", "backups", host.host, host.problem, host.hint)
        return
    if host.missing_tools:
        what = f"{', '.join(host.missing_tools)} is missing"
        yield Finding(
            "problem", "backups", host.host, what, "apt-get install age zstd tar curl openssh-client util-linux"
        )
    if host.missing_programs:
        what = f"{', '.join(host.missing_programs)} of PostgreSQL is missing: no restore can be rehearsed there"
        yield Finding("problem", "backups", host.host, what, "install the server package of the same major version")
    elif host.version and versions and host.version not in versions:
        what = f"it has PostgreSQL {host.version}, and the newest set is of {max(versions)}"
        yield Finding("problem", "backups", host.host, what, "install the server package of that major version there")
    off_s = abs(host.clock_offset_s)
    if not member and off_s > CLOCK_WARNING_S:
        what = f"its clock is {off_s:.1f} s {'ahead of' if host.clock_offset_s > 0 else 'behind'} the controller's"
        level: Level = "problem" if off_s > CLOCK_PROBLEM_S else "warning"
        yield Finding(level, "backups", host.host, what, "run a time service (chrony, systemd-timesyncd) on both")


def room(needs: BackupNeeds, backup: Backup) -> Iterator[Finding]:
    """The newest set fits on the drill host."""
    found = needs.room
    if found is None:
        return
    if found.free_bytes < found.needed_bytes:
        hint = f"free space below {backup.restore.scratch_dir} there, or name another `restore.scratch_dir`"
        yield Finding("problem", "backups", found.host, f"no room for a restore: {found.summary}", hint)
    else:
        yield Finding("ok", "backups", found.host, f"there is room for a restore: {found.summary}")


def judge_wal(service: str, troubles: Mapping[str, str]) -> Iterator[Finding]:
    """WAL comes to the sites all the time, without a gap.

    Args:
        service: The service.
        troubles: What is wrong, as `flows.standing.troubles` names it.
    """
    for name, words in troubles.items():
        worse = name.split()[0] in {"hole", "forged"}
        hint = (
            f"recoverd sites heal {service}" if worse else f"recoverd wal {service}; `recoverd serve` keeps it coming"
        )
        yield Finding("problem" if worse else "warning", "backups", f"WAL {name}", words, hint)
    if not troubles:
        yield Finding("ok", "backups", "WAL", "it comes to all sites, and nothing of it is missing")


def judge_drills(standing: Standing, past: Sequence[Drill], backup: Backup, now: datetime) -> Iterator[Finding]:
    """Restores are rehearsed, often enough, and they work."""
    service = standing.service
    again = f"recoverd drill restore {service} --reason …"
    if backup.restore.drill_host is None:
        hint = "name a host with PostgreSQL's programs: `restore.drill_host` in backups.yaml"
        yield Finding("warning", "drills", service, "no restore is ever rehearsed: there is no drill host", hint)
        return
    counting = [one for one in past if one.counts]
    if counting and not counting[-1].passed:
        what = f"the last drill failed: {counting[-1].why}"
        yield Finding("problem", "drills", service, what, f"recoverd show {counting[-1].run}; mend it, then {again}")
    if standing.is_overdue(now):
        yield Finding("problem", "drills", service, f"its drill is overdue since {standing.overdue_at:%Y-%m-%d}", again)
    if standing.last_passed_at is None:
        if not counting:
            yield Finding("warning", "drills", service, "no restore has ever been rehearsed", again)
        return
    last = next(one for one in reversed(counting) if one.passed)
    for words in last.missed:
        yield Finding(
            "warning", "drills", service, f"in the last drill that passed {words}", "recoverd drills shows the trend"
        )
    if counting[-1].passed and not standing.is_overdue(now):
        age = duration((now - standing.last_passed_at).total_seconds())
        yield Finding("ok", "drills", service, f"the last drill passed {age} ago: {last.rto_s:.1f} s from {last.turn}")
