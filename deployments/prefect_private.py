"""Everything of Prefect that is not its public interface, here and in prefect_rehearsal.py, for exactly the pinned version.

`broken()` names what no longer is as it was here; the contract test and the server's and runner's start ask it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from recoverd.errors import Invalid

if TYPE_CHECKING:
    from uuid import UUID

    from prefect import Flow
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, State

PREFECT_VERSION = "3.8.8"
CANCEL_SIGNAL = signal.SIGUSR1
OBSERVE_AFTER_S = 5.0
TELL_AFTER_S = 1.5

# What the child of a run imports lazily in its first task: imported by the spare instead.
LAZY_MODULES = (
    "graphviz",
    "prefect._internal.states",
    "prefect.client.orchestration",
    "prefect.concurrency._asyncio",
    "prefect.concurrency._events",
    "prefect.concurrency._sync",
    "prefect.concurrency.services",
    "prefect.deployments.runner",
    "prefect.flow_engine",
    "prefect.flow_runs",
    "prefect.task_engine",
    "prefect.utilities.visualization",
    "rich._emoji_codes",
)


def serve_api(listener: socket.socket) -> None:
    """Serve Prefect's API and pages on a socket that listens already, until a signal ends this process.

    Raises:
        Invalid: The installed Prefect is not the one this was written for.
    """
    require()
    import uvicorn
    from prefect.server.api.server import create_app

    take_the_write_lock_at_once()
    config = uvicorn.Config(
        create_app(final=True),
        log_level="warning",
        access_log=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])


def take_the_write_lock_at_once() -> None:
    """Begin each transaction of the server on SQLite with BEGIN IMMEDIATE.

    A transaction that reads first and writes later fails with "database is locked" as soon as another one has written
    in between, whatever the busy timeout; the server answers 503 then.
    """
    from prefect.server.database.configurations import AioSqliteConfiguration

    begin = AioSqliteConfiguration.begin_transaction

    def begin_immediate(self: Any, session: Any, with_for_update: bool = False) -> Any:
        return begin(self, session, with_for_update=True)

    AioSqliteConfiguration.begin_transaction = begin_immediate  # type: ignore[method-assign]


def run_flow(flow: Flow[..., Any], flow_run: FlowRun) -> State[Any] | None:
    """Execute a flow run in this process and give back the state it ended in.

    A process that is terminated is a crash, to be taken up again; only `CANCEL_SIGNAL` is a cancellation.
    """
    from prefect.exceptions import Abort, Pause, TerminationSignal
    from prefect.flow_engine import run_flow as run

    flow.should_validate_parameters = False  # the journal has them as they were taken; a model is built each time else
    try:
        return run(flow, flow_run=flow_run, return_type="state")  # type: ignore[return-value]
    except (Abort, Pause) as error:
        state: State[Any] | None = getattr(error, "state", None)
        return state
    except TerminationSignal:
        from prefect.states import Cancelled

        return Cancelled()


def prepare_engine() -> None:
    """Take out of the engine what makes a run wait: before its first task, and after its last."""
    from prefect import flow_engine, results

    engine: Any = flow_engine
    observe, heartbeats = engine.observe_flow_run_suspension, engine._send_heartbeats
    engine.observe_flow_run_suspension = _late(observe)
    engine._send_heartbeats = lambda run, **_: heartbeats(run, join_on_exit=False)
    engine.capture_sigterm = _capture_cancel
    engine._termination_intent = lambda: "cancel"
    # A client of its own would ask the server where results are kept. They are not kept: the journal has them.
    results._read_server_default_result_storage_block_id = lambda: None


def prepare_client(api: SyncPrefectClient) -> None:
    """Let the engine go on while the server notes the version and the retries of the flow, which nothing waits for."""
    update = api.update_flow_run

    def update_later(*args: Any, **kwargs: Any) -> None:
        def work() -> None:
            with contextlib.suppress(Exception):  # shown on Prefect's pages, and nowhere else
                update(*args, **kwargs)

        threading.Thread(target=work, name="flow version", daemon=True).start()

    api.update_flow_run = update_later  # type: ignore[method-assign,assignment]


def answer_first_questions(api: SyncPrefectClient, flow_run: FlowRun) -> None:
    """Spare the engine two waits for the server, which has just made this flow run in state Running.

    The engine first asks whether it may be Running, then reads it. Both are known; every later question is the server's.
    """
    from prefect.client.schemas.responses import OrchestrationResult, SetStateStatus, StateAcceptDetails

    set_state, read = api.set_flow_run_state, api.read_flow_run

    def set_once(flow_run_id: Any, state: Any, force: bool = False) -> Any:
        api.set_flow_run_state = set_state  # type: ignore[method-assign]
        if flow_run_id != flow_run.id or not state.is_running():
            return set_state(flow_run_id, state, force=force)
        return OrchestrationResult(state=flow_run.state, status=SetStateStatus.ACCEPT, details=StateAcceptDetails())

    def read_once(flow_run_id: Any) -> Any:
        api.read_flow_run = read  # type: ignore[method-assign]
        return flow_run if flow_run_id == flow_run.id else read(flow_run_id)

    api.set_flow_run_state = set_once  # type: ignore[method-assign]
    api.read_flow_run = read_once  # type: ignore[method-assign]


def _late(observe: Callable[..., Any]) -> Callable[..., Any]:
    """The websocket that watches for a suspension from Prefect's pages, opened later and without waiting for it."""

    @contextlib.contextmanager
    def observe_later(flow_run_id: UUID, request: Any, *args: Any, **kwargs: Any) -> Iterator[None]:
        over = threading.Event()

        def watch() -> None:
            if not over.wait(OBSERVE_AFTER_S):
                with observe(flow_run_id, request, *args, **kwargs):
                    over.wait()

        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(watch,), name="suspension", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    return observe_later


@contextlib.contextmanager
def _capture_cancel() -> Iterator[None]:
    """In the place of Prefect's handler of SIGTERM, which cannot tell a cancellation from a machine going down."""
    from prefect.exceptions import TerminationSignal

    def cancel(number: int, _frame: object) -> None:
        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)  # once: the clean-up is not to be cancelled too
        raise TerminationSignal(signal=number)

    signal.signal(CANCEL_SIGNAL, cancel)
    try:
        yield
    finally:
        signal.signal(CANCEL_SIGNAL, signal.SIG_IGN)


def start_workers() -> None:
    """Start what sends events and logs to the server, each with a client of its own.

    Done with the first event, it keeps the interpreter busy for some 100 ms, in the first steps of the run.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.instance()
    APILogWorker.instance()


def tell_later(seconds: float = TELL_AFTER_S) -> None:
    """Hold the events of this process back for so long, or until it ends: the pages are drawn later, and whole.

    Each task has three. Sending them, and looking up what belongs to them, takes processor time from the first second of a
    recovery, here and in the server.
    """
    from prefect.events.worker import EventsWorker

    worker = EventsWorker.instance()
    handle, until = worker._handle, time.monotonic() + seconds

    async def handle_later(event: Any) -> None:
        while not worker._stopped and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await handle(event)

    worker._handle = handle_later  # type: ignore[method-assign]


def require() -> None:
    """Raise Invalid when the installed Prefect is not as this module needs it."""
    if problems := broken():
        raise Invalid(
            f"this recoverd works with prefect {PREFECT_VERSION}: " + "; ".join(problems),
            "install the pinned versions: pip install -r requirements.lock",
        )


def broken() -> list[str]:
    """What this module relies on and is not so in the installed Prefect; empty when all is well."""
    import prefect
    from prefect import flow_engine, results
    from prefect.events.worker import EventsWorker
    from prefect.server.database.configurations import AioSqliteConfiguration

    if prefect.__version__ != PREFECT_VERSION:
        return [f"{prefect.__version__} is installed"]
    engine = flow_engine.FlowRunEngine
    expected = [
        ("observe_flow_run_suspension", flow_engine.BaseFlowRunEngine.setup_flow_run_suspension_request),
        ("_send_heartbeats", engine.run_context),
        ("capture_sigterm", engine.initialize_run),
        ("_termination_intent", engine.initialize_run),
        ("propose_state_sync", engine.set_state),
        ("read_flow_run", engine.setup_run_context),
    ]
    problems = [f"flow_engine.{name} is not used where it was" for name, user in expected if not _uses(user, name)]
    if not _uses(EventsWorker._main_loop, "_handle"):
        problems.append("EventsWorker._handle is not used where it was")
    if not _uses(results._get_default_result_storage, "_read_server_default_result_storage_block_id"):
        problems.append("results._read_server_default_result_storage_block_id is not used where it was")
    wanted = ["self", "session", "with_for_update"]
    if list(inspect.signature(AioSqliteConfiguration.begin_transaction).parameters) != wanted:
        problems.append("AioSqliteConfiguration.begin_transaction has other arguments")
    if not {"flow", "flow_run", "return_type"} <= set(inspect.signature(flow_engine.run_flow).parameters):
        problems.append("flow_engine.run_flow has other arguments")
    return problems


def _uses(function: Any, name: str) -> bool:
    return name in inspect.unwrap(function).__code__.co_names
