"""What recoverd asks of Prefect's server, over Prefect's public client."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from deployments.catalogue import Procedure
from deployments.schedules import Schedule
from recoverd.errors import Invalid

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.client.schemas.responses import FlowRunResponse

logger = logging.getLogger("recoverd.runner")

READ_AT_ONCE = 200


def client() -> SyncPrefectClient:
    """A client of the server that the environment names; open it with `with`."""
    from prefect.client.orchestration import get_client

    return get_client(sync_client=True)


def apply_deployments(catalogue: Mapping[str, Procedure], schedules: Iterable[Schedule]) -> dict[str, UUID]:
    """Make each procedure a deployment, with exactly these schedules. Repeating it changes nothing.

    Returns:
        The id of each procedure's deployment.
    """
    from prefect.types.entrypoint import EntrypointType

    by_procedure: dict[str, list[Any]] = {name: [] for name in catalogue}
    for schedule in schedules:
        by_procedure[schedule.procedure].append(schedule.for_prefect())
    ids: dict[str, UUID] = {}
    for name, procedure in catalogue.items():
        try:
            flow = procedure.flow()
        except Invalid as error:
            logger.error("%s", error)  # noqa: TRY400  # the other procedures must run all the same
            continue
        deployment: Any = flow.to_deployment(
            procedure.deployment,
            description=procedure.summary,
            tags=["recoverd"],
            schedules=by_procedure[name],
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        ids[name] = deployment.apply()
    return ids


def begin_flow_run(
    api: SyncPrefectClient, deployment: UUID, run: str, parameters: Mapping[str, Any], executor: str
) -> tuple[FlowRun, bool]:
    """The flow run of a run: made now, in state Running, or the one that was made for this run before.

    Args:
        api: The client.
        deployment: The procedure's.
        run: The run's id.
        parameters: The flow's.
        executor: The process that is about to execute it.

    Returns:
        The flow run, and whether it was made by this call.
    """
    from prefect.states import Running

    begun: State[Any] = Running(message=f"begun by {executor} ({uuid4().hex[:8]})")
    made = api.create_flow_run_from_deployment(
        deployment, name=run, parameters=dict(parameters), idempotency_key=run, state=begun, tags=["recoverd"]
    )
    return made, made.state is not None and made.state.is_running() and made.state.message == begun.message


def reopen(api: SyncPrefectClient, flow_run: UUID) -> FlowRun:
    """Bring a flow run from whatever state it is in to Pending, so that it can be executed again."""
    from prefect.states import Crashed, Pending

    state = api.read_flow_run(flow_run).state
    if state is not None and state.is_running():
        api.set_flow_run_state(flow_run, Crashed(message="its process is gone"), force=True)
    api.set_flow_run_state(flow_run, Pending(message="taken up again"), force=True)
    return api.read_flow_run(flow_run)


def force_state(api: SyncPrefectClient, flow_run: UUID, state: State[Any]) -> None:
    """Set a state that Prefect's rules would not allow, because the journal knows better."""
    api.set_flow_run_state(flow_run, state, force=True)


def publish(api: SyncPrefectClient, records: Mapping[str, tuple[UUID, str]]) -> None:
    """Put the records of runs into Prefect as Markdown artifacts of their flow runs; those that are there are left.

    Args:
        api: The client.
        records: By run id: its flow run, and its record.
    """
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    if not records:
        return
    keys = {f"recoverd-{run.lower()}": run for run in records}
    known = api.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=list(keys))))
    for key in keys.keys() - {artifact.key for artifact in known}:
        flow_run, text = records[keys[key]]
        api.create_artifact(
            ArtifactCreate(key=key, type="markdown", description="what the run did", data=text, flow_run_id=flow_run)
        )


def scheduled(api: SyncPrefectClient, deployments: Iterable[UUID]) -> list[FlowRunResponse]:
    """The flow runs of these deployments that are due: started from Prefect's pages, or by a schedule."""
    return api.get_scheduled_flow_runs_for_deployments(
        deployment_ids=list(deployments), scheduled_before=datetime.now(timezone.utc), limit=READ_AT_ONCE
    )


def read(api: SyncPrefectClient, flow_runs: Iterable[UUID]) -> dict[UUID, FlowRun]:
    """These flow runs by id, without those that were deleted."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    wanted = list(flow_runs)
    found: dict[UUID, FlowRun] = {}
    for start in range(0, len(wanted), READ_AT_ONCE):
        ids = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + READ_AT_ONCE]))
        found |= {run.id: run for run in api.read_flow_runs(flow_run_filter=ids, limit=READ_AT_ONCE)}
    return found
