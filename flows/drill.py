"""Drill: the very restore that an emergency would use, into an isolated place on the drill host, measured and cleared away.

    clear what earlier drills left → choose turn and point → restore → alone? → read every table → note → clear away

It holds a lock of its own: neither a backup nor a real restore ever waits for a drill. Whatever happens in the middle, the
place is cleared; a drill that was killed clears it when it goes on, and the next one clears what nobody came back to.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from prefect import flow

from flows.drilling import Asked, Chosen
from flows.engine import engine_of
from flows.fence import note_summary
from flows.measuring import phase_seconds
from flows.undoing import note_taken_back
from recoverd.drills import PROCEDURE, Drill, drill_of, note_drill, past_drills
from recoverd.errors import RecoverdError, Refused, Stale, Unproven
from recoverd.execution import execution
from recoverd.inventory import DrillRules, Service
from recoverd.journal import Entry, Journal
from recoverd.raised import close_incident, raise_incident
from recoverd.timeline.phases import name_of
from recoverd.world import entered, world
from tasks.drilling import Counted, clear_away, prove_isolated, read_every_table
from tasks.holdings import Holdings

SCOPE = "drill"
MOST_LEFT_BEHIND = 20


@flow(name=PROCEDURE, persist_result=False)
def drill_restore(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Rehearse the restore of a service on its drill host.

    Args:
        target: Name of the service.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `site` (one, several with commas, or `mixed`; by rotation), `set`, `to` (`latest`, or as a restore takes it;
            a point at random).
    """
    with execution(PROCEDURE, target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    host = drill_host(service)
    for earlier in left_behind(service):
        clear_away(service, host, earlier)
    done = drill_of(here.journal, here.run.id) if here.journal else None
    with cleared(service, host):
        if done is None:
            done = rehearse(service, host)
    if here.dry_run:
        return f"would rehearse a restore of {service} on {host}"
    note_summary(done.summary)
    tell(done)
    if not done.passed:
        raise Unproven(
            done.summary, f"recoverd sites verify {service}; then: recoverd drill restore {service} --reason …"
        )
    return done.summary


def drill_host(service: str) -> str:
    """Where drills run. Raises Refused where there is no such host."""
    here = world()
    host = here.inventory.restore_rules_of(service).drill_host
    if host is None:
        raise Refused(f"{service} has no drill host", "name one: `restore.drill_host` in backups.yaml")
    return here.inventory.host(host).name


@contextmanager
def cleared(service: str, host: str) -> Iterator[None]:
    """Leave nothing of this run on the host, whatever becomes of the body: it is noted before, so that this can be repeated."""
    run = world().run.id
    try:
        yield
    except BaseException:
        with suppress(RecoverdError):  # the body's error is the one to tell; the next drill clears what stays
            clear_away.perform(service, host, run)  # bare: Prefect starts no task in a run that is being cancelled
        raise
    clear_away(service, host, run)
    note_taken_back("it was a drill: everything was cleared away")


def rehearse(service: str, host: str) -> Drill:
    """Restore, prove, count; what came of it is in the journal when this returns.

    Raises:
        Stale: This run has lost the drill to another.
    """
    here, engine, begun = world(), engine_of(service), datetime.now(timezone.utc)
    past = past_drills(here.journal or Journal.open(), service)
    asked = Asked(**{name: str(here.run.options.get(name) or "") for name in ("site", "set", "to")})
    chosen = engine.choose_drill(service, host, past, asked)
    why, counted, began, took = chosen.refusal, None, time.monotonic(), 0.0
    if not why:
        try:
            took = _restore(service, host, chosen)
            counted = None if here.dry_run else _look_closer(service, host)
        except Stale:
            raise
        except RecoverdError as error:
            took, why = took or time.monotonic() - began, error.message
    drill = account(service, host, chosen, begun, round(took, 3), why, counted)
    if here.journal is not None and not here.dry_run:
        gone = bool(why) and was_let_go(drill.set, chosen, engine.survey(service, read=False))
        note_drill(here.journal, drill.model_copy(update={"counts": not gone}))
    return drill


def _restore(service: str, host: str, chosen: Chosen) -> float:
    """The restore itself, as an emergency would run it; the seconds that it took."""
    here, began = world(), time.monotonic()
    options = {**chosen.options, "host": host}
    with entered(replace(here, run=replace(here.run, options=options))):
        engine_of(service).restore(service)
    return time.monotonic() - began


def _look_closer(service: str, host: str) -> Counted:
    """What a drill asks beyond the restore: was it alone, and can everything be read. Raises Unproven."""
    alone = prove_isolated(service, host)
    if alone.problems:
        raise Unproven(f"the scratch server is not isolated: {'; '.join(alone.problems)}")
    return read_every_table(service, host)


def account(
    service: str, host: str, chosen: Chosen, begun: datetime, took: float, why: str, counted: Counted | None
) -> Drill:
    """What the drill came to, by the run's own entries."""
    here = world()
    entries = list(here.journal.entries(run=here.run.id)) if here.journal else []
    since = next((entry.seq for entry in entries if name_of(entry) == "choose_drill"), 0)
    entries = [entry for entry in entries if entry.seq > since]
    brought, bad = engine_of(service).brought(service, entries), _bad(entries)
    wanted = _wanted(here.inventory.restore_rules_of(service).drill, here.service)
    lost = None if chosen.newest_at is None else max(0.0, round((begun - chosen.newest_at).total_seconds(), 1))
    return Drill(
        run=here.run.id, service=service, at=begun, host=host, turn=chosen.turn, set=brought.set or chosen.set,
        sites=brought.sites, point=brought.point or chosen.to, bytes=brought.bytes,
        seconds=phase_seconds(entries), rto_s=took, rpo_s=lost, rto_wanted_s=wanted[0], rpo_wanted_s=wanted[1],
        tables=counted.tables if counted else None, rows=counted.rows if counted else None, bad=bad,
        passed=not why, why=why, interrupted=any(entry.kind == "run.resumed" for entry in entries),
    )  # fmt: skip


def _wanted(rules: DrillRules, service: Service) -> tuple[float | None, float | None]:
    return (
        rules.rto_s or service.objectives.rto_s,
        service.objectives.rpo_s if rules.rpo_s is None else rules.rpo_s,
    )


def _bad(entries: list[Entry]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in entries:
        for site, names in (entry.body.get("bad") or {}).items() if entry.kind == "site.bad" else ():
            found.setdefault(site, []).extend(names)
    return found


def was_let_go(set_name: str, before: Chosen, after: Holdings) -> bool:
    """Whether a set that some site had is on none any more: the retention took it while the drill read it."""
    kept = {one.set for site in after.sites for one in site.sets}
    return set_name in before.held and set_name not in kept and all(site.reached for site in after.sites)


def left_behind(service: str) -> list[str]:
    """Drills that ended without having cleared their place away: killed and then cancelled, or their host did not answer."""
    here = world()
    if here.journal is None:
        return []
    rows = here.journal.list_runs(procedure=PROCEDURE, target=service, limit=MOST_LEFT_BEHIND)
    return [row.id for row in rows if row.ended and row.id != here.run.id and _has_left_something(here.journal, row.id)]


def _has_left_something(journal: Journal, run: str) -> bool:
    entries = list(journal.entries(run=run, kinds=["step.intended", "step.done"]))
    cleared_away = [
        entry.step or "" for entry in entries if entry.kind == "step.done" and name_of(entry) == "clear_away"
    ]
    return bool(entries) and not any(step.endswith(f",{run})") for step in cleared_away)


def tell(drill: Drill) -> None:
    """Raise an incident for a drill that failed; close those of the service where it passed."""
    here = world()
    if here.journal is None or not drill.counts:
        return
    with here.journal.transaction() as tx:
        if drill.passed:
            for subject in (failed_subject(drill.service), overdue_subject(drill.service)):
                close_incident(tx, subject, f"a drill passed: {drill.run}", run=drill.run)
        else:
            raise_incident(
                tx, failed_subject(drill.service), drill.service, drill.summary,
                f"its backup may not come back when it is needed: recoverd show {drill.run}",
                criticality=here.service.criticality, run=drill.run,
            )  # fmt: skip


def failed_subject(service: str) -> str:
    """What an incident about a failed drill is about."""
    return f"restore drill of {service} failed"


def overdue_subject(service: str) -> str:
    """What an incident about drills that did not come is about."""
    return f"restore drill of {service} overdue"
