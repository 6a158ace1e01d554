"""Proof from the users' side: a write that is committed through an entry point, from where users are."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from functools import partial
from typing import Any

import tenacity

from recoverd.connections import Reach, Sql, reach_from_here, reach_through, server_parameters
from recoverd.connections.tunnel import tunnel
from recoverd.errors import RecoverdError, Unproven, Unreachable
from recoverd.inventory import EntryPoint, Service
from recoverd.step import observe
from recoverd.world import world
from tasks.heartbeat import write_heartbeat
from tasks.together import together
from tasks.traffic import DRIVERS
from tasks.views import CONTROLLER, Facts

PROVE_WITHIN_S = 30.0
WRITE_TIMEOUT_S = 3.0
_EVERY_S = 0.05


class WriteProof(Facts):
    """A write that was committed through an entry point.

    Attributes:
        committed_at: When the commit was acknowledged, by the controller's clock.
        server: Address of the server that committed it.
        attempts: How often it was tried.
    """

    entry: str
    vantage: str
    committed_at: datetime
    server: str
    attempts: int

    @property
    def summary(self) -> str:
        """One line for a timeline."""
        return f"a write from {self.vantage} through {self.entry} was committed by {self.server}"


@observe("prove a write through {entry} of {service} from {vantage}", time_limit_s=PROVE_WITHIN_S + 10)
def prove_write(service: str, entry: str, vantage: str) -> WriteProof:
    """Commit a row through an entry point as a client host would, trying for up to 30 s.

    Raises:
        Unproven: No write was committed in that time.
    """
    here = world()
    wanted = here.inventory.service(service)
    point = next(found for found in wanted.entry_points if found.name == entry)
    deadline = time.monotonic() + PROVE_WITHIN_S
    trying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(PROVE_WITHIN_S),
        wait=tenacity.wait_fixed(_EVERY_S),
        retry=tenacity.retry_if_exception_type(RecoverdError),
        reraise=True,
    )
    try:
        server = trying(_write, wanted, point, vantage, deadline)
    except RecoverdError as error:
        raise Unproven(
            f"no write was committed through {entry} of {service} within {PROVE_WITHIN_S:g} s: {error.message}",
            "see which server takes writes with `recoverd check`, then where the entry point leads",
        ) from error
    return WriteProof(
        entry=entry,
        vantage=vantage,
        committed_at=datetime.now(timezone.utc),
        server=server,
        attempts=trying.statistics.get("attempt_number", 1),
    )


def where_from(service: Service) -> str:
    """The host that writes are proven from: the first client, else the controller."""
    return service.clients[0] if service.clients else CONTROLLER


def _write(service: Service, entry: EntryPoint, vantage: str, deadline: float) -> str:
    here = world()
    limit_s = min(WRITE_TIMEOUT_S, max(0.2, deadline - time.monotonic()))
    with ExitStack() as stack:
        targets = DRIVERS[entry.kind].servers(service, entry)
        if vantage == CONTROLLER:
            targets = _heard(reach_from_here, targets)
        else:
            ssh = here.connections.ssh(vantage)
            probe_s = here.policy.probe_timeout_s
            heard = _heard(partial(reach_through, ssh), targets)
            through = [stack.enter_context(tunnel(ssh, *target, timeout_s=probe_s)) for target in heard]
            targets = tuple(("127.0.0.1", port) for port in through)
        session = Sql(_parameters(service, entry, targets), timeout_s=limit_s, name=entry.name)
        stack.callback(session.close)
        return str(write_heartbeat(session, service.name, here.run.id, timeout_s=limit_s)["server"])


def _heard(look: Callable[..., Reach], targets: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """The servers that answer there. libpq passes over a server that refuses, but waits for one that is silent, and gives
    up on one that hangs up, which is all that a tunnel to a refusing server can do."""
    if len(targets) == 1:
        return targets
    limit_s = world().policy.probe_timeout_s
    seen = together({to: partial(look, *to, timeout_s=limit_s) for to in targets})
    heard = tuple(to for to in targets if seen[to].alive)
    if not heard:
        raise Unreachable("none of the servers answers there", "check the network between them")
    return heard


def _parameters(service: Service, entry: EntryPoint, targets: tuple[tuple[str, int], ...]) -> dict[str, Any]:
    server = service.postgresql
    secret = entry.password or server.password
    parameters = server_parameters(
        ",".join(address for address, _ in targets),
        targets[0][1],
        entry.database or server.database,
        entry.user or server.user,
        secret.resolve() if secret else None,
        entry.sslmode or server.sslmode,
        "recoverd proof",
    )
    parameters["port"] = ",".join(str(port) for _, port in targets)
    if entry.kind == "libpq":
        parameters["target_session_attrs"] = entry.target_session_attrs
    return parameters
