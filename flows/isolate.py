"""Isolate: hosts are cut off the network, in layers, and peers prove that they are. The way back is `release`.

    refuse → evidence → what peers reach now → layers, behind a timer → a new connection confirms → peers prove it

A host that cannot be asked, or whose evidence fails, keeps no other from being cut. What peers do not prove is not called
isolated: the run fails loudly, and `recoverd resume` tries those hosts again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow

from flows.evidencing import take_evidence
from flows.fence import note_summary
from flows.layers import layers_of, put_on
from flows.layers.doing import Done
from flows.proving_isolation import Proofs, control, prove_cut
from recoverd.errors import RecoverdError, Refused, Unproven
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.inventory.selectors import select
from recoverd.isolation.limits import over_limits
from recoverd.isolation.proof import Proof
from recoverd.isolation.wards import note_isolating, note_proof, standing
from recoverd.isolation.wishes import Wish, read_wish
from recoverd.step import decide
from recoverd.words import counted
from recoverd.world import world
from tasks.needed import Needs, look_who_needs
from tasks.reaching import Reach
from tasks.views import Facts


@flow(name="isolate", persist_result=False)
def isolate(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Cut hosts off the network, and prove it from their peers.

    Args:
        target: A host, `group:NAME`, `label:NAME=VALUE`, several joined by commas.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `evidence`: first, after or none, instead of what the zone says; `stop-after`: so many hosts that fail, and
            no further one is begun; `force`: over the limits, and where a host is the last that serves its users.
    """
    with execution("isolate", target, run, reason, options):
        return carry_out(target)


def carry_out(target: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    wish, hosts = read_wish(here.run.options), chosen(target)
    if wish.force and here.run.trigger != "hand":
        raise Refused("only a person overrules what keeps hosts", "start it by hand: recoverd run isolate … --force")
    layers = {host: layers_of(host) for host in hosts}
    permitted = permit(look_who_needs(hosts), over(hosts), wish)
    if permitted.refusals:
        raise Refused("; ".join(permitted.refusals), permitted.hint)
    if here.run.mode == "ask":
        what = {
            "procedure": "isolate",
            "hosts": list(hosts),
            "layers": {host: list(some) for host, some in layers.items()},
        }
        gate("isolate", what, f"take {counted(len(hosts), 'host')} off the network: {', '.join(hosts)}")
    kept = take_evidence(_when(hosts, wish, "first"), "before")
    before = control(hosts)
    if here.journal is not None and not here.dry_run:
        note_isolating(here.journal, here.run.id, target, layers)
    done = put_on(layers, stop_after=wish.stop_after)
    more = take_evidence(_when(hosts, wish, "after"), "after")
    if here.dry_run:
        return f"would isolate {counted(len(hosts), 'host')}: {', '.join(hosts)}"
    proofs = prove_cut([host for host in hosts if host not in done.left], before)
    _note(proofs, before)
    return _close(hosts, done, proofs.by_host, {**kept.faults, **more.faults})


def _note(proofs: Proofs, before: Reach) -> None:
    here = world()
    here.say(proofs.summary)
    if here.journal is None:
        return
    for one in proofs.hosts:
        kept = before.of(one.host).model_dump(mode="json")
        note_proof(here.journal, here.run.id, one.host, proven=one.proven, why=one.summary, control=kept)


def chosen(target: str) -> tuple[str, ...]:
    """The hosts of a run: those that it has taken locks on, or in a plan those that the selector means now."""
    here = world()
    return tuple(here.leases) or select(here.inventory, target)


class Permitted(Facts):
    """Whether the hosts may go off the network.

    Attributes:
        refusals: Why not, a sentence each.
        forced: What a person has overruled.
        hint: The next move.
    """

    refusals: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    hint: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        if self.refusals:
            return "; ".join(self.refusals)
        return f"forced: {'; '.join(self.forced)}" if self.forced else "nothing keeps them"


@decide("see whether the hosts may go off the network")
def permit(needs: Needs, limits: tuple[str, ...], wish: Wish) -> Permitted:
    """Before the first change, over all hosts at once."""
    never = tuple(text for one in needs.hosts for text in one.never)
    if never:
        return Permitted(refusals=never, hint="isolate it from another machine, or by hand: recoverd runbook isolate …")
    users = tuple(text for one in needs.hosts for text in one.users)
    if wish.force or not (users or limits):
        return Permitted(forced=(*users, *limits) if wish.force else ())
    hint = (
        "move its users first (recoverd run switchover …)"
        if users
        else "name fewer hosts, or see `limit` in isolation.yaml"
    )
    return Permitted(refusals=(*users, *limits), hint=f"{hint}; a person who may force it adds --force")


def over(hosts: Sequence[str]) -> tuple[str, ...]:
    """What the limits of the zones say, those counted in that stand isolated by other runs."""
    here = world()
    wards = standing(here.journal) if here.journal is not None else ()
    return over_limits(here.inventory, hosts, {ward.host for ward in wards if ward.run != here.run.id})


def _when(hosts: Sequence[str], wish: Wish, when: str) -> tuple[str, ...]:
    """Hosts whose evidence is taken then."""
    inventory = world().inventory
    return tuple(host for host in hosts if (wish.evidence or inventory.zone_of(host).evidence) == when)


def _close(hosts: Sequence[str], done: Done, proofs: Mapping[str, Proof], lacking: Mapping[str, RecoverdError]) -> str:
    """Say of each host what came of it.

    Raises:
        Unproven: Not all are isolated, and proven to be.
    """
    here = world()
    isolated = [host for host in hosts if host not in done.faults and host in proofs and proofs[host].proven]
    words = (
        f"{counted(len(isolated), 'host')} isolated, proven from {_witnesses(isolated, proofs)}: {', '.join(isolated)}"
    )
    summary = words if isolated else "no host is isolated"
    summary += "".join(f"; no evidence of {host}: {error.message}" for host, error in lacking.items())
    if here.dry_run:
        return summary
    short = [f"{host}: {_why(host, done, proofs)}" for host in hosts if host not in isolated]
    if short:
        raise Unproven(
            f"NOT ISOLATED: {len(short)} of {counted(len(hosts), 'host')}: {'; '.join(short)}; {summary}",
            f"mend that, then `recoverd resume {here.run.id} --reason …` does the rest; `recoverd run release` lets back",
        )
    note_summary(summary)
    return summary


def _witnesses(hosts: Sequence[str], proofs: Mapping[str, Proof]) -> str:
    found = {len(proofs[host].witnesses) for host in hosts}
    return f"{min(found)} to {max(found)} peers" if len(found) > 1 else counted(next(iter(found), 0), "peer")


def _why(host: str, done: Done, proofs: Mapping[str, Proof]) -> str:
    if host in done.left:
        return "not begun, for too many had failed before it"
    words = [done.faults[host].message] if host in done.faults else []
    words += [proofs[host].summary] if host in proofs and not proofs[host].proven else []
    return "; ".join(words) or "no peer was asked"
