"""Check-data: records are held against the rules of data.yaml; an incident is open for each rule that too many of them break."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.fence import note_summary
from recoverd.errors import Refused
from recoverd.execution import execution
from recoverd.inventory import DataRule
from recoverd.journal import State, Transaction
from recoverd.raised import close_incident, raise_incident
from recoverd.records.quality import Accuracy, note_accuracy, past, trend
from recoverd.world import world
from tasks.records_quality import check_rule

SCOPE = "data-check"
ACTIVE: tuple[State, ...] = ("requested", "running", "waiting")
FIX_URGENCY = 25


@flow(name="check-data", persist_result=False)
def check_data(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Hold the records of a service against its rules.

    Args:
        target: Name of the service.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `rule`: this one alone.
    """
    with execution("check-data", target, run, reason, options, scope=SCOPE):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    rules = here.inventory.data_of(service)
    wanted = [rules.rule(str(here.run.options["rule"]))] if here.run.options.get("rule") else list(rules.rules)
    if not wanted:
        raise Refused(f"data.yaml has no rule for {service}", "say under `rules` when a record is right")
    parts = []
    for rule in wanted:
        found = check_rule(service, rule.name)
        parts.append(f"{found.summary} ({_settled(found, rule)})")
    summary = "; ".join(parts)
    note_summary(summary)
    return summary


def _settled(found: Accuracy, rule: DataRule) -> str:
    """Write it down once a run, raise or close its incident, prepare a fix where the rule says so; how it stands, in words."""
    here = world()
    if here.journal is None or here.dry_run:
        return "not recorded"
    with here.journal.transaction() as tx:
        earlier = past(tx, found.service, found.rule)
        if not any(
            entry.body.get("rule") == found.rule for entry in tx.entries(run=here.run.id, kinds=["data.checked"])
        ):
            note_accuracy(tx, found, here.run.id)
        if found.good:
            close_incident(tx, subject(found), found.summary, run=here.run.id)
            return trend(earlier, found)
        raise_incident(
            tx, subject(found), found.service, f"data of {found.service}: {found.summary}", _next_move(found, rule),
            criticality=here.inventory.service(found.service).criticality, run=here.run.id,
        )  # fmt: skip
        prepared = _prepare(tx, found, rule) if rule.prepare else ""
        return trend(earlier, found) + (f"; fix {prepared} is being prepared" if prepared else "")


def subject(found: Accuracy) -> str:
    """What the incident of a rule is about."""
    return f"data of {found.service}: {found.rule}"


def _next_move(found: Accuracy, rule: DataRule) -> str:
    mends = rule.mend is not None or rule.builtin is not None
    how = f"recoverd plan fix-record {found.service} --rule {found.rule}" if mends else "see which rows, and mend them"
    return f"find who writes wrong records first, then: {how}"


def _prepare(tx: Transaction, found: Accuracy, rule: DataRule) -> str:
    """A run that makes the plan and waits for a person; none where one is under way. Its id."""
    for row in tx.list_runs(procedure="fix-record", target=found.service, states=ACTIVE):
        if row.options.get("rule") == rule.name:
            return ""
    row = tx.create_run(
        "fix-record", found.service, trigger="schedule", requester="recoverd", reason=found.summary,
        options={"rule": rule.name}, urgency=FIX_URGENCY,
    )  # fmt: skip
    return row.id
