"""A plan from a file of corrections: each line must find its row, with the value that it says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from recoverd.connections import Sql
from recoverd.errors import Refused
from recoverd.records.corrections import Correction, Corrections
from recoverd.records.names import literal, quoted
from recoverd.records.wish import Wish
from tasks.records_drafts import OTHER, Draft, Filled, listed
from tasks.records_tables import Table, look_at_table

LINES_AT_ONCE = 5000
MOST_SHOWN = 10
_LINES = "recoverd_lines"


@dataclass(frozen=True)
class FromCsv:
    """Rows and values that a file names."""

    table: Table
    columns: tuple[str, ...]
    corrections: Corrections

    @classmethod
    def read(cls, session: Sql, wish: Wish) -> FromCsv:
        """Read the file once, for the columns that it names, and to see that it can be read at all."""
        table = look_at_table(session, wish.table)
        corrections = Corrections(Path(wish.from_csv), table.key, wish.encoding)
        named = dict.fromkeys(one.column for one in corrections)
        if not named:
            raise Refused(f"{wish.from_csv} has no line but the first", "give it the corrections")
        columns = tuple(table.column(name).name for name in named)
        return cls(table, columns, corrections)

    def preview(self, session: Sql, limit_s: float) -> None:
        """Values are bound, never worked out: there is nothing to see."""

    def fill(self, session: Sql, draft: Draft, limit_s: float) -> Filled:
        """Load the lines, find their rows, and compare what they say of them.

        Raises:
            Refused: Lines find no row, a row twice, or another value than they say.
        """
        before = self.corrections.sha256
        keys = ", ".join(f"k{number} text not null" for number, _ in enumerate(self.table.key))
        session.rows(
            f"create temporary table {_LINES} (line bigint, col text, old text, new text, {keys}) on commit drop",
            timeout_s=limit_s,
        )
        lines = self._load(session, limit_s)
        if self.corrections.sha256 != before:
            raise Refused(f"{self.corrections.path.name} changed while it was read", "plan again")
        session.rows(f"analyze pg_temp.{_LINES}", timeout_s=limit_s)
        self._refuse_doubled(session, limit_s)
        rows = int(session.value(self._insert(draft), timeout_s=limit_s))
        self._refuse_unlike(session, limit_s)
        notes = (f"formulas of a spreadsheet, as it seems, taken as texts: {self.corrections.formulas}",)
        source = {"csv": self.corrections.path.name, "sha256": self.corrections.sha256, "lines": lines}
        return Filled(rows, source, notes=notes if self.corrections.formulas else ())

    def _load(self, session: Sql, limit_s: float) -> int:
        """In stretches, so that memory does not grow with the file."""
        total = 0
        for lines in _stretches(iter(self.corrections)):
            total += len(lines)
            columns: list[list[Any]] = [
                [one.line for one in lines], [one.column for one in lines], [one.old for one in lines],
                [one.new for one in lines], *([one.key[place] for one in lines] for place, _ in enumerate(self.table.key)),
            ]  # fmt: skip
            kinds = ", ".join(["%s::bigint[]", *("%s::text[]" for _ in columns[1:])])
            session.rows(f"insert into pg_temp.{_LINES} select * from unnest({kinds})", columns, timeout_s=limit_s)
        return total

    def _key(self) -> str:
        """The rows of lines, their keys read as the type of the key."""
        return " and ".join(
            f"t.{quoted(name)} = s.k{place}::{self.table.column(name).base}"
            for place, name in enumerate(self.table.key)
        )

    def _insert(self, draft: Draft) -> str:
        """A row for each key, with the new value of each column that a line names, and the present one of the others.

        A text is cast to the type without its length, and assigned then: what does not fit is an error.
        """
        new = ", ".join(self._new(name) for name in self.columns)
        more = ", t.xmin" if draft.strict else ""
        keys = listed(self.table.key, "t")
        same = " and ".join(f"t.{quoted(name)} = s.k{place}" for place, name in enumerate(self.table.key))
        per_key = ", ".join(
            f"bool_or(s.col = {literal(name)}) as has_{number}, max(s.new) filter (where s.col = {literal(name)}) as new_{number}"
            for number, name in enumerate(self.columns)
        )
        typed = ", ".join(
            f"s.k{place}::{self.table.column(name).base} as k{place}" for place, name in enumerate(self.table.key)
        )
        places = ", ".join(str(place) for place, _ in enumerate(self.table.key, start=1))
        return (
            f"with made as (insert into {draft.plan} select row_number() over (order by {keys}), {keys}, "
            f"{listed(self.columns, 't')}, {new}{more} from (select {typed}, {per_key} from pg_temp.{_LINES} s group by {places}) s "
            f"join {self.table.sql} t on {same} returning 1) select count(*) from made"
        )

    def _new(self, name: str) -> str:
        number, column = self.columns.index(name), self.table.column(name)
        return f"case when s.has_{number} then s.new_{number}::{column.base} else t.{quoted(name)} end"

    def _refuse_doubled(self, session: Sql, limit_s: float) -> None:
        key = ", ".join(f"s.k{place}::{self.table.column(name).base}" for place, name in enumerate(self.table.key))
        sql = f"select max(s.line) as line from pg_temp.{_LINES} s group by {key}, s.col having count(*) > 1 order by 1 limit {MOST_SHOWN}"
        _refuse(session, sql, limit_s, "say something of a cell that an earlier line speaks of")

    def _refuse_unlike(self, session: Sql, limit_s: float) -> None:
        """A value may be written as the server writes it, or in any way that it reads as the same bits."""
        first = quoted(self.table.key[0])
        gone = f"select s.line from pg_temp.{_LINES} s left join {self.table.sql} t on {self._key()} where t.{first} is null"
        _refuse(session, f"{gone} order by 1 limit {MOST_SHOWN}", limit_s, "find no row")
        for name in self.columns:
            base, column = self.table.column(name).base, quoted(name)
            sql = (
                f"select s.line from pg_temp.{_LINES} s join {self.table.sql} t on {self._key()} where s.col = {literal(name)} "
                f"and t.{column}::text is distinct from s.old and row(t.{column}::{base})::record {OTHER} row(s.old::{base})::record "
                f"order by 1 limit {MOST_SHOWN}"
            )
            _refuse(session, sql, limit_s, f"say another value of {name} than there is")


def _refuse(session: Sql, sql: str, limit_s: float, what: str) -> None:
    lines = [str(row["line"]) for row in session.rows(sql, timeout_s=limit_s)]
    if lines:
        more = " and maybe more" if len(lines) == MOST_SHOWN else ""
        raise Refused(f"lines {', '.join(lines)}{more} {what}", "mend the file; nothing was changed")


def _stretches(lines: Iterator[Correction]) -> Iterator[list[Correction]]:
    while stretch := list(islice(lines, LINES_AT_ONCE)):
        yield stretch
