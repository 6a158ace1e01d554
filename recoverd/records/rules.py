"""What a rule of data.yaml means as SQL. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from recoverd.errors import Invalid
from recoverd.inventory import DataRule
from recoverd.records.expressions import Assignment, Expression, parse_assignments, parse_expression
from recoverd.records.names import quoted
from recoverd.records.provinces import expected_province


@dataclass(frozen=True)
class Judgement:
    """A rule over the rows of a table.

    Attributes:
        among: The rows that it can judge.
        violates: Those of them that are wrong.
    """

    table: str
    among: Expression
    violates: Expression


def judgement(rule: DataRule) -> Judgement | None:
    """How a rule judges rows; None for one that is a query of its own."""
    if rule.table is None:
        return None
    among = parse_expression(rule.among, "among")
    if rule.builtin is None:
        return Judgement(rule.table, among, parse_expression(rule.violates or "false", "violates"))
    expected = expected_province(rule.id_number, rule.postcode)
    said = parse_expression(f"({among.text}\n) and ({expected}) is not null", "among")
    return Judgement(
        rule.table, said, parse_expression(f"{quoted(str(rule.column))} is distinct from ({expected})", "violates")
    )


def mending(rule: DataRule) -> tuple[tuple[Assignment, ...], Expression]:
    """What makes the rows right that a rule finds wrong: assignments, and the condition that finds them.

    Raises:
        Invalid: The rule only finds.
    """
    found = judgement(rule)
    if found is None or (rule.mend is None and rule.builtin is None):
        raise Invalid(
            f"the rule {rule.name} finds what is wrong, and does not say what is right", "give it `mend`, or use --set"
        )
    wrong = parse_expression(f"({found.among.text}\n) and ({found.violates.text}\n)", "the rule")
    if rule.mend is not None:
        return parse_assignments(rule.mend), wrong
    expected = parse_expression(expected_province(rule.id_number, rule.postcode), "the rule")
    return (Assignment(str(rule.column), expected),), wrong
