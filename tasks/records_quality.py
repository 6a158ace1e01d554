"""Holding records against a rule: read-only, of one snapshot, within a limit."""

from __future__ import annotations

from datetime import datetime, timezone

from recoverd.connections import Sql
from recoverd.errors import Invalid, Look
from recoverd.inventory import DataRule
from recoverd.records.expressions import Expression, parse_query
from recoverd.records.quality import Accuracy
from recoverd.records.rules import judgement
from recoverd.step import observe
from recoverd.world import world
from tasks.records_plans import SNAPSHOT, check_functions
from tasks.records_session import primary_session, server_words, transaction
from tasks.records_tables import look_at_table

TIME_LIMIT_S = 24 * 3600.0


@observe("hold the data of {service} against rule {rule}", time_limit_s=TIME_LIMIT_S)
def check_rule(service: str, rule: str) -> Accuracy:
    """How many rows there are that the rule can judge, and how many of them are wrong.

    Raises:
        Invalid: The server cannot read the rule.
    """
    rules = world().inventory.data_of(service)
    wanted, session = rules.rule(rule), primary_session(service)
    at = datetime.now(timezone.utc)
    try:
        total, wrong = _counted(session, wanted, float(rules.plan_timeout_s))
    except Look as error:
        raise Invalid(f"rule {rule} of {service}: {server_words(error)}", "correct it in data.yaml") from error
    return Accuracy(service=service, rule=rule, at=at, total=total, wrong=wrong, least_percent=wanted.least_percent)


def _counted(session: Sql, rule: DataRule, limit_s: float) -> tuple[int, int]:
    found, begin = judgement(rule), f"{SNAPSHOT} read only"
    if found is not None:
        table = look_at_table(session, found.table)
        with transaction(session, begin, timeout_s=limit_s, path=table.path):
            check_functions(session, found.among, found.violates)
            sql = (
                f"select count(*) as total, count(*) filter (where ({found.violates.text}\n)) as wrong from {table.sql}"
            )
            row = session.rows(f"{sql} where ({found.among.text}\n)", timeout_s=limit_s)[0]
        return int(row["total"]), int(row["wrong"])
    rows, total = parse_query(str(rule.sql), "sql"), parse_query(str(rule.total), "total")
    with transaction(session, begin, timeout_s=limit_s):
        check_functions(session, *(Expression(one.text, frozenset(), one.functions) for one in (rows, total)))
        wrong = int(session.value(f"select count(*) from ({rows.text}\n) wrong", timeout_s=limit_s))
        return int(session.value(f"select ({total.text}\n)", timeout_s=limit_s) or 0), wrong
