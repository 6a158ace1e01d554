"""Release: isolated hosts are let back, when a scan says that they are clean or a person answers for it.

    gate → containments → AWS and firewall, old connections cut first → peers reach them again → entry points

What was saved is put back exactly, and what somebody changed since is not overwritten: that host stays isolated then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from prefect import flow

from flows.fence import note_summary
from flows.isolate import chosen
from flows.layers import INWARDS, LAYERS, take_in
from flows.layers.doing import Done, take_back
from flows.proving_isolation import prove_back
from recoverd.errors import Look, RecoverdError, Refused, Stale
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.isolation.cleanliness import Scan, cleanliness, past_scans
from recoverd.isolation.containments import standing as containments
from recoverd.isolation.proof import Seen
from recoverd.isolation.wards import Ward, by_host, note_released, standing
from recoverd.journal import Journal
from recoverd.step import decide
from recoverd.words import counted
from recoverd.world import world
from tasks.views import Facts

AT_MOST = 64


@flow(name="release", persist_result=False)
def release(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Let isolated hosts back.

    Args:
        target: A host, `group:NAME`, `label:NAME=VALUE`, several joined by commas.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: None.
    """
    with execution("release", target, run, reason, options):
        return carry_out(target)


def carry_out(target: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    journal = here.journal or Journal.open()
    hosts = chosen(target)
    wards = {host: found for host, found in by_host(standing(journal)).items() if host in hosts}
    if not wards:
        raise Refused(f"none of {', '.join(hosts)} stands isolated", "`recoverd isolated` lists those that do")
    since = {host: found[0].at for host, found in wards.items()}
    judged = judge_cleanliness(since, tuple(scan for scan in past_scans(journal) if scan.host in wards))
    if judged.asks or here.run.mode == "ask":
        what = {"procedure": "release", "hosts": {host: [ward.run for ward in found] for host, found in wards.items()}}
        gate("release", {**what, "why": judged.why}, f"let {counted(len(wards), 'host')} back: {judged.summary}")
    done = _cut_back(journal, wards)
    well = [host for host in wards if host not in done.faults]
    if here.dry_run:
        return f"would let {counted(len(wards), 'host')} back: {', '.join(wards)}"
    back = prove_back(tuple(well), {host: Seen.model_validate(wards[host][0].control) for host in well})
    reached = [host for host in well if back.by_host[host].proven]
    notes = _lead_users(wards, reached, done)
    for host in reached:
        if host not in done.faults:
            note_released(journal, here.run.id, host, [ward.run for ward in wards[host]])
    silent = {host: back.by_host[host].summary for host in well if host not in reached}
    return _close(wards, done.faults, silent, notes)


class Judged(Facts):
    """Whether scans let the hosts back by themselves.

    Attributes:
        why: By host, what its scans say.
        asks: Hosts that a person has to answer for.
    """

    why: dict[str, str]
    asks: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a timeline and a gate."""
        return "; ".join(self.why.values())


@decide("see whether the hosts are clean")
def judge_cleanliness(since: Mapping[str, datetime], scans: tuple[Scan, ...]) -> Judged:
    """By the scans that began after each was isolated, and by nothing else."""
    found = {host: cleanliness(scans, host, at) for host, at in since.items()}
    return Judged(
        why={host: one.why for host, one in found.items()},
        asks=tuple(host for host, one in found.items() if not one.clean),
    )


def _cut_back(journal: Journal, wards: Mapping[str, Sequence[Ward]]) -> Done:
    """Take off what keeps the hosts away; the newest run's part first. A host that fails in one layer keeps the others."""
    done = Done()
    for one in containments(journal):
        some = [host for host in one.hosts if host in wards]
        for module in ("tasks.blocks:", "tasks.accounts:"):
            if some:
                take_in(done, take_back(some, one.run, module, at_most=AT_MOST))
    runs = {ward.run: ward.at for found in wards.values() for ward in found}
    for run in sorted(runs, key=lambda run: runs[run], reverse=True):
        for layer in INWARDS:
            hosts = [
                host for host, found in wards.items()
                if host not in done.faults and any(ward.run == run and layer in ward.layers for ward in found)
            ]  # fmt: skip
            if hosts:
                take_in(done, LAYERS[layer].release(hosts, run))
    return done


def _lead_users(wards: Mapping[str, Sequence[Ward]], hosts: Sequence[str], done: Done) -> list[str]:
    """Lead users to hosts again that can be reached; where another server has taken them over meanwhile, they stay there."""
    notes = []
    runs = {ward.run: ward.at for found in wards.values() for ward in found}
    for run in sorted(runs, key=lambda run: runs[run], reverse=True):
        some = [host for host in hosts if any(ward.run == run for ward in wards[host])]
        more = LAYERS["entry-points"].release(some, run) if some else Done()
        for host, fault in more.faults.items():
            if isinstance(fault, Stale):
                notes.append(f"users of {host} stay where they are: {fault.message}")
            else:
                done.faults.setdefault(host, fault)
    return notes


def _close(
    wards: Mapping[str, Sequence[Ward]],
    faults: Mapping[str, RecoverdError],
    silent: Mapping[str, str],
    notes: list[str],
) -> str:
    """Say of each host whether it is back. Raises Look."""
    here = world()
    back = [host for host in wards if host not in faults and host not in silent]
    summary = "; ".join([f"{counted(len(back), 'host')} let back: {', '.join(back) or 'none'}", *notes])
    words = [f"{host}: {fault.message}" for host, fault in faults.items()]
    words += [f"{host} is open, but {why}" for host, why in silent.items()]
    if words:
        raise Look(
            f"{counted(len(words), 'host')} not back: {'; '.join(words)}; {summary}",
            f"mend that, then `recoverd resume {here.run.id} --reason …` does the rest",
        )
    note_summary(summary)
    return summary
