"""Rejoin: an old primary, or a standby that was left behind, becomes a streaming standby again.

    observe → (power on) → fence → measure what it had not sent → save and decode that → decide → start, rewind or copy
    → settings → take the fence away → start → prove that it streams

Nothing that only it has is overwritten before it is saved: evidence before change.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.fence import fence_primary, note_summary
from flows.history import alarm_of
from flows.powering import power_on_again
from flows.returning import (
    Members,
    Need,
    Way,
    choose_members,
    choose_way,
    runs_as_standby,
    streams,
    the_primary,
)
from flows.verdict import Verdict, judge
from recoverd.errors import Look, Refused, Stale, TryAgain
from recoverd.execution import execution
from recoverd.gate import gate
from recoverd.step import observe
from recoverd.world import world
from tasks.decode import decode
from tasks.evidence import save_wal
from tasks.isolated import settle
from tasks.observation import observe_service
from tasks.rebuild import copy_beside, end_earlier_copy, rewind, swap_in
from tasks.replication import follow
from tasks.salvage import Loss, WalFacts, survey_loss, wal_facts
from tasks.standby import (
    checkpoint,
    configure_standby,
    drop_slot,
    make_slot,
    release_fence,
    start_standby,
    stop_standby,
)
from tasks.views import Answer, ServiceView

LEFT = "was left as it is"


@flow(name="rejoin", persist_result=False)
def rejoin(target: str, run: str | None = None, reason: str = "", options: dict[str, Any] | None = None) -> str:
    """Bring members of a service back as streaming standbys.

    Args:
        target: Name of the service.
        run: Id of the run; a new one is registered when Prefect itself starts the flow.
        reason: Why.
        options: `host` (default: every member that should stream and does not), `power_on` (also hosts that no run of
            ours has powered off), `without_decoding` (go on where the lost rows cannot be decoded).
    """
    with execution("rejoin", target, run, reason, options):
        return carry_out(target)


def carry_out(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    here = world()
    view = observe_service(service)
    if view.patroni:
        raise Refused(
            f"{service} is managed by Patroni, which brings its members back itself",
            "look at `patronictl list`; a member that stays away is made anew by `patronictl reinit`",
        )
    only = str(here.run.options.get("host") or "")
    members = choose_members(service, only, view, here.service)
    _refuse_unless_possible(service, members, view)
    if here.run.mode == "ask" and members.hosts:
        plan = {"procedure": "rejoin", "service": service, **members.model_dump(mode="json")}
        gate("rejoin", plan, f"{members.summary}; what only they have is saved first")
    primary, hosts = members.primary, members.hosts
    words = [_bring_back(service, host, primary, view) for host in hosts]
    summary = "; ".join(words) or f"every member of {service} streams from {primary} already"
    note_summary(summary)
    if hosts and all(LEFT in word for word in words):
        raise Refused(
            f"nothing was done: {summary}",
            f"repair or power on the host, or `recoverd run rejoin {service} --option power_on=true --reason …`",
        )
    return summary


def _refuse_unless_possible(service: str, members: Members, view: ServiceView) -> None:
    diagnosis = judge(view, alarm_of(service))
    if diagnosis.verdict is Verdict.SPLIT:  # whoever rejoins is fenced first: it might be the one that users write on
        raise Refused(f"nobody rejoins {service}: {diagnosis.summary}", diagnosis.hint)
    now = the_primary(view)
    if not now:
        raise Refused(
            f"{service} has {'no' if not view.primaries else 'more than one'} primary to follow",
            f"first `recoverd run failover {service} --reason …`, then run this again",
        )
    if now != members.primary:
        raise Stale(f"{now} is the primary of {service} by now, not {members.primary}", "start it again")
    if now in members.hosts:
        raise Refused(f"{now} is the primary of {service}", "name a host that should follow it")


def _bring_back(service: str, host: str, primary: str, view: ServiceView) -> str:
    """One member, from whatever it is to a streaming standby."""
    way = _decided(host)
    if way is None:
        if streams(view, host, primary):
            return f"{host} streams from {primary} already"
        if view.host(host).answer is not Answer.YES:
            if not power_on_again(service, host):
                return f"{host} {LEFT}: {view.host(host).problem}"
            if world().dry_run:
                return f"{host} would be powered on; what it needs is seen then"
            view = observe_service(service)
        way = _find_way(service, host, primary, view)
    if way is None:
        return f"{host} follows {primary}"
    return f"{host}: {rebuild(service, host, primary, way.need)}; {way.loss}"


def _decided(host: str) -> Way | None:
    """What an interrupted attempt of this run has decided for a member: all that comes before is done then."""
    here = world()
    if here.journal is None:
        return None
    for entry in here.journal.entries(run=here.run.id, kinds=["step.decided"]):
        if (entry.step or "").startswith(f"choose_way({host},"):
            return Way.model_validate(entry.body["decision"])
    return None


def _find_way(service: str, host: str, primary: str, view: ServiceView) -> Way | None:
    """Save what only this member has, and decide how it comes back; None when it followed at a word."""
    loss = survey_loss(service, host, primary)
    if loss.known and not loss.pieces and runs_as_standby(view, host) and _only_follow(service, host, primary):
        return None
    if runs_as_standby(view, host):
        stop_standby(service, host, primary)
    if not view.host(host).bare:  # nothing is promoted here: an empty host needs no fence to be given a copy
        fence_primary(service, host, view)
    loss = survey_loss(service, host, primary)  # again, now that it stands still
    if loss.pieces:
        _save(service, host, primary, loss)
    return choose_way(host, look_at_wal(service, host), loss, view.server(primary).system_identifier)


def _only_follow(service: str, host: str, primary: str) -> bool:
    """A standby that runs and has no WAL of its own may only have to be told whom to follow."""
    try:
        follow(service, host, primary)
    except (TryAgain, Look) as error:
        world().say(f"{host} does not follow by itself: {error.message}")
        return False
    return True


def _save(service: str, host: str, primary: str, loss: Loss) -> None:
    save_wal(service, host, loss)
    try:
        decode(service, host, primary, loss)
    except Look as error:
        if not world().run.options.get("without_decoding"):
            raise Look(
                f"the lost rows of {host} could not be decoded: {error.message}",
                "the WAL is saved; to go on without the rows, run it again with the option without_decoding=true",
            ) from error
        world().say(f"{host} goes on without decoded rows: {error.message}")


def rebuild(service: str, host: str, primary: str, need: Need) -> str:
    """The least that helps; where that fails, a new copy, which keeps the old data directory beside it."""
    end_earlier_copy(service, host)
    make_slot(service, host, primary)
    checkpoint(service, primary)
    if need is not Need.COPY:
        try:
            if need is Need.REWIND:
                settle(service, host)
                rewind(service, host, primary)
            return _start(service, host, primary, need)
        except Stale:
            raise
        except Look as error:
            world().say(f"{need.value} did not bring {host} back, so it is copied anew: {error.message}")
            stop_standby(service, host, primary)
    copy_beside(service, host, primary)
    stop_standby(service, host, primary)
    swap_in(service, host)
    return _start(service, host, primary, Need.COPY)


def _start(service: str, host: str, primary: str, need: Need) -> str:
    configure_standby(service, host, primary)
    release_fence(service, host)
    start_standby(service, host, primary)
    drop_old_slots(service, host)
    how = {Need.START: "started", Need.REWIND: "rewound and started", Need.COPY: "copied anew and started"}[need]
    return f"{how} as a standby of {primary}"


def drop_old_slots(service: str, host: str) -> None:
    """Slots from a server's time as a primary would keep WAL on it for ever."""
    here = world()
    for member in here.service.hosts:
        if member != host and not here.dry_run:  # a plan cannot ask a server that is still to be started
            drop_slot(service, member, host)


@observe("look at the WAL of {host}")
def look_at_wal(service: str, host: str) -> WalFacts:
    """What the control file and the WAL directory of a stopped server say."""
    return wal_facts(world().inventory.service(service), host)
