"""Commits that a promotion may lose: which standbys may hold more than a candidate, and the question to a person.

With synchronous replication no acknowledged commit is lost without a person's word: rule `possible_loss` of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from recoverd.errors import Unsafe
from recoverd.gate import gate
from recoverd.world import world
from tasks.replication import listed_synchronous, needed_synchronous, slot_of
from tasks.views import Answer, ServerView, ServiceView


def names_in_force(view: ServiceView, old_primary: str) -> tuple[str, ...]:
    """The synchronous_standby_names that the last commits waited for: the primary's own, where it answers.

    Of one that is silent only its standbys tell, which are meant to have the same setting; where they differ, each counts.
    """
    lead = view.server(old_primary) if old_primary else None
    if lead is not None and lead.answer is Answer.YES:
        return (lead.synchronous_standby_names,) if lead.synchronous_standby_names else ()
    said = [server.synchronous_standby_names for server in view.servers if server.answer is Answer.YES]
    return tuple(dict.fromkeys(names for names in said if names))


def only_elsewhere(
    candidate: ServerView, standbys: Sequence[ServerView], strangers: Iterable[str], names: Iterable[str], old: str
) -> tuple[str, ...]:
    """On whom alone commits may be that were acknowledged under synchronous replication; empty where there are none.

    Such a commit was confirmed by as many of the listed standbys as synchronous_standby_names asks for. The candidate has
    it too, unless all of them hold more WAL than it, or cannot be asked. That also goes for lists by priority (FIRST): a
    standby that comes later in them has confirmed commits while those before it were away, and nobody knows when.

    Args:
        candidate: The standby that may be promoted.
        standbys: All members but the old primary.
        strangers: Members of another cluster: whatever they had, they do not have it any more.
        names: The settings that were in force.
        old: The old primary, which is often in the list too, and confirms nothing to itself.
    """
    more = {
        server.host
        for server in standbys
        if server.answer is not Answer.YES or server.host in strangers or _holds_more(server, candidate)
    }
    found: list[str] = []
    for setting in names:
        listed, unknown = _listed(setting, [server.host for server in standbys], old)
        elsewhere = [*(host for host in listed if host in more), *unknown]
        if len(elsewhere) >= needed_synchronous(setting):
            found += elsewhere
    return tuple(dict.fromkeys(found))


def _holds_more(server: ServerView, candidate: ServerView) -> bool:
    return server.timeline == candidate.timeline and (server.received_lsn or 0) > (candidate.received_lsn or 0)


def _listed(setting: str, members: Sequence[str], old: str) -> tuple[list[str], list[str]]:
    """The members that a setting names, and its names that are no member's; all members, where it names none of them.

    Standbys are named by their application names, which need not be those of the inventory.
    """
    names = listed_synchronous(setting)
    if "*" in names:
        return list(members), []
    by_name = {name: [host for host in (*members, old) if slot_of(name) in _names_of(host)] for name in names}
    known = [host for host in members if any(host in hosts for hosts in by_name.values())]
    return (known, [name for name, hosts in by_name.items() if not hosts]) if known else (list(members), [])


def _names_of(host: str) -> set[str]:
    return {slot_of(host), slot_of(host.partition(".")[0])}


def asks_for_loss(service: str, host: str, only_on: Sequence[str], accepted: Iterable[str] = ()) -> bool:
    """Whether a person must agree before this one is promoted.

    Args:
        service: The service.
        host: The candidate.
        only_on: On whom alone acknowledged commits may be.
        accepted: Those among them that a person has agreed to lose already.

    Raises:
        Unsafe: The policy lets nobody agree.
    """
    rule = world().policy.possible_loss
    if rule == "act" or set(only_on) <= set(accepted):
        return False
    if rule == "never":
        raise Unsafe(
            f"{host} is not promoted: {loss_of(only_on)}",
            f"bring {' or '.join(only_on)} back and run it again, or set possible_loss to ask for {service}",
        )
    return True


def ask_for_loss(service: str, host: str, only_on: Sequence[str]) -> None:
    """Ask in the middle of a run, for what could not be known before the fence; raises as `gate` does."""
    plan = {"service": service, "promote": host, "may lose what only these hold": list(only_on)}
    gate(f"promote {host}", plan, f"promote {host} for {service}: {loss_of(only_on)}")


def loss_of(only_on: Sequence[str]) -> str:
    """What may be lost, as a sentence."""
    return f"commits that users were told of may be on {', '.join(only_on)} alone, and would be lost"
