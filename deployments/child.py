"""A spare process that waits for a run, executes it, and ends.

While it waits it dies with the runner; from the moment it has a run it lives on without it, and finishes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from deployments import prefect_api
from deployments.catalogue import Procedure, load_catalogue, procedure
from deployments.prefect_private import (
    answer_first_questions,
    prepare_client,
    run_flow,
    start_workers,
    tell_later,
)
from deployments.prefect_rehearsal import rehearse
from deployments.processes import outlive_parent
from deployments.standby import Standby, begin_to_look
from recoverd.errors import Invalid, Unreachable
from recoverd.journal import Journal, RunRow
from recoverd.journal import State as RunState
from recoverd.liveness import executor_name, is_executing
from recoverd.prepared import keep_journal

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

logger = logging.getLogger("recoverd.child")

EXIT_LIMIT_S = 30
MAX_MESSAGE_BYTES = 4096
_ENDS: dict[str, RunState] = {
    "Completed": "succeeded",
    "Failed": "failed",
    "TimedOut": "failed",
    "Cancelled": "cancelled",
    "Suspended": "waiting",
}


@dataclass(frozen=True)
class Order:
    """What the runner tells a spare: execute this run.

    Attributes:
        run: The run's id.
        deployment: Prefect's id of the procedure's deployment; empty while Prefect does not answer.
    """

    run: str
    deployment: str

    def encode(self) -> bytes:
        """As one message."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def decode(message: bytes) -> Order:
        """The inverse of `encode`."""
        return Order(**json.loads(message))


def execute_one(channel: socket.socket, catalogue_address: str) -> None:
    """Wait on the channel for an order and carry it out. Returns when the run has ended, or the runner has."""
    from prefect.context import SyncClientContext

    catalogue = load_catalogue(catalogue_address)
    with SyncClientContext.get_or_create() as context:
        journal = keep_journal()
        _warm(context.client)
        prepare_client(context.client)
        standby = Standby()
        standby.start()
        channel.send(b"ready")
        message = channel.recv(MAX_MESSAGE_BYTES)
        standby.stop()
        if not message:
            return
        outlive_parent()
        order = Order.decode(message)
        try:
            _execute(journal, context.client, order, catalogue, standby)
        finally:
            signal.alarm(EXIT_LIMIT_S)  # Prefect sends its last events on the way out, to a server that may be gone
            with contextlib.suppress(OSError):  # the runner is gone; its successor reads the journal
                channel.send(b"finished")


def _warm(api: SyncPrefectClient) -> None:
    """Open the connections and start the threads that the run will need, and walk once through what it will."""
    from prefect.utilities.asyncutils import run_coro_as_sync

    async def nothing() -> None:
        """Start the thread with the event loop."""

    run_coro_as_sync(nothing())
    try:
        rehearse(api)
        api.hello()
        start_workers()
    except Exception as error:  # noqa: BLE001  # without Prefect there must be spares all the more
        logger.warning("Prefect is not as it should be: %s", error)


def _execute(
    journal: Journal, api: SyncPrefectClient, order: Order, catalogue: Mapping[str, Procedure], standby: Standby
) -> None:
    row = _claim(journal, order.run)
    if row is None:
        logger.info("run %s is executed by another process already, or over", order.run)
        return
    with contextlib.suppress(Exception):  # shown on Prefect's pages, and nowhere else
        tell_later()
    begin_to_look(row.target, standby.found_dead(row.target))
    try:
        flow = procedure(row.procedure, catalogue).flow()
    except Invalid as error:
        journal.set_run(row.id, "failed", who="runner", summary=error.message, body={"hint": error.hint})
        return
    try:
        flow_run = _flow_run(api, row, order.deployment)
    except Exception as error:  # noqa: BLE001  # whatever ails Prefect, the service must be recovered
        logger.warning("run %s goes on without Prefect, which does not answer: %s", row.id, error)
        journal.append("run.detached", who="runner", run=row.id, body={"why": f"Prefect does not answer: {error}"})
        flow.fn(**_parameters(row))
        return
    if row.flow_run is None:
        with journal.transaction() as tx:
            tx.note_run(row.id, flow_run=str(flow_run.id))
    flow_run.parameters = _parameters(row)
    _close(journal, row.id, run_flow(flow, flow_run))


def _close(journal: Journal, run: str, state: State[Any] | None) -> None:
    """Note the end of a run whose body ended before, or without, noting it itself: a bad inventory, say."""
    if state is None or state.name not in _ENDS:
        return
    with journal.transaction() as tx:
        row = tx.get_run(run)
        if row.state == "running" and row.executor == executor_name():
            tx.set_run(run, _ENDS[state.name], who="runner", summary=state.message or "")


def _claim(journal: Journal, run: str) -> RunRow | None:
    """Take the run for this process; None when another was quicker, or still lives."""
    if is_executing(run):
        return None
    with journal.transaction() as tx:
        return tx.claim_run(run, who="runner", executor=executor_name())


def _flow_run(api: SyncPrefectClient, row: RunRow, deployment: str) -> FlowRun:
    """The run's flow run. Either made now, Running, or, on a resume, brought back, Pending."""
    if not deployment:
        raise Unreachable("Prefect did not answer when the runner started")
    if row.flow_run is not None:
        return prefect_api.reopen(api, UUID(row.flow_run))
    made, is_new = prefect_api.begin_flow_run(api, UUID(deployment), row.id, _parameters(row), executor_name())
    if not is_new:
        return prefect_api.reopen(api, made.id)
    answer_first_questions(api, made)
    return made


def _parameters(row: RunRow) -> dict[str, Any]:
    return {"target": row.target, "run": row.id, "reason": row.reason, "options": row.options}
