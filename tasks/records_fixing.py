"""Bringing a fix about: transaction after transaction, gently, over failovers and kills, to the end or to a sentence that says why not."""

from __future__ import annotations

import time

import tenacity

from recoverd.connections import Sql
from recoverd.errors import Look, RecoverdError, Refused, Stale, Tampered, TryAgain
from recoverd.inventory import DataRules
from recoverd.records.names import qualified
from recoverd.records.plan import Manifest
from recoverd.step import Effect, act
from recoverd.words import counted
from recoverd.world import world
from tasks.records_batches import Progress, apply_batch, progress
from tasks.records_drafts import digest
from tasks.records_kept import Kept, find_plan
from tasks.records_pacing import Pace, await_standbys
from tasks.records_session import IN_THE_WAY, READ_ONLY, await_primary, server_words, sqlstate, transaction
from tasks.records_tables import look_at_table

TIME_LIMIT_S = 7 * 24 * 3600.0
MOST_BREAKS = 20
"""In a row, without a transaction in between that came through."""
_TAKE = """
update recoverd.fixes set state = 'applying', run = %s, epoch = %s where name = %s and state <> 'done' and epoch <= %s
    and (run is null or run = %s) returning name
"""
_DONE = "update recoverd.fixes set state = 'done', done_at = clock_timestamp() where name = %s and run = %s and epoch <= %s returning name"


def _is_applied(service: str, plan: str) -> Effect | None:
    kept = find_plan(service, digits=plan)
    if kept is None or kept.state != "done":
        return None
    if kept.run != world().run.id:
        raise Refused(f"plan {plan[:12]} was applied by run {kept.run} already", f"recoverd show {kept.run}")
    session = await_primary(service, kept.manifest.system, kept.manifest.database)
    done = progress(session, kept.manifest.name)
    return Effect(
        _said(kept.manifest, done), {"applied": done.applied, "conflicts": done.conflicts, "batches": done.batches}
    )


@act("apply plan {plan} to the data of {service}", ask=_is_applied, time_limit_s=TIME_LIMIT_S, retries=0)
def apply_fix(service: str, plan: str) -> None:
    """Change every row of an approved plan that still is as it was when the plan was made.

    Raises:
        Refused: The plan is for another database, or was made for another table than there is now.
        Tampered: The plan is not the approved one any more.
        Look: It came to a stop; what was done stays, and `recoverd resume` goes on.
    """
    kept = find_plan(service, digits=plan)
    if kept is None:
        raise Look(
            f"the plan {plan[:12]} is not there any more", "it was lost with a primary, or dropped: make a new one"
        )
    fix, rules = kept.manifest, world().inventory.data_of(service)
    session = await_primary(service, fix.system, fix.database)
    check_unchanged(session, kept, rules)
    _take(session, fix)
    try:
        _go_through(session, fix, rules)
        _finish(fix)
    except Refused as error:  # which says that nothing was changed; by now something may have been
        raise Look(error.message, error.hint) from error


def check_unchanged(session: Sql, kept: Kept, rules: DataRules) -> None:
    """Raise Tampered where rows of a plan are not those that were approved, Stale where the table is another one by now."""
    fix, limit = kept.manifest, float(rules.plan_timeout_s)
    table = look_at_table(session, qualified(fix.schema_name, fix.table))
    if table.key != fix.key or table.types((*fix.key, *fix.columns)) != fix.types:
        raise Stale(f"{fix.schema_name}.{fix.table} has other columns than when the plan was made", "make a new plan")
    with transaction(session, "begin read only", timeout_s=limit):
        found = digest(session, fix.sql, limit)
    if found != fix.digest:
        raise Tampered(
            f"the rows of plan {kept.hash[:12]} are not those that it was made with",
            "somebody changed them: find out who, plan anew",
        )


def _take(session: Sql, fix: Manifest) -> None:
    here = world()
    arguments = (here.run.id, here.epoch, fix.name, here.epoch, here.run.id)
    if not session.rows(_TAKE, arguments, timeout_s=30.0):
        raise Stale(f"another run has the fix {fix.name}, or has had it since", "recoverd runs; then recoverd show RUN")


def _go_through(session: Sql, fix: Manifest, rules: DataRules) -> None:
    """All stretches that are not done yet. Which those are, only the database knows: it is asked after every break."""
    here = world()
    service, pace, done = fix.service, Pace(fix.batch_rows, rules.pause_ms / 1000), progress(session, fix.name)
    last, breaks, broken = int(session.value(f"select coalesce(max(_n), 0) from {fix.sql}", timeout_s=30.0)), 0, False
    while done.hi < last:
        here.check_leases()
        began = time.monotonic()
        try:
            if broken:
                session = _after_break(service, fix, done)
                done, broken = progress(session, fix.name), False
                continue
            await_standbys(session, rules)
            _batch(session, fix, rules, done.hi, min(done.hi + pace.rows, last), pace)
            done, breaks = progress(session, fix.name), 0
        except TryAgain as error:
            breaks, broken = breaks + 1, True
            if breaks > MOST_BREAKS:
                raise
            here.say(f"the server went away ({error.message}); what was committed is asked for")
            continue
        here.say(
            f"{done.applied} of {fix.rows} rows changed, {done.conflicts} left to others, {time.monotonic() - began:.2f} s"
        )
        pace.rest(last - done.hi)


def _batch(session: Sql, fix: Manifest, rules: DataRules, lo: int, hi: int, pace: Pace) -> None:
    """One transaction, tried again while others are in the way. Raises TryAgain where the server went away."""
    here = world()
    trying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(rules.most_attempts),
        wait=tenacity.wait_random_exponential(multiplier=0.05, max=2.0),
        retry=tenacity.retry_if_exception(lambda error: sqlstate(error) in IN_THE_WAY),
        reraise=True,
    )
    try:
        pace.heed(trying(apply_batch, session, fix, rules, lo, hi, here.run.id, here.epoch))
    except RecoverdError as error:
        code = sqlstate(error)
        if code in IN_THE_WAY:
            raise Look(
                f"rows {lo + 1} to {hi} of the plan were held by others {rules.most_attempts} times: {server_words(error)}",
                f"see who with pg_blocking_pids, then recoverd resume {here.run.id} --reason …",
            ) from error
        if code in READ_ONLY:
            raise TryAgain("the server takes no writes any more", "a failover goes on") from error
        raise


def _after_break(service: str, fix: Manifest, before: Progress) -> Sql:
    """The session with whoever is primary now, and what was lost with the old one: transactions that never reached it."""
    here = world()
    session = await_primary(service, fix.system, fix.database)
    if find_plan(service, digits=fix.hash) is None:
        raise Look(f"the plan {fix.hash[:12]} never reached the new primary", "nothing of it is there: make a new plan")
    _take(session, fix)
    now = progress(session, fix.name)
    if now.batches < before.batches and here.journal is not None:
        lost = before.batches - now.batches
        body = {
            "lost": lost,
            "from": now.hi,
            "to": before.hi,
            "why": "they never reached the new primary; they are done again",
        }
        here.journal.append("fix.lost", who="recoverd", run=here.run.id, body=body)
        here.say(
            f"{counted(lost, 'transaction')} never reached the new primary, and are done again: rows {now.hi + 1} to {before.hi}"
        )
    return session


def _finish(fix: Manifest) -> None:
    """Say that it is done, to whoever is primary by then."""
    here = world()
    again = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(5), retry=tenacity.retry_if_exception_type(TryAgain), reraise=True
    )
    arguments = (fix.name, here.run.id, here.epoch)
    if not again(lambda: await_primary(fix.service, fix.system, fix.database).rows(_DONE, arguments, timeout_s=30.0)):
        raise Stale(f"another run has the fix {fix.name}", "recoverd runs; then recoverd show RUN")


def _said(fix: Manifest, done: Progress) -> str:
    words = f"{counted(done.applied, 'row')} of {fix.schema_name}.{fix.table} changed in {counted(done.batches, 'transaction')}"
    return (
        f"{words}; {counted(done.conflicts, 'row')} changed or gone since the plan, left as they are"
        if done.conflicts
        else words
    )
