"""Contain: accounts are locked out of hosts, and networks blocked on them, for a time or until the run is taken back.

The hosts go on serving: this is the small cut, where isolating a host is the large one. Its way back is `recoverd undo RUN`, or the
deadline (deployments/containments.py), or the release of the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

from prefect import flow
from pydantic import Field

from flows.fence import note_summary
from recoverd.errors import Look, RecoverdError, Refused
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.inventory.selectors import select
from recoverd.isolation.containment import Wish, read_wish
from recoverd.isolation.containments import Containment, note_containment
from recoverd.step import Outcome, decide, observe
from recoverd.words import counted
from recoverd.world import world
from tasks.accounts import check_lock, lock, look_at_account
from tasks.blocks import block, check_block, look_at_firewall
from tasks.together import together
from tasks.views import Facts

AT_MOST = 64


@flow(name="contain", persist_result=False)
def contain(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Lock accounts out of hosts, and block networks on them.

    Args:
        target: A host, `group:NAME`, `label:NAME=VALUE`, several joined by commas.
        run: Id of this run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `accounts` and `addresses`, joined by commas; `for`: how long (4h), none: until released; `force`: over the
            rules that a person may overrule.
    """
    with execution("contain", target, run, reason, options):
        return carry_out(target)


def carry_out(target: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    wish, hosts = read_wish(here.run.options), select(here.inventory, target)
    if wish.force and here.run.trigger != "hand":
        raise Refused("only a person overrules the rules of a containment", "start it by hand: recoverd run contain …")
    kept = guarded(hosts)
    seen = look_to_contain(hosts, wish.accounts, wish.networks)
    judged = judge(seen, wish, kept)
    if judged.refusals:
        raise Refused("; ".join(judged.refusals), judged.hint)
    if here.run.mode == "ask":
        what = {"procedure": "contain", "hosts": hosts, **wish.model_dump(mode="json")}
        gate("contain", what, f"{wish.summary}, on {counted(len(hosts), 'host')}: {', '.join(hosts)}")
    _begin(target, hosts, wish)
    locks = {
        f"{account} on {host}": (host, account, kept.accounts[host], wish.accounts)
        for account in wish.accounts
        for host in hosts
    }
    blocks = {host: (host, ",".join(wish.networks), wish.for_s or 0, kept.management[host]) for host in hosts}
    locked = lock.each(locks, at_most=AT_MOST)
    blocked = block.each(blocks, at_most=AT_MOST) if wish.networks else None
    faults = {**locked.faults, **({f"{host}": error for host, error in blocked.faults.items()} if blocked else {})}
    return _close(wish, hosts, locked.outcomes, blocked.outcomes if blocked else {}, faults)


class Guarded(Facts):
    """What of the inventory must stay as it is, by host.

    Attributes:
        accounts: That are never locked.
        management: Addresses and networks that must go on reaching it.
    """

    accounts: dict[str, tuple[str, ...]]
    management: dict[str, tuple[str, ...]]


def guarded(hosts: Sequence[str]) -> Guarded:
    """What the zones of the inventory say of these hosts."""
    inventory = world().inventory
    zones = {host: inventory.zone_of(host) for host in hosts}
    return Guarded(
        accounts={host: zone.protected_accounts for host, zone in zones.items()},
        management={host: zone.management for host, zone in zones.items()},
    )


class Containable(Facts):
    """What a host says before anything is contained on it.

    Attributes:
        accounts: Of each account that is asked for, what `look_at_account` says.
        firewall: What `look_at_firewall` says; empty where no network is asked for.
        problem: Why it could not be asked.
    """

    host: str
    accounts: dict[str, dict[str, str]] = Field(default_factory=dict)
    firewall: dict[str, str] = Field(default_factory=dict)
    problem: str = ""


class ContainableHosts(Facts):
    """What all of them say."""

    hosts: tuple[Containable, ...]

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        silent = [one.host for one in self.hosts if one.problem]
        there = sum("uid" in facts for one in self.hosts for facts in one.accounts.values())
        words = f"{counted(len(self.hosts), 'host')}, {counted(there, 'account')} there"
        return words + (f"; no answer from {', '.join(silent)}" if silent else "")


@observe("look at the accounts and the firewall of hosts")
def look_to_contain(hosts: Sequence[str], accounts: Sequence[str], networks: Sequence[str]) -> ContainableHosts:
    """Ask all hosts at once. One that does not answer is an answer too."""
    calls = {host: partial(_look, host, accounts, bool(networks)) for host in hosts}
    return ContainableHosts(hosts=tuple(together(calls, at_most=AT_MOST).values()))


def _look(host: str, accounts: Sequence[str], firewall: bool) -> Containable:
    try:
        found = {account: look_at_account(host, account) for account in accounts}
        return Containable(host=host, accounts=found, firewall=look_at_firewall(host) if firewall else {})
    except RecoverdError as error:
        return Containable(host=host, problem=error.message)


class Judged(Facts):
    """Whether the run may go on.

    Attributes:
        refusals: Why not, a sentence each.
        hint: The next move.
    """

    refusals: tuple[str, ...] = ()
    hint: str = ""

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return "; ".join(self.refusals) or "nobody who is needed is locked out"


@decide("see that the operators are not locked out")
def judge(seen: ContainableHosts, wish: Wish, kept: Guarded) -> Judged:
    """Before the first change, over all hosts that answered; each act asks the same of its host once more."""
    refusals: dict[str, str] = {}
    for one in (host for host in seen.hosts if not host.problem):
        for account, facts in one.accounts.items():
            with _gathered(refusals):
                check_lock(one.host, account, facts, kept.accounts[one.host], wish.accounts)
        if wish.networks:
            with _gathered(refusals):
                check_block(one.host, wish.networks, one.firewall, kept.management[one.host])
    return Judged(refusals=tuple(refusals), hint=next(iter(refusals.values()), ""))


@contextmanager
def _gathered(refusals: dict[str, str]) -> Iterator[None]:
    """One refusal after the other, so that a person reads all of them at once. A host that cannot block fails alone later."""
    try:
        yield
    except Refused as error:
        refusals[error.message] = error.hint
    except Look:
        return


def _begin(target: str, hosts: tuple[str, ...], wish: Wish) -> None:
    """Write the deadline down before the first change."""
    here = world()
    if here.journal is None or here.dry_run:
        return
    with here.journal.transaction() as tx:
        until = tx.now() + timedelta(seconds=wish.for_s) if wish.for_s else None
        note_containment(
            tx,
            Containment(
                run=here.run.id, target=target, hosts=hosts, accounts=wish.accounts, networks=wish.networks, until=until
            ),
        )


def _close(
    wish: Wish, hosts: tuple[str, ...], locked: Mapping[str, Outcome], blocked: Mapping[str, Outcome],
    faults: Mapping[str, RecoverdError],
) -> str:  # fmt: skip
    there = [name for name, outcome in locked.items() if outcome.effect.data.get("there", True)]
    absent = [name for name in locked if name not in there]
    parts = [f"{counted(len(there), 'account')} locked out ({', '.join(there)})"] if there else []
    parts += [f"{', '.join(wish.networks)} blocked on {counted(len(blocked), 'host')}"] if blocked else []
    parts += [f"not there: {', '.join(absent)}"] if absent else []
    summary = "; ".join(parts) or "nothing was contained"
    if faults:
        words = "; ".join(f"{name}: {error.message}" for name, error in faults.items())
        raise Look(
            f"{len(faults)} of {len(locked) + len(blocked) + len(faults)} not contained: {words}; {summary}",
            f"mend that, then `recoverd resume {world().run.id} --reason …` does the rest",
        )
    if wish.for_s:
        summary += f"; for {timedelta(seconds=wish.for_s)}"
    note_summary(summary)
    return summary
