"""The proof that hosts are cut off, or back: their peers are asked before, and again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from recoverd.inventory import Zone
from recoverd.isolation.proof import Proof, Seen, peers_for
from recoverd.isolation.proof import prove_back as judge_back
from recoverd.isolation.proof import prove_cut as judge_cut
from recoverd.isolation.wards import standing
from recoverd.step import decide
from recoverd.world import world
from tasks.reaching import Reach, look_after, look_before
from tasks.views import Facts

TURNS_BACK = 5
"""So often peers are asked whether a host is back: neighbours have to find each other again."""

Before = Reach | Mapping[str, Seen]
"""What was reached before, by host."""


class Proofs(Facts):
    """What is proven of hosts."""

    hosts: tuple[Proof, ...]

    @property
    def by_host(self) -> dict[str, Proof]:
        """By the host's name."""
        return {proof.host: proof for proof in self.hosts}

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        short = [proof.summary for proof in self.hosts if not proof.proven]
        proven = len(self.hosts) - len(short)
        return "; ".join([f"proven of {proven} of {len(self.hosts)}", *short])


def control(hosts: Sequence[str]) -> Reach:
    """What peers reach of hosts before anything is done to them; kept for the rest of the run, also when it is resumed.

    Of a host that stands isolated already nobody can say that any more: what was kept when it was isolated counts.
    """
    here = world()
    kept = here.journal.decision(here.run.id, "keep_control()") if here.journal is not None else None
    if kept is not None:
        return Reach.model_validate(kept["decision"])
    earlier = _kept_earlier(hosts)
    return keep_control(look_before(_asked([host for host in hosts if host not in earlier])), earlier)


@decide("keep what peers reached before")
def keep_control(found: Reach, earlier: Mapping[str, Seen]) -> Reach:
    """The look itself may not be taken again: the hosts are cut off by then."""
    return Reach(hosts={**found.hosts, **earlier})


def prove_cut(hosts: Sequence[str], before: Before) -> Proofs:
    """Whether peers find hosts cut off."""
    return recheck(hosts, before, away=_isolated())


def recheck(hosts: Sequence[str], before: Before, *, away: Collection[str] = ()) -> Proofs:
    """Whether hosts that were proven to be cut off still are; outside of their run, too.

    Args:
        hosts: Which.
        before: What was reached of them before they were.
        away: Hosts that stand isolated by now: as peers they reach nobody, which says nothing.
    """
    seen, zones = _of(before), {host: world().inventory.zone_of(host) for host in hosts}
    after = look_after(_asked_before(hosts, seen, away), seen)
    return Proofs(
        hosts=tuple(
            judge_cut(
                host, seen.of(host), _with_away(seen.of(host), after.of(host), away), zone.witnesses,
                may_be_silent=_cuts_management(zone),
            )
            for host, zone in zones.items()
        )
    )  # fmt: skip


def prove_back(hosts: Sequence[str], before: Before) -> Proofs:
    """Whether the peers that reached hosts before reach them again."""
    seen, open_, away = _of(before), list(hosts), _isolated() - set(hosts)
    found: dict[str, Proof] = {}
    for _ in range(TURNS_BACK):
        after = look_after(_asked_before(open_, seen, away), seen)
        found |= {
            host: judge_back(host, seen.of(host), _with_away(seen.of(host), after.of(host), away)) for host in open_
        }
        open_ = [host for host in open_ if not found[host].proven]
        if not open_:
            break
    return Proofs(hosts=tuple(found[host] for host in hosts))


def _of(before: Before) -> Reach:
    return before if isinstance(before, Reach) else Reach(hosts=dict(before))


def _cuts_management(zone: Zone) -> bool:
    """Whether hosts of a zone cannot be asked any more once they are cut off, which is meant there."""
    return "aws" in zone.layers and zone.aws is not None and zone.aws.management == "cut"


def _isolated() -> set[str]:
    here = world()
    return {ward.host for ward in standing(here.journal)} if here.journal is not None else set()


def _asked(hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The peers of each host: nobody who is isolated, or about to be."""
    here = world()
    away = {*hosts, *here.leases, *_isolated()}
    return {host: peers_for(here.inventory, host, away) for host in hosts}


def _asked_before(hosts: Sequence[str], before: Reach, away: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The same peers as before, as far as the inventory still has them and they are not isolated themselves."""
    known = world().inventory.hosts
    asked = {host: (*before.of(host).witnesses, *before.of(host).silent) for host in hosts}
    return {
        host: tuple(peer for peer in dict.fromkeys(some) if peer in known and peer not in away)
        for host, some in asked.items()
    }


def _with_away(before: Seen, after: Seen, away: Collection[str]) -> Seen:
    """What was seen, and who was not asked, and why."""
    known = world().inventory.hosts
    silent = {peer: "it is isolated itself" for peer in before.witnesses if peer in away}
    silent |= {peer: "it is no longer in the inventory" for peer in before.witnesses if peer not in known}
    return after.model_copy(update={"silent": {**after.silent, **silent}})


def _kept_earlier(hosts: Sequence[str]) -> dict[str, Seen]:
    here = world()
    if here.journal is None:
        return {}
    found = {ward.host: Seen.model_validate(ward.control) for ward in standing(here.journal) if ward.control}
    return {host: found[host] for host in hosts if host in found and found[host].witnesses}
