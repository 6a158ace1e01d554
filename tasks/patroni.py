"""Clusters that Patroni manages: whether it does, what it says of them, and asking it to move the primary.

Nothing here promotes a server: who leads is Patroni's to decide. Its REST API is asked, and what it says is proven by
SQL, for a leader of Patroni's may still be read-only.
Source: Patroni documentation, "Patroni REST API".
"""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial

from recoverd.connections.http import Reply
from recoverd.errors import Look, Refused, Unproven, Unsafe
from recoverd.inventory import Service
from recoverd.step import Effect, act, observe
from recoverd.world import world
from tasks.patroni_api import api, ask_patroni, is_patroni
from tasks.patroni_views import Leader, PatroniView
from tasks.postgres import view_server
from tasks.together import together
from tasks.views import Answer

# Patroni answers a switchover when it is over, and gives up after twice its loop_wait, or 20 s.
MOVE_TIME_LIMIT_S = 90.0
ASK_EVERY_S = 0.1
LONGEST_WAIT_S = 240.0


def manages(service: Service, *, timeout_s: float, without: Collection[str] = ()) -> bool:
    """Whether Patroni decides who is primary.

    What the inventory says holds, and costs nothing. Where it says nothing, every member is asked on Patroni's usual
    port at once, `without` those that are known to be gone: a host without Patroni refuses within a millisecond, one that
    is gone costs `timeout_s`.
    """
    said = [service.postgres_of(host).patroni for host in service.hosts]
    if any(api is not None for api in said):
        return any(api is not None and api.managed for api in said)
    asked = [host for host in service.hosts if host not in without]
    return any(together({host: partial(is_patroni, service, host, timeout_s) for host in asked}).values())


@observe("ask Patroni about {service}", time_limit_s=30.0)
def observe_patroni(service: str) -> PatroniView:
    """What Patroni says of the cluster.

    Raises:
        Unsafe: It answers on no member. Then nobody may promote: it may be doing so itself.
    """
    return ask_patroni(service)


@observe("wait for Patroni to give {service} another leader than {old}", time_limit_s=LONGEST_WAIT_S + 30)
def await_leader(service: str, old: str, limit_s: float) -> Leader:
    """Let Patroni do what it is doing already: its lock runs out, and its members choose.

    Returns:
        The leader, when one accepts writes, be it the old one that came back; else, after `limit_s`, why there is none.
    """
    started = time.monotonic()
    asked, now = "", Leader(host="", writes=False, problem="Patroni was not asked")
    while time.monotonic() < started + limit_s:
        try:
            view = ask_patroni(service, asked)
        except Unsafe as error:
            asked, now = "", Leader(host="", writes=False, problem=error.message)
        else:
            asked, now = view.asked, leadership(service, view)
        if now.writes:
            break
        time.sleep(ASK_EVERY_S)
    return now.model_copy(update={"seconds": round(time.monotonic() - started, 3)})


def leadership(service: str, view: PatroniView) -> Leader:
    """The leader that Patroni names, and whether it takes writes: only a committed one tells."""
    here = world()
    if not view.leader:
        return Leader(host="", writes=False, problem="nobody holds Patroni's leader lock")
    wanted = here.inventory.service(service)
    if view.leader not in wanted.hosts:
        raise Look(
            f"Patroni's leader {view.leader} is no member of {service} in the inventory",
            "add it to services.yaml, or see whether the inventory names the right cluster",
        )
    limit_s = here.policy.probe_timeout_s
    server = view_server(wanted, view.leader, connect_timeout_s=limit_s, probe_write=not here.dry_run)
    if not server.is_primary:
        problem = server.problem or "it is still in recovery"
        return Leader(host=view.leader, writes=False, problem=problem)
    writes = (server.writes is Answer.YES or here.dry_run) and not server.read_only
    problem = "" if writes else server.problem or "default_transaction_read_only is on"
    return Leader(host=view.leader, writes=writes, timeline=server.timeline, problem=problem)


def _moved_from(service: str, old: str, to: str) -> Effect | None:
    """The effect of either act: somebody else than the old leader leads, and takes writes."""
    view = ask_patroni(service, to)  # one that is gone would cost its time at every turn
    now = leadership(service, view)
    if now.host in {"", old} or not now.writes:
        return None
    instead = "" if now.host == to else f" instead of {to}"
    return Effect(f"{now.host} leads {service}{instead}, on timeline {now.timeline}", now.model_dump(mode="json"))


_NO_WAY_BACK = "a promoted standby is a new timeline; to go back, switch over once Patroni has brought the old one back"


@act(
    "ask Patroni to fail {service} over from {old} to {to}",
    ask=_moved_from,
    irreversible=_NO_WAY_BACK,
    time_limit_s=MOVE_TIME_LIMIT_S,
    retries=0,
)
def ask_for_failover(service: str, old: str, to: str) -> None:
    """POST /failover: Patroni takes the lock from the old leader and gives it to that member, healthy cluster or not.

    Raises:
        Refused: Patroni says no; the words are its own.
        Unproven: It did something, but no other leader takes writes.
    """
    _move(service, "/failover", {"candidate": to}, old, to)


@act(
    "ask Patroni to switch {service} over from {old} to {to}",
    ask=_moved_from,
    undo="tasks.patroni:switch_back",
    time_limit_s=MOVE_TIME_LIMIT_S,
    retries=0,
)
def ask_for_switchover(service: str, old: str, to: str) -> None:
    """POST /switchover: Patroni stops the leader in order and promotes that member when it holds everything.

    Raises:
        Refused: Patroni says no; the words are its own.
        Unproven: It did something, but no other leader takes writes.
    """
    _move(service, "/switchover", {"leader": old, "candidate": to}, old, to)


def _is_back(service: str, old: str, to: str) -> Effect | None:
    return _moved_from(service, to, old)


@act("ask Patroni to switch {service} back from {to} to {old}", ask=_is_back, time_limit_s=MOVE_TIME_LIMIT_S, retries=0)
def switch_back(service: str, old: str, to: str) -> None:
    """Undo `ask_for_switchover`, by another one."""
    _move(service, "/switchover", {"leader": to, "candidate": old}, to, old)


def _move(service: str, path: str, hosts: dict[str, str], old: str, to: str) -> None:
    """Post, and watch meanwhile: Patroni looks once a second whether it is done, its leader may be there before."""
    view = ask_patroni(service)
    wanted = world().inventory.service(service)
    body = {key: view.name_of(host) for key, host in hosts.items()}
    deadline = time.monotonic() + MOVE_TIME_LIMIT_S - 5
    call = partial(api(wanted, _listener(view, to)).post, path, body, timeout_s=MOVE_TIME_LIMIT_S / 2)
    pool = ThreadPoolExecutor(1, thread_name_prefix="patroni")
    answer = pool.submit(copy_context().run, call)
    pool.shutdown(wait=False)  # it ends by its own limit; its answer is of no interest once the effect is there
    heeded = False
    while _moved_from(service, old, to) is None:
        if answer.done() and not heeded:
            heeded = _heed(service, path, old, answer.result())
        if time.monotonic() > deadline:
            now = leadership(service, ask_patroni(service))
            raise Unproven(
                f"Patroni was asked to move {service}, but {now.host or 'no leader'} takes no writes: {now.problem}",
                "look at `patronictl list`, and at the logs of Patroni and PostgreSQL there",
            )
        time.sleep(ASK_EVERY_S)


def _heed(service: str, path: str, old: str, reply: Reply) -> bool:
    """What Patroni answered. A refusal that comes because the old leader is on its way out already is none."""
    words = reply.text.strip()[:300]
    if not reply.ok and ask_patroni(service).leader == old:
        if reply.status in {400, 412}:
            raise Refused(f"Patroni refuses {path}: {words}", "nothing was changed; see `patronictl list`")
        raise Look(f"Patroni did not manage {path} (HTTP {reply.status}): {words}", "see `patronictl list` and its log")
    return True


def _listener(view: PatroniView, to: str) -> str:
    """The member to post to: the one that shall lead hears of it first; any that answers will do."""
    return view.asked if to in view.silent else to


def waiting_time_s(view: PatroniView) -> float:
    """How long a failover of Patroni's own may take: its lock runs out, its members wake up, ask each other, promote."""
    return min(LONGEST_WAIT_S, view.ttl_s + 2.0 * view.loop_wait_s + view.retry_timeout_s + 15)
