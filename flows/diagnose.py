"""Diagnose: what vanishes first is kept, and hosts say what looks wrong on them, and which procedure comes next. Nothing is changed."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.evidencing import take_evidence
from flows.fence import note_summary
from flows.isolate import chosen
from recoverd.errors import Look
from recoverd.execution import execution
from recoverd.words import counted
from recoverd.world import world
from tasks.diagnosing import Diagnoses, keep_baselines, look_for_wrong

MOST_SAID = 5
FOUND = "diagnose.found"


@flow(name="diagnose", persist_result=False)
def diagnose(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Look for what is wrong on hosts.

    Args:
        target: A host, `group:NAME`, `label:NAME=VALUE`, several joined by commas.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `packages`: running, all or no, which are held against the package database; `evidence`: no, to keep none;
            `baseline`: save, to keep how the hosts are now as what they are held against later.
    """
    with execution("diagnose", target, run, reason, options):
        return carry_out(target)


def carry_out(target: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    hosts = chosen(target)
    if here.run.options.get("evidence") != "no":
        take_evidence(hosts, "diagnosis")
    found = look_for_wrong(hosts, str(here.run.options.get("packages") or "running"))
    _note(found)
    words = [_said(one.host, found) for one in found.hosts]
    if here.run.options.get("baseline") == "save" and not here.dry_run:
        words.append(keep_baselines(found))
    summary = "; ".join(words)
    if all(one.problem for one in found.hosts):
        raise Look(summary, "see `recoverd check` for how the hosts are reached")
    note_summary(summary)
    return summary


def _note(found: Diagnoses) -> None:
    """Every finding, a host at a time."""
    here = world()
    for one in found.hosts:
        for finding in one.findings:
            here.say(f"{one.host}: {finding.severity}: {finding.what}" + (f" → {finding.next}" if finding.next else ""))
        if here.journal is not None and not here.dry_run:
            lines = [f"{finding.severity}: {finding.what}" for finding in one.findings[:200]]
            body = {"summary": _said(one.host, found), "host": one.host, "findings": lines, "compared": one.compared}
            here.journal.append(FOUND, who="recoverd", run=here.run.id, body=body)


def _said(host: str, found: Diagnoses) -> str:
    one = next(one for one in found.hosts if one.host == host)
    if one.problem:
        return f"{host}: {one.problem}"
    grave = [finding for finding in one.findings if finding.severity == "grave"]
    doubtful = sum(finding.severity == "doubtful" for finding in one.findings)
    if not grave:
        rest = f"{counted(doubtful, 'thing')} to look at" if doubtful else "nothing looks wrong, which proves nothing"
        return f"{host}: {rest}" + ("" if one.compared else ", without a baseline")
    said = "; ".join(finding.what for finding in grave[:MOST_SAID])
    more = f"; and {len(grave) - MOST_SAID} more" if len(grave) > MOST_SAID else ""
    following = next((finding.next for finding in grave if finding.next), "")
    return f"{host}: {said}{more}" + (f"; next: recoverd run {following} --reason …" if following else "")
