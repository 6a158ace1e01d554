"""A spare walks once through Prefect's engine before its run comes, and leaves no trace of that."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from deployments.prefect_private import run_flow

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

STEPS = 3
_TIME_LIMIT_S = 30.0


def rehearse(api: SyncPrefectClient) -> None:
    """Walk a flow of some tasks through the engine, with nobody told: what is built on first use is built then.

    The first flow of a process takes some 160 ms of processor time, the second 20; and that of a recovery is the first.
    """
    from prefect import flow, task
    from prefect.cache_policies import NO_CACHE
    from prefect.client.schemas.objects import FlowRun
    from prefect.states import Running

    @task(cache_policy=NO_CACHE, persist_result=False, timeout_seconds=_TIME_LIMIT_S)
    def step(number: int) -> int:
        return number

    @flow(name="rehearsal", persist_result=False)
    def rehearsal() -> None:
        for number in range(STEPS):
            step(number)

    begun: State[Any] = Running()
    flow_run = FlowRun(id=uuid4(), flow_id=uuid4(), name="rehearsal", state=begun, parameters={})
    with _untold(api, flow_run):
        run_flow(rehearsal, flow_run)


@contextlib.contextmanager
def _untold(api: SyncPrefectClient, flow_run: FlowRun) -> Iterator[None]:
    """Let a flow run that the server does not know of pass for one, and neither an event nor a log line of it go out."""
    from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails
    from prefect.events.clients import NullEventsClient
    from prefect.events.worker import EventsWorker

    def accept(_flow_run_id: Any, state: Any, **_: Any) -> Any:
        accepted: OrchestrationResult[Any] = OrchestrationResult(
            state=state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails()
        )
        return accepted.model_copy(update={"state": state})

    async def drop(event: Any) -> None:
        worker._context_cache.pop(event.id, None)

    stubs = {"set_flow_run_state": accept, "read_flow_run": lambda _id: flow_run, "update_flow_run": lambda **_: None}
    vars(api).update(stubs)
    EventsWorker.set_client_override(NullEventsClient)
    worker = EventsWorker.instance()
    worker._handle = drop  # type: ignore[method-assign]
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        EventsWorker.set_client_override(None)
        for name in stubs:
            del vars(api)[name]
