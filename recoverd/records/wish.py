"""What is asked for by the options of a fix, read strictly. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from recoverd.errors import Invalid
from recoverd.inventory import Takedown
from recoverd.records.csvfile import ENCODINGS
from recoverd.records.expressions import Assignment, Expression, parse_assignments, parse_expression, parse_table

HASH = re.compile(r"[0-9a-f]{12,64}")
WAYS = ("plan", "undo", "rule", "from_csv", "set")


class Wish(BaseModel):
    """A fix as it is asked for, in one of five ways.

    Attributes:
        plan: The hash of a plan that was made before, or its beginning.
        undo: A run whose fix is to be taken back.
        rule: A rule of data.yaml that says what is wrong and what is right.
        from_csv: A file of corrections, and `encoding` how it is written.
        table, set, where: What a statement would say.
        expect_rows: How many rows it must be about; None where the plan's own number is approved.
        strict: A row that was written at all since the plan counts as changed, even where its values came back.
        batch_rows: Rows a transaction; None: as data.yaml says.
        most_rows: It is refused where it is about more; None: no limit.
        takedown: The takedown of data.yaml that it is by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: str = ""
    undo: str = ""
    rule: str = ""
    from_csv: str = ""
    encoding: str = "utf-8"
    table: str = ""
    set: str = ""
    where: str = ""
    expect_rows: int | None = None
    strict: bool = False
    batch_rows: int | None = None
    most_rows: int | None = None
    takedown: str = ""

    @property
    def way(self) -> str:
        """Which of the five."""
        return next(name for name in WAYS if getattr(self, name))

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """What `set` says."""
        return parse_assignments(self.set)

    @property
    def condition(self) -> Expression:
        """What `where` says."""
        return parse_expression(self.where)


def read_wish(options: Mapping[str, Any]) -> Wish:
    """The wish of a run's options.

    Raises:
        Invalid: They cannot be meant so.
    """
    given = {name: value for name, value in options.items() if value not in (None, "")}
    texts = {name: _text(name, given.get(name)) for name in (*WAYS, "encoding", "table", "where") if name in given}
    wish = Wish(
        **texts,
        expect_rows=_number("expect_rows", given, 0),
        batch_rows=_number("batch_rows", given, 1),
        strict=_yes_or_no("strict", given),
    )
    _check(wish)
    return wish


def check_options(options: Mapping[str, Any]) -> None:
    """See that the options of a fix can be meant so, before anything is asked or begun. Raises Invalid."""
    read_wish(options)


def takedown_wish(how: Takedown, options: Mapping[str, Any]) -> Wish:
    """What a takedown of data.yaml means for the rows that a condition is true of. Raises Invalid."""
    given = {"table": how.table, "set": how.hide, "where": options["where"], "expect_rows": options.get("expect_rows")}
    return read_wish(given).model_copy(update={"most_rows": how.most_rows, "takedown": how.name})


def check_takedown(options: Mapping[str, Any]) -> None:
    """See that the options of a takedown can be meant so. Raises Invalid."""
    for name in ("rule", "where"):
        if options.get(name) in (None, ""):
            raise Invalid(
                f"a takedown needs --{name}", "--rule NAME of a takedown in data.yaml, and --where: which rows"
            )
    parse_expression(_text("where", options["where"]))
    _number("expect_rows", options, 0)


def _check(wish: Wish) -> None:
    ways = [name for name in WAYS if getattr(wish, name)]
    if len(ways) != 1:
        said = f"{' and '.join(ways)} are given at once" if ways else "nobody says what is to be mended"
        raise Invalid(said, "give one: --set with --where, --from-csv, --rule, --plan HASH, or undo=RUN")
    needs = {"set": ("table", "where"), "from_csv": ("table",)}.get(wish.way, ())
    missing = [name for name in needs if not getattr(wish, name)]
    if missing:
        raise Invalid(f"--{wish.way.replace('_', '-')} needs --{missing[0]}", "a fix of all rows says so: --where true")
    extra = [name for name in ("table", "where") if getattr(wish, name) and name not in needs]
    if extra:
        raise Invalid(f"--{extra[0]} says nothing beside --{wish.way.replace('_', '-')}", "leave it out")
    if wish.way == "plan":
        _check_plan(wish)
    if wish.table:
        parse_table(wish.table)
    if wish.way == "set":
        _ = wish.assignments, wish.condition
    if wish.encoding not in ENCODINGS:
        raise Invalid(f"{wish.encoding!r} is no encoding that is known here", f"known are {', '.join(ENCODINGS)}")
    if wish.from_csv and not Path(wish.from_csv).is_absolute():
        raise Invalid(f"{wish.from_csv} is no absolute path", "a run may be executed elsewhere: give the whole path")


def _check_plan(wish: Wish) -> None:
    if not HASH.fullmatch(wish.plan):
        raise Invalid(
            f"{wish.plan!r} is no hash of a plan", "give what `recoverd plan fix-record` printed, 12 digits at least"
        )
    if wish.expect_rows is not None or wish.strict or wish.batch_rows is not None:
        raise Invalid("a plan that was made has its rows and rules in it", "give --plan alone, or make a new plan")


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise Invalid(f"the option {name} is no text", f"give --{name.replace('_', '-')} once, with one value")
    return value


def _number(name: str, options: Mapping[str, Any], least: int) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal() or int(value) < least:
        raise Invalid(
            f"the option {name} is {value!r}, and no number from {least} on", f"give --{name.replace('_', '-')} N"
        )
    return int(value)


def _yes_or_no(name: str, options: Mapping[str, Any]) -> bool:
    value = options.get(name, False)
    if value in (True, "true", "yes"):
        return True
    if value in (False, "false", "no"):
        return False
    raise Invalid(f"the option {name} is {value!r}", "give true or false")
