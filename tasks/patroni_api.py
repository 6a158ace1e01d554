"""Patroni's REST API on the members of a service."""

from __future__ import annotations

import socket
from functools import partial

from recoverd.connections.http import Http
from recoverd.errors import RecoverdError, Unreachable, Unsafe
from recoverd.inventory import PatroniApi, Service
from recoverd.world import world
from tasks.patroni_views import PatroniView, read_view
from tasks.together import together

CALL_TIMEOUT_S = 3.0


def ask_patroni(service: str, of: str = "") -> PatroniView:
    """What Patroni says of the cluster; of several answers the one that knows most members.

    Args:
        service: The service.
        of: The member to ask first: the one that answered last time.

    Raises:
        Unsafe: It answers on no member. Then nobody may promote: it may be doing so itself.
    """
    wanted = world().inventory.service(service)
    hosts = [of] if of else list(wanted.hosts)
    found = together({host: partial(_cluster, wanted, host) for host in hosts})
    views = [view for view in found.values() if isinstance(view, PatroniView)]
    if views:
        return max(views, key=lambda view: len(view.members)).model_copy(
            update={"silent": tuple(host for host, view in found.items() if not isinstance(view, PatroniView))}
        )
    if of:
        return ask_patroni(service)
    raise Unsafe(
        f"Patroni manages {service}, but says nothing of it: {'; '.join(str(words) for words in found.values())}",
        "see that Patroni runs and its DCS answers (`patronictl list`); recoverd does not promote behind its back",
    )


def api(service: Service, host: str) -> Http:
    """Patroni's REST API on a member."""
    given = service.postgres_of(host).patroni or PatroniApi()
    address = world().inventory.host(host).address
    shown = f"[{address}]" if ":" in address else address
    return Http(
        f"{given.scheme}://{shown}:{given.port}",
        user=given.user,
        password=given.password.resolve() if given.password else None,
        ca_file=given.ca_file,
        name=f"Patroni on {host}",
    )


def _cluster(service: Service, host: str) -> PatroniView | str:
    """What Patroni on one host says; a sentence where it says nothing."""
    limit_s = min(CALL_TIMEOUT_S, world().policy.probe_timeout_s * 3)
    try:
        there = api(service, host)
        _knock(service, host, world().policy.probe_timeout_s)
        cluster, settings = there.get("/cluster", timeout_s=limit_s), there.get("/config", timeout_s=limit_s)
    except RecoverdError as error:
        return error.message
    if not cluster.ok or "members" not in cluster.json():
        return f"Patroni on {host} does not know the cluster (HTTP {cluster.status}): its DCS does not answer?"
    addresses = {world().inventory.host(name).address: name for name in service.hosts}
    return read_view(host, cluster.json(), settings.json() if settings.ok else {}, addresses)


def is_patroni(service: Service, host: str, timeout_s: float) -> bool:
    """Whether it is Patroni that listens there; anything else may have that port too."""
    try:
        _knock(service, host, timeout_s)
        reply = api(service, host).get("/patroni", timeout_s=timeout_s)
    except RecoverdError:
        return False
    return "patroni" in reply.json()


def _knock(service: Service, host: str, timeout_s: float) -> None:
    """A TCP handshake: a host that is gone, or has no Patroni, is found out without any HTTP."""
    port = (service.postgres_of(host).patroni or PatroniApi()).port
    try:
        socket.create_connection((world().inventory.host(host).address, port), timeout=timeout_s).close()
    except OSError as error:
        raise Unreachable(
            f"Patroni on {host} port {port} cannot be reached: {error}", "check Patroni and the network to it"
        ) from error
