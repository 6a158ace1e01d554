"""Fix-record: records that are wrong are mended as an approved plan says, row by row; what anybody wrote since stays as it is.

    plan → another person's approval of its hash → transactions → account

The plan is a table in the database itself, with the old and the new value of every row: what is approved, what is applied, what is
compared, and what an undo goes by. An undo is a second fix: options `undo`.
"""

from __future__ import annotations

import secrets
from typing import Any

from prefect import flow

from flows.fence import note_summary
from recoverd import person
from recoverd.errors import Invalid, Refused, Stale
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.journal import Journal, RunRow
from recoverd.records.wish import Wish
from recoverd.step import Outcome
from recoverd.words import counted
from recoverd.world import PlannedStep, world
from tasks.records_drafts import sample
from tasks.records_fixing import apply_fix
from tasks.records_kept import Kept, find_plan
from tasks.records_plans import make_plan
from tasks.records_preparing import look_at_conflicts, look_for_plan, prepare_fix, wish_of_run
from tasks.records_session import primary_session

SCOPE = "data"
MENDING = ("fix-record", "takedown")
"""Procedures whose runs are taken back by a second fix."""
SHOWN_ROWS = 20
NOTED = "fix.done"


@flow(name="fix-record", persist_result=False)
def fix_record(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Mend data records of a service.

    Args:
        target: Name of the service; data.yaml says where its records are.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `plan`: the hash of a plan; or what a plan is made from: `table`, `set`, `where`; `table`, `from_csv`,
            `encoding`; `rule`; `undo`: the run to take back. With these `expect_rows`, `strict`, `batch_rows`.
    """
    with execution("fix-record", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through: that makes the plan, and changes no record."""
    return mend(service)[0]


def mend(service: str) -> tuple[str, int]:
    """Plan, approval, transactions, account, for any procedure that changes rows; a sentence, and how many rows changed."""
    here, wish = world(), wish_of_run()
    earlier = _earlier(service, wish.undo) if wish.undo else None
    kept = _plan(service, wish)
    if kept.manifest.service != service:
        raise Invalid(
            f"plan {kept.hash[:12]} is for {kept.manifest.service}",
            f"recoverd run fix-record {kept.manifest.service} …",
        )
    if here.dry_run:
        _show(service, kept)
    gate("fix", kept.manifest.model_dump(mode="json"), kept.manifest.summary)
    outcome = apply_fix(service, kept.hash)
    return ("", 0) if here.dry_run else (_close(service, kept, outcome, earlier), int(outcome["applied"]))


def _plan(service: str, wish: Wish) -> Kept:
    """The plan that was named, or one that is made now; a run that goes on has the one that it made."""
    here = world()
    if wish.plan:
        found = look_for_plan(service, wish.plan)
        if found is None:
            raise Invalid(
                f"no plan of {service} begins with {wish.plan}", f"make one: recoverd plan fix-record {service} …"
            )
        if found.state != "planned" and found.run != here.run.id:
            raise Refused(f"plan {found.hash[:12]} was taken by run {found.run}", f"recoverd show {found.run}")
        return found
    if here.dry_run:
        return make_plan(service, wish, f"plan:{secrets.token_hex(8)}", person.current(here.inventory).name)
    prepared = prepare_fix(service)
    kept = find_plan(service, digits=str(prepared["hash"]))
    if kept is None:
        raise Stale(f"the plan {prepared['hash'][:12]} is not there any more", "start a new run: it makes a new one")
    return kept


def _earlier(service: str, run: str) -> RunRow:
    """The run whose fix is to be taken back."""
    journal = world().journal or Journal.open()
    row = journal.get_run(run)
    if row.procedure not in MENDING or row.target != service:
        raise Invalid(
            f"run {row.id} is {row.procedure} of {row.target}", f"name a run of {' or '.join(MENDING)} on this service"
        )
    if not row.ended:
        raise Refused(f"run {row.id} is {row.state}", f"cancel it first, or let it end: recoverd show {row.id}")
    if row.state == "undone":
        raise Refused(f"run {row.id} has been taken back already", f"recoverd show {row.id}")
    return row


def _show(service: str, kept: Kept) -> None:
    """What a person reads before they ask for it, or approve it."""
    here, manifest = world(), kept.manifest
    for line in manifest.warnings:
        here.foresee("warning", line, "know that", line)
    for number, row in enumerate(sample(primary_session(service), manifest, SHOWN_ROWS), start=1):
        key = ", ".join(str(row[name]) for name in manifest.key)
        said = "; ".join(f"{name}: {row[name]}" for name in manifest.columns)
        here.foresee("row", f"row {number}", f"{manifest.table} {key}", said)
    if manifest.rows > SHOWN_ROWS:
        here.foresee(
            "row", "more", f"{manifest.rows - SHOWN_ROWS} more rows", f"select * from {manifest.sql} order by _n"
        )
    how = f"fix-record {service} --plan {kept.hash[:12]}"
    finding = (
        f"recoverd run {how if here.run.procedure == 'fix-record' else f'{here.run.procedure} {service} …'} --reason …"
    )
    here.planned.append(PlannedStep("plan", kept.hash, manifest.summary, finding))


def _close(service: str, kept: Kept, outcome: Outcome, earlier: RunRow | None) -> str:
    """Account for every row: changed, or left to whoever changed it since; and close the run that was taken back."""
    here, fix = world(), kept.manifest
    left = look_at_conflicts(service, kept.hash) if outcome["conflicts"] else None
    summary = outcome.effect.summary + (f": {left.shown}" if left else "")
    if here.journal is not None:
        with here.journal.transaction() as tx:
            if not any(True for _ in tx.entries(run=here.run.id, kinds=[NOTED])):
                facts = {
                    "plan": kept.hash,
                    "table": f"{fix.schema_name}.{fix.table}",
                    "left": left.model_dump() if left else {},
                }
                tx.append(
                    NOTED,
                    who="recoverd",
                    run=here.run.id,
                    body={"summary": summary, **facts, **dict(outcome.effect.data)},
                )
    if earlier is not None:
        summary += _closed(earlier, fix.left + int(outcome["conflicts"]))
    note_summary(summary)
    return summary


def _closed(earlier: RunRow, left: int) -> str:
    here = world()
    if left:
        return f"; {counted(left, 'row')} of run {earlier.id} stay, for they were changed since"
    if here.journal is not None and here.journal.get_run(earlier.id).state != "undone":
        here.journal.set_run(earlier.id, "undone", who=here.run.requester, body={"by": here.run.id})
    return f"; run {earlier.id} is taken back"
