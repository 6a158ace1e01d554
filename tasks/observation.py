"""A service seen from every side at once: SQL and TCP from the controller, SSH to the hosts, TCP from the other hosts."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

import tenacity

from recoverd.connections import Reach, reach_from_here, reach_through
from recoverd.errors import RecoverdError, Unreachable
from recoverd.inventory import Service
from recoverd.step import observe
from recoverd.world import world
from tasks.first_look import first_look
from tasks.hosts import knock, view_host
from tasks.patience import Patience, patience
from tasks.patroni import manages
from tasks.patroni_api import ask_patroni
from tasks.postgres import view_server
from tasks.together import together
from tasks.views import CONTROLLER, Answer, HostView, ServerView, ServiceView, Sight

SETTLE_S = 10.0
LISTEN_S = 0.3


@observe("look at {service} from every side", time_limit_s=30.0)
def observe_service(service: str, without: str = "") -> ServiceView:
    """Look at all members from all vantage points in parallel.

    A look at one server takes at most the policy's `probe_timeout_s` when its host is gone; a server that is there but
    slow gets longer (see tasks/postgres.py).

    Args:
        service: The service.
        without: A host that is proven to be fenced. Only the others are asked then, and only what they are themselves:
            waiting once more for its silence would only cost users time.
    """
    return (None if without else first_look.taken(service, world().connections)) or look(service, without)


@observe("look at the standbys of {service} again")
def observe_standbys(service: str, seen: ServiceView, without: str) -> ServiceView:
    """What the members say now, `without` the one that is fenced; of their hosts, what was seen before.

    A standby may have received more since then. This is asked while users wait, so no more is asked than can change.
    """
    wanted = world().inventory.service(service)
    limit_s = world().policy.probe_timeout_s
    views = {
        host: partial(view_server, wanted, host, connect_timeout_s=limit_s) for host in wanted.hosts if host != without
    }
    now = {without: _not_asked(without), **together(views)}
    servers = tuple(now[server.host] for server in seen.servers)
    return seen.model_copy(update={"at": datetime.now(timezone.utc), "servers": servers})


@observe("wait while a server of {service} starts or stops", time_limit_s=SETTLE_S + 30.0)
def observe_settled(service: str) -> ServiceView:
    """Look again until no server is between two states, for at most 10 s; then take it as it is.

    A primary whose backend crashed serves again after a second; one that cannot recover is gone after a few.
    """
    looking = tenacity.Retrying(
        stop=tenacity.stop_after_delay(SETTLE_S),
        wait=tenacity.wait_fixed(0.2),
        retry=tenacity.retry_if_result(_is_between),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    settled: ServiceView = looking(look, service)
    return settled


def _is_between(view: ServiceView) -> bool:
    return any(server.answer is Answer.STARTING or view.is_contradicted(server.host) for server in view.servers)


def glance(service: str) -> tuple[ServerView, ...]:
    """A quick look over the sessions that are open already: SQL on every member, with a write on the primary.

    What a sentinel does every second while all is well; anything odd in it calls for `look`.
    """
    here = world()
    wanted = here.inventory.service(service)
    limit_s = here.policy.probe_timeout_s
    views = {
        host: partial(view_server, wanted, host, connect_timeout_s=limit_s, probe_write=True) for host in wanted.hosts
    }
    return tuple(together(views).values())


def look(
    service: str, without: str = "", *, probe_write: bool | None = None, earlier: ServiceView | None = None
) -> ServiceView:
    """The same, without being a step: for those who look every second.

    Args:
        service: The service.
        without: See `observe_service`.
        probe_write: Commit a row on the primary, to see whether it takes writes; by default in all but dry runs.
        earlier: A look of this process that found the primary dead, and that this one is to confirm: see tasks/patience.py.
    """
    here = world()
    probe = not here.dry_run if probe_write is None else probe_write
    wanted = here.inventory.service(service)
    limits = patience(here.policy.probe_timeout_s, earlier)
    began_at, began = datetime.now(timezone.utc), time.monotonic()
    calls: dict[tuple[str, str, str], Callable[[], Any]] = {}
    asked = [host for host in wanted.hosts if host != without]
    for host in asked:
        calls["host", host, ""] = partial(_host, wanted, host, limits)
        limit_s = limits.with_port(CONTROLLER, host)
        calls["server", host, ""] = partial(view_server, wanted, host, connect_timeout_s=limit_s, probe_write=probe)
        for vantage in vantage_points(wanted, host) if not without else ():
            calls["sight", host, vantage] = partial(_sight, wanted, vantage, host, limits)
    if not without:
        gone = tuple(host for host in asked if limits.is_gone(host))
        calls["patroni", "", ""] = partial(manages, wanted, timeout_s=limits.full_s, without=gone)
    found = together(calls)
    if without:
        found["host", without, ""] = HostView(host=without, answer=Answer.SILENT, problem="fenced, not asked")
        found["server", without, ""] = _not_asked(without)
    else:
        _listen_again(wanted, found, time.monotonic() - began, limits.earlier)
    confirmed = limits.earlier
    view = ServiceView(
        service=service,
        at=datetime.now(timezone.utc),
        hosts=tuple(found["host", host, ""] for host in wanted.hosts),
        servers=tuple(found["server", host, ""] for host in wanted.hosts),
        sights=tuple(view for (kind, _, _), view in found.items() if kind == "sight"),
        addresses={host: here.inventory.host(host).address for host in wanted.hosts},
        patroni=bool(found.get(("patroni", "", ""))) or (confirmed is not None and confirmed.patroni),
        since=began_at if confirmed is None else confirmed.since,
    )
    return view.model_copy(update={"leader": _leader(service)}) if view.patroni and len(view.primaries) > 1 else view


def _leader(service: str) -> str:
    """Whom Patroni's lock makes the leader; empty where no Patroni says so."""
    try:
        return ask_patroni(service).leader
    except RecoverdError:
        return ""


def _host(service: Service, host: str, limits: Patience) -> HostView:
    """A host that was silent must answer a TCP handshake first; one that does gets the time that any other has."""
    if limits.is_gone(host):
        try:
            knock(host, timeout_s=limits.short_s)
        except Unreachable as silence:
            return HostView(host=host, answer=Answer.SILENT, problem=silence.message)
    return view_host(service, host, connect_timeout_s=limits.full_s)


def _not_asked(host: str) -> ServerView:
    return ServerView(host=host, answer=Answer.SILENT, problem="fenced, not asked")


def _listen_again(
    service: Service, found: dict[tuple[str, str, str], Any], looked_s: float, earlier: ServiceView | None
) -> None:
    """Where a server was silent, ask the standbys once more: has their WAL receiver heard from it during the look?

    A receiver stays "streaming" for up to wal_receiver_timeout after its primary is gone, so that its state alone says
    nothing; and a primary that is cut off from all probes, but still sends, is alive. Who was asked in an earlier look that
    found the primary silent has been listened to since then.
    """
    servers = {host: found["server", host, ""] for host in service.hosts if ("server", host, "") in found}
    streaming = [
        host for host, view in servers.items() if view.receiver is not None and view.receiver.status == "streaming"
    ]
    if not streaming or all(view.answer is Answer.YES for view in servers.values()):
        return
    before = {host: servers[host].receiver for host in streaming}
    after = {host: servers[host].receiver for host in streaming}
    if earlier is not None:
        before |= {view.host: view.receiver for view in earlier.servers if view.host in before}
    if missing := [host for host in streaming if before[host] is None or earlier is None]:
        time.sleep(max(0.0, LISTEN_S - looked_s))  # the measure itself: how long a living primary may be quiet
        again = together({host: partial(view_server, service, host, connect_timeout_s=LISTEN_S) for host in missing})
        before |= {host: servers[host].receiver for host in missing}
        after |= {host: view.receiver for host, view in again.items()}
    for host in streaming:
        heard = after[host] is not None and after[host].last_message_at != before[host].last_message_at
        receiver = servers[host].receiver.model_copy(update={"heard": heard})
        found["server", host, ""] = servers[host].model_copy(update={"receiver": receiver})


def vantage_points(service: Service, of: str) -> tuple[str, ...]:
    """From where a member's server is looked at: the controller, the other members' hosts, the clients' hosts."""
    others = [host for host in service.hosts if host != of]
    return (CONTROLLER, *others, *(client for client in service.clients if client not in service.hosts))


def _sight(service: Service, vantage: str, host: str, limits: Patience) -> Sight:
    here = world()
    address, port = here.inventory.host(host).address, service.postgres_of(host).port
    limit_s = limits.with_port(vantage, host)
    if vantage == CONTROLLER:
        return Sight(vantage=vantage, server=host, reach=reach_from_here(address, port, timeout_s=limit_s))
    try:
        if vantage in service.hosts and limits.is_gone(vantage):
            knock(vantage, timeout_s=limits.short_s)
        ssh = here.connections.ssh(vantage, timeout_s=limits.full_s)
    except RecoverdError:
        return Sight(vantage=vantage, server=host, reach=Reach.UNKNOWN)
    return Sight(vantage=vantage, server=host, reach=reach_through(ssh, address, port, timeout_s=limit_s))
