"""Keeps Prefect and the journal in step: what people and schedules start in Prefect comes into the journal, what the
journal knows better goes back to Prefect."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from deployments import prefect_api
from deployments.catalogue import Procedure
from deployments.reconciler import LOOK_EVERY_S, attempt
from deployments.start import CANCEL_ASKED, cancel_asked, start
from recoverd.errors import RecoverdError
from recoverd.inventory import Policy, load
from recoverd.journal import ENDED, Journal, RunRow
from recoverd.liveness import is_executing
from recoverd.settings import settings
from recoverd.timeline import as_markdown, build

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State
    from prefect.client.schemas.responses import FlowRunResponse

logger = logging.getLogger("recoverd.mirror")

WHO = "prefect"
RECENT = 100


class Mirror:
    """One thread of the runner; recovery does not wait for it.

    Args:
        journal: The journal.
        catalogue: The procedures.
        deployments: Prefect's id of each procedure's deployment.
    """

    def __init__(self, journal: Journal, catalogue: Mapping[str, Procedure], deployments: Mapping[str, UUID]) -> None:
        self._journal = journal
        self._catalogue = catalogue
        self._deployments = deployments
        self._settled: set[tuple[str, datetime | None]] = set()
        self._api: SyncPrefectClient | None = None

    def run_forever(self) -> NoReturn:
        """Look both ways, again and again."""
        while True:
            attempt(self.follow)
            time.sleep(LOOK_EVERY_S)

    def follow(self) -> None:
        """One round, both ways."""
        if self._api is None:
            self._api = prefect_api.client().__enter__()  # kept: opening one costs more than all calls of a round
        self._take_in(self._api)
        self._pass_on_cancellations(self._api)
        self._settle_ended(self._api)

    def _take_in(self, api: SyncPrefectClient) -> None:
        """Flow runs that are due become runs in the journal; from there all runs go one way."""
        names = {deployment: name for name, deployment in self._deployments.items()}
        for flow_run in prefect_api.scheduled(api, names):
            row = self._row_of(flow_run)
            if row is None and flow_run.deployment_id is not None:
                self._register(api, flow_run, names[flow_run.deployment_id])
            elif row is not None and row.state in ("waiting", "failed") and not is_executing(row.id):
                why = {"why": "resumed in Prefect"}
                self._journal.set_run(row.id, "requested", who=WHO, expected=row.state, body=why)
            elif row is not None and row.ended:
                prefect_api.force_state(api, flow_run.id, _state_for(row))

    def _register(self, api: SyncPrefectClient, flow_run: FlowRunResponse, procedure: str) -> None:
        given = flow_run.parameters
        target = str(given.get("target", ""))
        policy = _policy_of(target)
        with self._journal.transaction() as tx:
            row = start(
                procedure,
                target,
                trigger="schedule" if flow_run.auto_scheduled else "hand",
                requester=WHO,
                reason=str(given.get("reason") or f"flow run {flow_run.name} of Prefect"),
                mode="act" if policy is not None else "ask",
                policy=policy,
                options=given.get("options") or {},
                run=_run_id(flow_run, procedure),
                tx=tx,
                catalogue=self._catalogue,
            )
            tx.note_run(row.id, flow_run=str(flow_run.id))
        logger.info("run %s: taken in from Prefect's flow run %s", row.id, flow_run.name)

    def _row_of(self, flow_run: FlowRunResponse) -> RunRow | None:
        """The run that this flow run stands for: made for it, or from it."""
        procedure = {identifier: name for name, identifier in self._deployments.items()}[flow_run.deployment_id]  # type: ignore[index]
        made_for = self._journal.find_run(flow_run.idempotency_key) if flow_run.idempotency_key else None
        return made_for or self._journal.find_run(_run_id(flow_run, procedure))

    def _pass_on_cancellations(self, api: SyncPrefectClient) -> None:
        """Someone pressed cancel in Prefect, for a run that executes here or anywhere."""
        running = {UUID(row.flow_run): row for row in self._journal.list_runs(states=["running"]) if row.flow_run}
        for identifier, flow_run in prefect_api.read(api, running).items():
            row = running[identifier]
            if flow_run.state and flow_run.state.is_cancelling() and cancel_asked(self._journal, row.id) is None:
                why = {"reason": "cancelled in Prefect"}
                self._journal.append(CANCEL_ASKED, who=WHO, run=row.id, incident=row.incident, body=why)

    def _settle_ended(self, api: SyncPrefectClient) -> None:
        """Flow runs of runs that are over must not stay open: their process may have died before it could say so."""
        ended = self._journal.list_runs(states=list(ENDED), limit=RECENT)
        new = [row for row in ended if (row.id, row.ended_at) not in self._settled]
        open_ones = {UUID(row.flow_run): row for row in new if row.flow_run}
        found = prefect_api.read(api, open_ones)
        records = {
            row.id: (identifier, self._record(row)) for identifier, row in open_ones.items() if identifier in found
        }
        prefect_api.publish(api, {run: record for run, record in records.items() if not is_executing(run)})
        for identifier, row in open_ones.items():
            flow_run = found.get(identifier)
            if is_executing(row.id):
                continue  # it is about to say so itself
            if flow_run is not None and not _agrees(row, flow_run.state):
                prefect_api.force_state(api, identifier, _state_for(row))
            self._settled.add((row.id, row.ended_at))
        self._settled &= {(row.id, row.ended_at) for row in ended}

    def _record(self, row: RunRow) -> str:
        """The run's timeline, as a reviewer reads it."""
        alert = self._journal.get_alert(row.alert) if row.alert else None
        return as_markdown(build(row, self._journal.entries(run=row.id), alert))


def _policy_of(target: str) -> Policy | None:
    """The policy of a service; None where it cannot be known now, as with an inventory that does not load."""
    try:
        inventory = load(settings().inventory)
        return inventory.policy_of(target)
    except RecoverdError as error:
        logger.warning("the policy of %s is not known, so a person is asked: %s", target, error)
        return None


def _run_id(flow_run: FlowRunResponse, procedure: str) -> str:
    """The id of the run that a flow run of Prefect becomes: always the same, so that it becomes only one.

    The end of Prefect's id is random. Its beginning is the time, which is the same for all that one look of its scheduler made.
    """
    due = flow_run.expected_start_time or flow_run.created
    start_of_name = "".join(letter for letter in procedure if letter.isalpha())[:2]
    return f"{start_of_name}-{due:%Y%m%d-%H%M}-{flow_run.id.hex[-8:]}"


def _agrees(row: RunRow, state: State[Any] | None) -> bool:
    if state is None or not state.is_final():
        return False
    wanted = _state_for(row)
    return state.type == wanted.type or (state.is_crashed() and wanted.is_failed())


def _state_for(row: RunRow) -> State[Any]:
    from prefect.states import Cancelled, Completed, Failed

    made = {"succeeded": Completed, "undone": Completed, "cancelled": Cancelled}.get(row.state, Failed)
    return made(message=row.summary or f"the run has {row.state}")
