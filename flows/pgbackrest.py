"""Backup and restore by pgBackRest: each of its repositories is a site.

    backup:   ask the repositories → have one after the other take a set → have them read it → judge
    restore:  ask the repositories → choose → room → restore a set beside, else the next → its WAL, proven → recover, isolated
              → came it to its end? → prove

From the data in its place on, a restore is the same code as that of the built-in engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from flows.destinations import choose_destinations, judge_taken
from flows.drilling import Asked, Chosen
from flows.engine import Brought
from flows.fence import note_summary
from flows.proving import prove_restored
from flows.repositories import Offer, Offers, choose_offers, wal_of
from flows.repository_drill import choose_drill, what_was_brought
from flows.restore import restore_host
from recoverd.backup.repository_faults import Fault
from recoverd.backup.stretch import Needed
from recoverd.backup.target import Kind, parse_target
from recoverd.backup.wal import Segment
from recoverd.drills import Drill
from recoverd.errors import Look, RecoverdError, Refused, Stale, Unproven, Unsafe
from recoverd.journal import Entry
from recoverd.world import world
from tasks.holdings import Holdings
from tasks.pgbackrest import Away, RepoView, look_at_repositories, settings_of
from tasks.pgbackrest_holdings import holdings, see_holdings
from tasks.pgbackrest_restoring import (
    bring_set,
    bring_wal,
    give_up,
    given_up,
    note_bad,
    observe_end,
    observe_space,
    remove_restored,
    stop_scratch,
)
from tasks.pgbackrest_taking import forget_take, take
from tasks.restoring import work_dir
from tasks.scratch import recover, see_it_run
from tasks.views import lsn_to_int, lsn_to_text

_ENDED_EARLY = "recovery ended before configured recovery target"
OPTIONS = ("set", "site", "host", "to")


class PgBackRestEngine:
    """The engine `pgbackrest`."""

    name = "pgbackrest"

    def survey(self, service: str, *, read: bool) -> Holdings:
        """Ask all repositories; with `read`, each reads and hashes all that it holds."""
        return holdings(service, look_at_repositories(service, verify=read))

    def back_up(self, service: str) -> str:
        """Have each repository that answers take a set, one after the other: pgBackRest locks the stanza."""
        here, wanted = world(), settings_of(service)
        seen = see_holdings(service, look_at_repositories(service))
        plan = choose_destinations(service, seen)
        if plan.refusal:
            raise Refused(f"{service} is not backed up: {plan.refusal}", "see `recoverd sites`, and `pgbackrest check`")
        taken, failed = take_everywhere(service, plan.sites)
        if here.dry_run:
            return f"would have pgBackRest back {service} up to {', '.join(plan.sites)}"
        after = see_holdings(service, look_at_repositories(service, verify=wanted.read_back))
        judged = judge_taken(service, after, taken, failed)
        for site in taken:
            forget_take(service, site)
        if not judged.complete:
            raise Unproven(judged.summary, f"mend the sites, then `recoverd resume {here.run.id}`")
        note_summary(judged.summary)
        return judged.summary

    def restore(self, service: str) -> str:
        """Restore beside what is there, from the first repository that can, and prove it."""
        here, options = world(), world().run.options
        refuse_what_is_not_there(options)
        host = restore_host(service)
        target = parse_target(str(options.get("to") or Kind.LATEST.value), here.run.created_at)
        named = tuple(name for name in str(options.get("site") or "").split(",") if name)
        views = look_at_repositories(service)
        see_holdings(service, views)
        plan = choose_offers(service, views, target.text, str(options.get("set") or ""), named)
        if plan.refusal:
            raise Unsafe(
                f"{service} is not restored: {'; '.join([plan.refusal, *plan.passed_over])}",
                f"see what each site holds: `recoverd sites {service}`",
            )
        space = observe_space(service, host, max(one.size for one in plan.offers))
        if space.free_bytes < space.needed_bytes:
            raise Refused(f"there is no room: {space.summary}", "free space there, or name another host: --host …")
        return try_offers(service, host, plan, views)

    def choose_drill(self, service: str, host: str, past: Sequence[Drill], asked: Asked) -> Chosen:
        """A set at random, to the end of its WAL."""
        sites = [site.name for site in settings_of(service).sites]
        return choose_drill(service, world().run.id, look_at_repositories(service), sites, past, asked)

    def brought(self, service: str, entries: Sequence[Entry]) -> Brought:
        """By the set that stood there in the end."""
        return what_was_brought(entries)


def take_everywhere(service: str, sites: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """The new set of each site, and why others have none: one that fails does not keep the others from it.

    Raises:
        RecoverdError: No site has one; the error of the first.
    """
    taken: dict[str, str] = {}
    failed: dict[str, RecoverdError] = {}
    for site in sites:
        try:
            done = take(service, site)
            taken[site] = str(done.effect.data.get("set", ""))
        except Stale:
            raise
        except RecoverdError as error:
            world().say(f"{site} has no new set: {error.message}")
            failed[site] = error
    if not taken:
        raise next(iter(failed.values()))
    return taken, {site: error.message for site, error in failed.items()}


def refuse_what_is_not_there(options: dict[str, object]) -> None:
    """Raises Refused for what only the built-in engine can."""
    asked = [name for name, value in options.items() if name not in OPTIONS and (name, value) != ("into", "beside")]
    if asked:
        raise Refused(
            f"a restore by pgBackRest takes no `{asked[0]}`: it stands beside what is there",
            "take what is needed from the copy, or stop the service and use `pgbackrest restore` itself",
        )


def try_offers(service: str, host: str, plan: Offers, views: tuple[RepoView, ...]) -> str:
    """One offer after the other, until one stands there proven. A site that is damaged or down makes way for the next.

    Raises:
        Unsafe: None could be restored, or what came of it is not as it should be.
    """
    here = world()
    failures = list(plan.passed_over)
    read = tuple(view for view in views if view.site in plan.sites)
    down: set[str] = set()
    hopeless = given_up(service, host)
    for offer in plan.offers:
        if offer.site in down or (offer.site, offer.set) in hopeless:
            continue
        try:
            return carry_out(service, host, offer, plan.target, read, failures)
        except Away as error:
            if not error.fault.tries_another:
                raise
            failures.append(error.message)
            here.say(f"{offer.summary} cannot be had: {error.message}")
            if error.fault is Fault.DOWN:
                down.add(offer.site)
            else:
                note_bad(service, offer.set, {offer.site: [offer.set]})
            give_up(service, host, offer.site, offer.set)
    if not here.dry_run:
        remove_restored(service, host, plan.offers[0].site)
    raise Unsafe(
        f"{service} could be restored from no site: {'; '.join(failures)}",
        f"nothing was touched; mend a repository, then `recoverd resume {here.run.id}`",
    )


def carry_out(
    service: str, host: str, offer: Offer, target: str, views: tuple[RepoView, ...], failures: list[str]
) -> str:
    """Restore one offer. Raises Away when another may do better."""
    bring_set(service, host, offer.site, offer.set)
    lsn = come_to_target(service, host, offer, target, views)
    if world().dry_run:
        return f"would restore {offer.summary} on {host}, into {work_dir(service)}"
    proof = prove_restored(service, host, offer)
    if proof.failed:
        raise Unsafe(
            f"the restored data of {service} is not as it should be: {proof.summary}",
            f"it stands in {work_dir(service)} on {host}; another site may have it right: --site …",
        )
    summary = f"{offer.set} of {offer.site} was recovered to {target} ({lsn}) and proven: {proof.summary}"
    summary += f"; it stands on {host} in {work_dir(service)}"
    summary += f"; not used: {'; '.join(failures)}" if failures else ""
    note_summary(summary)
    return summary


def come_to_target(service: str, host: str, offer: Offer, target: str, views: tuple[RepoView, ...]) -> str:
    """Bring the WAL and recover; the position that was reached. WAL that came late to the archive is brought where it is missed."""
    for last in dict.fromkeys((offer.last, offer.furthest)):
        needed = needed_wal(offer, views, last)
        bring_wal(service, host, offer.site, last, needed, len(needed))
        try:
            recover(service, host, target, str(offer.timeline), "exact")
        except Look as error:
            if _ENDED_EARLY not in error.message:
                raise Away(f"{offer.summary}: {error.message}", error.hint, Fault.DAMAGED) from error
            if last == offer.furthest:
                raise Unsafe(
                    f"the WAL after {offer.set} ends before {target}, or nothing was committed after that",
                    "restore to the end of the WAL that there is: --to latest",
                ) from error
            stop_scratch(service, host, offer.site)
            continue
        if world().dry_run:
            return ""
        see_it_run(service, host)
        return refuse_an_early_end(service, host, offer, target, needed)
    raise AssertionError("an offer has a last segment")


def needed_wal(offer: Offer, views: tuple[RepoView, ...], last: str) -> tuple[Needed, ...]:
    """The WAL of an offer. Raises Away where the sites do not have it any more."""
    needed = wal_of(offer, views, last)
    if not needed:
        raise Away(f"the sites have {offer.set} with WAL up to {last} no more", "start it again", Fault.DAMAGED)
    return needed


def refuse_an_early_end(service: str, host: str, offer: Offer, target: str, needed: tuple[Needed, ...]) -> str:
    """PostgreSQL ends without a word where it finds no more WAL, so that the end is held against the last segment there is."""
    ended = observe_end(service, host, offer.site)
    reached, wanted = ended.reached, offer.stop_lsn
    if target != Kind.LATEST.value and not ended.stopped:
        raise Unsafe(
            f"the recovery of {offer.summary} ended at {reached}, and never came to {target}",
            "restore to the end of the WAL that there is: --to latest",
        )
    if target == Kind.LATEST.value:
        wanted = max(wanted, Segment.parse(needed[-1].name, offer.segment_bytes).start_lsn + 1)
    if (lsn_to_int(reached) or 0) < wanted:
        raise Unsafe(
            f"the recovery of {offer.summary} ended at {reached or 'nobody knows where'}, before {lsn_to_text(wanted)}",
            f"see {work_dir(service)}/server/log on {host}; take another site: --site …",
        )
    return reached
