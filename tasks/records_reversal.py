"""A plan that takes a fix back: the same rows, old and new exchanged; what was changed since is left as it is, and named."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.connections import Sql
from recoverd.errors import Refused
from recoverd.records.names import literal, qualified, quoted
from recoverd.records.plan import Manifest
from tasks.records_drafts import SAME, Draft, Filled, image, listed, matched
from tasks.records_kept import find_plan
from tasks.records_tables import Table, look_at_table

MOST_SHOWN = 20


@dataclass(frozen=True)
class FromFix:
    """The rows that a fix has changed."""

    table: Table
    fix: Manifest

    @classmethod
    def of_run(cls, service: str, session: Sql, run: str) -> FromFix:
        """The fix that a run applied.

        Raises:
            Refused: It applied none, or not to its end, or the table is another one by now.
        """
        found = find_plan(service, run=run, owner=run)
        if found is None or found.state == "planned":
            raise Refused(f"run {run} has changed no record", f"recoverd show {run}")
        fix = found.manifest
        table = look_at_table(session, qualified(fix.schema_name, fix.table))
        if table.key != fix.key or table.types((*fix.key, *fix.columns)) != fix.types:
            raise Refused(f"{fix.table} has other columns by now than when it was mended", "take it back by hand")
        return cls(table, fix)

    @property
    def columns(self) -> tuple[str, ...]:
        """That the fix changed."""
        return self.fix.columns

    def preview(self, session: Sql, limit_s: float) -> None:
        """Nothing comes from outside."""

    def fill(self, session: Sql, draft: Draft, limit_s: float) -> Filled:
        """The rows that still are as the fix left them."""
        fix, more = self.fix, ", t.xmin" if draft.strict else ""
        join = f"{self.table.sql} t on {matched(fix.key, fix.kept_key)}"
        stands = f"{image(fix.columns, 't')} {SAME} {image(fix.kept_new, 'p')}"
        made = int(
            session.value(
                f"with made as (insert into {draft.plan} select row_number() over (order by p._n), {listed(fix.kept_key, 'p')}, "
                f"{listed(fix.kept_new, 'p')}, {listed(fix.kept_old, 'p')}{more} from {self._applied()} join {join} where {stands} "
                "returning 1) select count(*) from made",
                timeout_s=limit_s,
            )
        )
        total = int(session.value(f"select count(*) from {self._applied()}", timeout_s=limit_s))
        changed = self._changed(session, join, stands, limit_s) if total > made else ()
        notes = (f"changed since, and left as they are: {'; '.join(changed)}",) if changed else ()
        return Filled(made, {"undoes": fix.name, "hash": fix.hash}, total - made, notes)

    def _applied(self) -> str:
        """The rows of the fix that its transactions have changed."""
        name = literal(self.fix.name)
        return (
            f"(select p.* from {self.fix.sql} p where exists (select from recoverd.fix_batches b where b.fix = {name} "
            f"and p._n > b.lo and p._n <= b.hi) and not exists (select from recoverd.fix_conflicts c "
            f"where c.fix = {name} and c.n = p._n)) p"
        )

    def _changed(self, session: Sql, join: str, stands: str, limit_s: float) -> tuple[str, ...]:
        key = " || ', ' || ".join(f"p.{quoted(one)}::text" for one in self.fix.kept_key)
        sql = (
            f"select {key} as key from {self._applied()} left join {join} where t.{quoted(self.fix.key[0])} is null "
            f"or not ({stands}) order by p._n limit {MOST_SHOWN}"
        )
        return tuple(str(row["key"]) for row in session.rows(sql, timeout_s=limit_s))
