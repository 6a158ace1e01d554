"""The pinned versions work together. "It imports" proves nothing: these are the calls that broke with others.

fastapi 0.151 to 0.154 start but answer 422 to null limits and offsets; 0.155 and newer fail at import of Prefect's
server; SQLAlchemy 2.1 refuses the insert with which Prefect's scheduler makes flow runs, so that no schedule ever starts
anything; another Prefect may have moved what deployments/prefect_private.py relies on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from uuid import uuid4

import fastapi
import httpx
import prefect
import pytest
import sqlalchemy

from deployments import prefect_api, prefect_private, prefect_rehearsal
from recoverd.step.prefect_task import as_task

sys.path.insert(0, str(Path(__file__).parent / "services"))
from prefect_fixtures import Installation, installation  # noqa: F401  # a fixture is used by its name


def test_the_installed_versions_are_the_pinned_ones() -> None:
    assert prefect.__version__ == prefect_private.PREFECT_VERSION
    assert fastapi.__version__ == "0.150.0"
    assert sqlalchemy.__version__.startswith("2.0.")


def test_everything_private_that_is_used_of_prefect_is_still_there() -> None:
    assert prefect_private.broken() == []


def test_a_prefect_that_moved_is_named_before_anything_starts() -> None:
    code = (
        "from prefect import flow_engine; from deployments import prefect_private as p\n"
        "flow_engine.FlowRunEngine.run_context = lambda self: None\n"
        "print(p.broken())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "_send_heartbeats is not used where it was" in done.stdout


@pytest.fixture
def api(installation: Installation):  # noqa: F811
    with prefect_api.client() as client:
        yield client


@pytest.fixture
def deployment(installation: Installation):  # noqa: F811
    from deployments.catalogue import load_catalogue

    catalogue = load_catalogue("prefect_procedures:CATALOGUE")
    return prefect_api.apply_deployments({"urgent": catalogue["urgent"]}, ())["urgent"]


def test_null_limits_and_offsets_are_taken_by_every_filter(api, deployment) -> None:
    for path in ("flow_runs", "deployments", "flows", "task_runs", "logs", "work_pools", "variables", "artifacts"):
        answer = api._client.post(f"/{path}/filter", json={"limit": None, "offset": 0})
        assert answer.status_code == 200, (path, answer.text)
    assert api.read_deployments(limit=None) != []
    assert isinstance(api.read_flow_runs(limit=None), list)


def test_the_same_run_asked_for_twice_is_one_flow_run(api, deployment) -> None:
    key = str(uuid4())
    first, made = prefect_api.begin_flow_run(api, deployment, key, {"target": "x"}, "vm:1")
    again, made_again = prefect_api.begin_flow_run(api, deployment, key, {"target": "x"}, "vm:1")
    assert (again.id, made, made_again) == (first.id, True, False)
    assert first.state.is_running()
    assert api.read_flow_run(first.id).start_time is not None
    assert prefect_api.read(api, [first.id])[first.id].deployment_id == deployment


def test_a_flow_run_can_be_suspended_and_brought_back_from_any_state(api, deployment) -> None:
    from prefect.states import Completed, Running, Suspended

    flow_run, _ = prefect_api.begin_flow_run(api, deployment, str(uuid4()), {"target": "x"}, "vm:1")
    api.set_flow_run_state(flow_run.id, Suspended(timeout_seconds=60, pause_key="gate"))
    assert api.read_flow_run(flow_run.id).state.name == "Suspended"
    assert prefect_api.reopen(api, flow_run.id).state.is_pending()
    api.set_flow_run_state(flow_run.id, Running())
    assert prefect_api.reopen(api, flow_run.id).state.is_pending()
    assert "Crashed" in {state.name for state in api.read_flow_run_states(flow_run.id)}
    prefect_api.force_state(api, flow_run.id, Completed())
    assert api.read_flow_run(flow_run.id).state.is_completed()


def test_due_flow_runs_are_found_and_those_that_we_began_are_not(api, deployment) -> None:
    begun, _ = prefect_api.begin_flow_run(api, deployment, str(uuid4()), {"target": "x"}, "vm:1")
    reopened, _ = prefect_api.begin_flow_run(api, deployment, str(uuid4()), {"target": "x"}, "vm:1")
    pending = prefect_api.reopen(api, reopened.id)
    due = api.create_flow_run_from_deployment(deployment, parameters={"target": "x"})
    found = {run.id for run in prefect_api.scheduled(api, [deployment])}
    assert due.id in found
    assert not {begun.id, pending.id} & found
    for run in (due, begun, pending):
        api.delete_flow_run(run.id)


def test_the_engine_does_not_wait_for_what_the_server_has_just_said(api, deployment) -> None:
    """The first question for a state and the first reading are answered here; all others by the server."""
    from prefect.states import Completed, Running

    flow_run, _ = prefect_api.begin_flow_run(api, deployment, str(uuid4()), {"target": "x"}, "vm:1")
    asked: list[str] = []
    send = api._client.send
    api._client.send = lambda request, *args, **kwargs: asked.append(request.method) or send(request, *args, **kwargs)
    prefect_private.answer_first_questions(api, flow_run)
    assert api.set_flow_run_state(flow_run.id, Running()).state.id == flow_run.state.id
    assert api.read_flow_run(flow_run.id) is flow_run
    assert asked == []
    api.set_flow_run_state(flow_run.id, Completed())
    assert api.read_flow_run(flow_run.id).state.is_completed()
    assert asked == ["POST", "GET"]


def test_a_rehearsal_leaves_no_trace(api, deployment, monkeypatch) -> None:
    """It asks the server nothing, tells it nothing, and the client is afterwards what it was."""
    from prefect import results
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
    from prefect.context import SyncClientContext
    from prefect.events.worker import EventsWorker

    monkeypatch.setattr(results, "_read_server_default_result_storage_block_id", lambda: None)  # by prepare_engine()
    with SyncClientContext.get_or_create() as context:
        before, asked = dict(vars(context.client)), []
        context.client._client.send = lambda request, *_, **__: asked.append(request.url)
        prefect_rehearsal.rehearse(context.client)
        del context.client._client.send
        assert vars(context.client).keys() == before.keys()
    assert asked == []
    assert EventsWorker._client_override is None
    assert not logging.getLogger("prefect").manager.disable
    assert api.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=["rehearsal"]))) == []


def test_a_step_is_drawn_after_the_one_whose_view_it_is_given_and_the_view_is_not_searched(api) -> None:
    """A view within the view would be found by searching, which costs more than all else that Prefect does for a step."""
    from prefect import flow
    from prefect.context import TaskRunContext
    from pydantic import BaseModel

    class View(BaseModel):
        number: int
        within: BaseModel | None = None

    came_from: dict[int, list[str]] = {}

    def look(number: int, view: BaseModel | None = None) -> View:
        task_run = TaskRunContext.get().task_run
        ids.append(task_run.id)
        came_from[number] = [ids.index(one.id) + 1 for found in task_run.task_inputs.values() for one in found]
        return View(number=number, within=view)

    ids: list[object] = []
    step = as_task(look, look, 30.0)

    @flow(persist_result=False)
    def walk() -> View:
        return step(3, step(2, step(1)))

    assert walk().within.within.number == 1
    assert came_from == {1: [], 2: [1], 3: [2]}


def test_events_are_held_back_for_a_while_or_until_the_process_ends(monkeypatch) -> None:
    from prefect.events.worker import EventsWorker

    class Worker:
        def __init__(self) -> None:
            self._stopped = False
            self.sent: list[str] = []

        async def _handle(self, event: str) -> None:
            self.sent.append(event)

    async def goes_out(worker: Worker) -> bool:
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(worker._handle("done"), 0.2)
        return worker.sent == ["done"]

    worker = Worker()
    monkeypatch.setattr(EventsWorker, "instance", lambda: worker)
    prefect_private.tell_later(60)
    assert not asyncio.run(goes_out(worker))
    worker._stopped = True
    assert asyncio.run(goes_out(worker))
    worker = Worker()
    prefect_private.tell_later(0)
    assert asyncio.run(goes_out(worker))


def test_many_writers_at_once_are_all_served(api, deployment) -> None:
    codes: list[int] = []

    def create() -> None:
        with prefect_api.client() as own:
            for _ in range(5):
                path = f"/deployments/{deployment}/create_flow_run"
                answer = httpx.post(str(own.api_url).rstrip("/") + path, json={"state": {"type": "PENDING"}, "parameters": {"target": "x"}},
                                    headers={"Authorization": own._client.headers["Authorization"]}, timeout=30)  # fmt: skip
                codes.append(answer.status_code)

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(create,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [201] * 30


def test_the_api_is_for_the_service_user_alone_and_the_pages_are_served(installation: Installation) -> None:  # noqa: F811
    root = installation.server.url.removesuffix("/api")
    assert httpx.get(f"{root}/api/flows/count", timeout=10).status_code in (401, 405)
    assert httpx.post(f"{root}/api/flow_runs/filter", json={}, timeout=10).status_code == 401
    page = httpx.get(root, timeout=10, follow_redirects=True)
    assert page.status_code == 200
    assert "<html" in page.text
    assert (installation.config.home / "prefect" / "auth").stat().st_mode & 0o077 == 0


def test_the_database_is_below_the_home_directory(installation: Installation) -> None:  # noqa: F811
    path = installation.config.home / "prefect" / "prefect.db"
    assert sqlite3.connect(path).execute("pragma integrity_check").fetchone() == ("ok",)
