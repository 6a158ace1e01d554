"""Options of `recoverd plan fix-record` and `recoverd run fix-record`, and of `trace`, beside those that they share with others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Where = Annotated[
    str | None, typer.Option("--where", metavar="CONDITION", help="Of fix-record: which rows, as it stands in SQL.")
]
ExpectRows = Annotated[
    int | None,
    typer.Option("--expect-rows", metavar="N", min=0, help="Of fix-record: refuse where it is about another number."),
]
FromCsv = Annotated[
    Path | None,
    typer.Option("--from-csv", metavar="FILE", help="Of fix-record: corrections, one a line: key, column, old, new."),
]
Rule = Annotated[
    str | None, typer.Option("--rule", metavar="NAME", help="Of fix-record: mend what this rule of data.yaml finds.")
]
PlanHash = Annotated[
    str | None,
    typer.Option("--plan", metavar="HASH", help="Of fix-record: this plan, by 12 digits of its hash at least."),
]
Key = Annotated[
    str | None, typer.Option("--key", metavar="VALUE,…", help="Of trace: the row, by the values of its primary key.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Of fix-record: leave every row alone that was written since the plan.")
]


def fix_flags(
    where: str | None,
    expect_rows: int | None,
    from_csv: Path | None,
    rule: str | None,
    plan: str | None,
    strict: bool,
    key: str | None,
) -> dict[str, str | list[str] | None]:
    """What these say, as options of the procedure. A file is named so that another process finds it."""
    return {
        "where": where,
        "expect_rows": None if expect_rows is None else str(expect_rows),
        "from_csv": None if from_csv is None else str(from_csv.absolute()),
        "rule": rule,
        "plan": plan,
        "key": key,
        "strict": "true" if strict else None,
    }
