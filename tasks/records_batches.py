"""One transaction of a fix: rows are locked, compared, changed and looked at again; what anybody wrote since is left as it is.

READ COMMITTED, and each step a statement of its own, so that its snapshot is taken after the rows are locked. That the
transaction was done is written in the transaction itself: it counts once, whatever is killed, and whenever.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from recoverd.connections import Sql
from recoverd.errors import Look, Stale
from recoverd.inventory import DataRules
from recoverd.records.names import literal, quoted
from recoverd.records.plan import Manifest
from recoverd.words import counted
from tasks.records_drafts import OTHER, SAME, image, matched
from tasks.records_session import transaction

_HOLD = "select state, epoch, coalesce(run, '') as run from recoverd.fixes where name = %s for update"
_PROGRESS = """
select coalesce(max(hi), 0) as hi, coalesce(sum(applied), 0)::bigint as applied, coalesce(sum(conflicts), 0)::bigint as conflicts,
       count(*) as batches from recoverd.fix_batches where fix = %s
"""
_NOTE = """
insert into recoverd.fix_batches (fix, hi, lo, applied, conflicts, waiting, seconds, run) values (%s, %s, %s, %s, %s,
    (select count(*) from pg_stat_activity a where a.wait_event_type = 'Lock' and pg_backend_pid() = any(pg_blocking_pids(a.pid))), %s, %s)
returning waiting
"""


@dataclass(frozen=True)
class Progress:
    """How far a fix has come: up to which number, how many rows it changed, how many it left to others, in how many transactions."""

    hi: int
    applied: int
    conflicts: int
    batches: int


@dataclass(frozen=True)
class Batch:
    """What a transaction came to.

    Attributes:
        waiting: Sessions that waited for its rows when it was about to commit.
        seconds: How long rows were locked.
    """

    applied: int
    conflicts: int
    waiting: int
    seconds: float


def progress(session: Sql, name: str) -> Progress:
    """What the database says of a fix; what is not there was not done."""
    row = session.rows(_PROGRESS, (name,), timeout_s=10.0)[0]
    return Progress(int(row["hi"]), int(row["applied"]), int(row["conflicts"]), int(row["batches"]))


def apply_batch(session: Sql, fix: Manifest, rules: DataRules, lo: int, hi: int, run: str, epoch: int) -> Batch:
    """Change the rows of a plan above `lo` up to `hi`, in one transaction.

    Raises:
        TryAgain: Others were in the way; nothing was done.
        Stale: Another run has the fix, or it has come further.
        Look: A trigger dropped or rewrote a change, or a constraint says no; nothing of it was done.
    """
    limit = float(rules.statement_timeout_s)
    path = f"pg_catalog, {quoted(fix.schema_name)}, public"
    settings: dict[str, str | int] = {
        "lock_timeout": rules.lock_timeout_ms,
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
    }
    with transaction(session, "begin isolation level read committed", timeout_s=limit, path=path, **settings):
        _check_hold(session, fix, lo, run, epoch)
        rows, began = _Rows(fix, lo, hi), time.monotonic()
        planned = int(session.value(rows.count, timeout_s=limit))
        session.value(rows.lock, timeout_s=limit)
        conflicts = int(session.value(rows.conflicts, timeout_s=limit))
        applied = int(session.value(rows.write, timeout_s=limit))
        session.rows("set constraints all immediate", timeout_s=limit)
        rewritten = int(session.value(rows.unlike, timeout_s=limit))
        _verify(fix, planned, conflicts, applied, rewritten)
        facts = (fix.name, hi, lo, applied, conflicts, time.monotonic() - began, run)
        waiting = int(session.value(_NOTE, facts, timeout_s=limit))
    return Batch(applied, conflicts, waiting, time.monotonic() - began)


def _check_hold(session: Sql, fix: Manifest, lo: int, run: str, epoch: int) -> None:
    """The row of the fix is held to the end: a controller that was paused and wakes up late finds a newer epoch, or more done."""
    row = session.rows(_HOLD, (fix.name,), timeout_s=30.0)[0]
    if row["state"] != "applying" or row["run"] != run or int(row["epoch"]) > epoch:
        raise Stale(
            f"the fix {fix.name} is {row['state']} by {row['run'] or 'nobody'} now", "this run changes nothing more"
        )
    if (hi := progress(session, fix.name).hi) != lo:
        raise Stale(f"the fix {fix.name} has come to row {hi}, not {lo}", "another process applies it")


def _verify(fix: Manifest, planned: int, conflicts: int, applied: int, rewritten: int) -> None:
    if applied + conflicts == planned and not rewritten:
        return
    lost = planned - conflicts - applied
    what = f"{counted(lost, 'change')} of {planned} did not come about" if lost else ""
    more = f"{counted(rewritten, 'row')} have another value than was written" if rewritten else ""
    raise Look(
        f"{' and '.join(filter(None, (what, more)))}: a trigger or a rule on {fix.schema_name}.{fix.table} does that; rolled back",
        f"see what they do: {'; '.join(one for one in fix.warnings if one.startswith(('trigger', 'rule'))) or 'triggers, rules'}",
    )


class _Rows:
    """The statements about the rows of a plan above `lo` up to `hi`. Names are quoted, numbers are numbers."""

    def __init__(self, fix: Manifest, lo: int, hi: int) -> None:
        here = f"p._n > {int(lo)} and p._n <= {int(hi)}"
        join, target, plan = matched(fix.key, fix.kept_key), fix.target, fix.sql
        is_old = f"{image(fix.columns, 't')} {SAME} {image(fix.kept_old, 'p')}"
        is_other = f"{image(fix.columns, 't')} {OTHER} {image(fix.kept_old, 'p')}"
        if fix.strict:
            is_old += " and t.xmin = p._xmin"
            is_other = f"({is_other} or t.xmin <> p._xmin)"
        sets = ", ".join(
            f"{quoted(name)} = p.{quoted(new)}" for name, new in zip(fix.columns, fix.kept_new, strict=True)
        )
        gone = f"t.{quoted(fix.key[0])} is null"
        left = f"select from recoverd.fix_conflicts c where c.fix = {literal(fix.name)} and c.n = p._n"
        self.count = f"select count(*) from {plan} p where {here}"
        self.lock = (
            f"select count(*) from (select from {target} t join {plan} p on {join} where {here} "
            "order by p._n for no key update of t) x"
        )
        self.conflicts = (
            f"with left_alone as (insert into recoverd.fix_conflicts (fix, n, why) select {literal(fix.name)}, p._n, "
            f"case when {gone} then 'gone' else 'changed' end from {plan} p left join {target} t on {join} "
            f"where {here} and ({gone} or {is_other}) returning 1) select count(*) from left_alone"
        )
        self.write = (
            f"with changed as (update {target} t set {sets} from {plan} p where {join} and {here} and {is_old} returning 1) "
            "select count(*) from changed"
        )
        self.unlike = (
            f"select count(*) from {plan} p join {target} t on {join} where {here} "
            f"and {image(fix.columns, 't')} {OTHER} {image(fix.kept_new, 'p')} and not exists ({left})"
        )
