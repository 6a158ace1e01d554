"""Heal: each file of a backup that a site has bad or not at all is made good from a site that has it as it was signed.

    read every byte on all sites → judge, three ways → quarantine what was tampered with → choose files and sources
    → ways between hosts → copy, prove, put in place → read again → judge, lift the quarantine of what is clean

Only bytes that were just read and are what was signed are copied. What was bad is kept as evidence. It holds the lock of
backups: neither a backup nor another heal runs meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from prefect import flow

from flows.fence import note_summary
from flows.mending import HealPlan, Judgement, choose_mendings, judge_survey
from flows.ways import close_ways, open_ways
from recoverd.backup import keys
from recoverd.errors import Look, NotNow, RecoverdError, Stale, TryAgain, Unsafe
from recoverd.execution import execution
from recoverd.inventory import Inventory
from recoverd.journal import Journal
from recoverd.quarantine import judge, quarantined
from recoverd.world import world
from tasks.healing import Mending, mend, passage_of, set_aside, way
from tasks.passages import the_site
from tasks.reading_wal import GROUP as WAL
from tasks.reading_wal import read_wal
from tasks.sets import SiteView, Survey, read_sites

SCOPE = "backup"


@flow(name="heal", persist_result=False)
def heal(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Make the sites of a backup whole again.

    Args:
        target: Name of the service, or of the backup of files.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `site`: heal this one alone.
    """
    with execution("heal", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    return "; ".join([heal_archive(archive) for archive in world().inventory.archives_of(service)])


def heal_archive(service: str) -> str:
    """Heal what the sites hold of a service, or of the files of one host."""
    here, now = world(), datetime.now(timezone.utc)
    only = str(here.run.options.get("site") or "")
    if only:
        the_site(service, only)
    seen = read_sites(service)
    judged = judge_survey(seen, here.inventory.backup_of(service), now)
    _refuse_unless_reached(service, seen, only)
    _note(service, judged)
    plan = choose_mendings(service, seen, here.inventory.backup_of(service), now, only)
    if (plan.lost or judged.unsigned) and not plan.mendings and not plan.aside:
        raise Unsafe(f"nothing of {service} can be healed, and nothing was touched: {judged.summary}", _hint(judged))
    failed = _mend_all(service, plan)
    if here.dry_run:
        return f"would heal {service}: {plan.summary}"
    again = seen_again(service, seen, plan)
    judged = judge_survey(again, here.inventory.backup_of(service), now)
    _note(service, judged)
    return _ended(service, plan, judged, failed)


def note_verdicts(
    journal: Journal, inventory: Inventory, service: str, judged: Judgement, *, who: str, run: str | None = None
) -> None:
    """Write down how the sites stand: what was tampered with is quarantined, and an incident says so.

    Only a run lifts the quarantine of a site that is clean: a look on the side does not know what is going on there.
    """
    apart = {one.site for one in judged.quarantine}
    kept = quarantined(journal, service)
    for one in judged.verdicts:
        if one.verdict == "clean" and one.site in kept and run is None:
            continue
        verdict = "damaged" if one.verdict == "tampered" and one.site not in apart else one.verdict
        evidence = (one.summary, *one.evidence) if one.evidence else ()
        weight = inventory.criticality_of(service)
        judge(journal, service, one.site, verdict, evidence, run=run, who=who, criticality=weight)


def _note(service: str, judged: Judgement) -> None:
    here = world()
    if here.journal is not None and not here.dry_run:
        note_verdicts(here.journal, here.inventory, service, judged, who="recoverd", run=here.run.id)


def seen_again(service: str, before: Survey, plan: HealPlan) -> Survey:
    """What the sites hold now: what was healed is read once more, on every site."""
    groups = {one.group for one in plan.mendings}
    sites: dict[str, SiteView] = {site.site: site for site in before.sites}
    documents, manifests = dict(before.documents), {one.set: one for one in before.manifests}
    for name in sorted(groups - {WAL}):
        after = read_sites(service, name)
        documents |= after.documents
        manifests |= {one.set: one for one in after.manifests}
        for view in after.sites:
            old = [one for one in sites[view.site].sets if one.set != name]
            sets = tuple(sorted([*old, *view.sets], key=lambda one: one.set))
            sites[view.site] = view.model_copy(update={"sets": sets})
    for name, view in sites.items():
        gone = {key.rpartition("/")[2] for site, key in plan.aside if site == name}
        sites[name] = view.model_copy(update={"sets": tuple(one for one in view.sets if one.set not in gone)})
    index_aside = any(key.startswith(keys.archive_dir(service)) for _, key in plan.aside)
    wal = read_wal(service) if WAL in groups or index_aside else before.wal
    return before.model_copy(
        update={
            "sites": tuple(sites.values()), "documents": documents, "manifests": tuple(manifests.values()), "wal": wal,
        }
    )  # fmt: skip


def _refuse_unless_reached(service: str, seen: Survey, only: str) -> None:
    reached = [site.site for site in seen.sites if site.reached]
    if len(reached) < 2 or (only and only not in reached):
        missing = "; ".join(f"{site.site}: {site.problem}" for site in seen.sites if not site.reached)
        raise NotNow(f"{service} cannot be healed: {missing}", "mend the way to the site, then start it again")


def _mend_all(service: str, plan: HealPlan) -> list[RecoverdError]:
    """Every mending, whatever became of the others; the errors of those that failed."""
    failed: list[RecoverdError] = []
    ways: dict[str, set[str]] = {host: set() for host in _movers(service, plan.mendings)}
    for one in plan.mendings:
        for file in one.all:
            for source in () if file.version else file.sources:
                if (passage := passage_of(service, source, one.site)) is not None:
                    ways.setdefault(passage[0], set()).add(passage[1])
    for host, sites in ways.items():
        with suppress(TryAgain):  # what needed that way comes from another site, or is told as not healed
            open_ways(service, host, sorted(sites))
    for one in plan.mendings:
        try:
            mend(service, one.site, one.group, one)
        except Stale:
            raise
        except RecoverdError as error:
            failed.append(error)
    for site, key in plan.aside:
        set_aside(service, site, key)
    for host, sites in ways.items():
        close_ways(service, host, sorted(sites))
    return failed


def _movers(service: str, mendings: Iterable[Mending]) -> set[str]:
    return {
        way(service, source, one.site)[0]
        for one in mendings
        for file in one.all
        if not file.version
        for source in file.sources
    }


def _ended(service: str, plan: HealPlan, judged: Judgement, failed: list[RecoverdError]) -> str:
    count = sum(len(one.all) for one in plan.mendings)
    done = f"{count} files of {service} were healed" if count else f"nothing of {service} was to be healed"
    bad = [one for one in judged.verdicts if one.verdict != "clean"]
    only = str(world().run.options.get("site") or "")
    if failed or plan.left_out or any(one.site == only or not only for one in bad) or judged.unsigned:
        words = [error.message for error in failed] + list(plan.left_out)
        raise Look(f"{service} is not whole yet: {'; '.join([*words, judged.summary])}", _hint(judged))
    summary = f"{done}: {judged.summary}"
    note_summary(summary)
    return summary


def _hint(judged: Judgement) -> str:
    whole = [one.set for one in judged.remains if one.whole]
    if whole:
        return f"what is whole: {', '.join(whole[-3:])}: `recoverd run restore … --option set={whole[-1]}`"
    if judged.remains:
        return "no set is whole: take a new backup at once while the service lives"
    return "no manifest is believed: compare trusted_key in backups.yaml with the signing key before anything else"
