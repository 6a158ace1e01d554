"""One execution of a run: from taking the lock to writing down how it ended.

The same run may be executed several times: after a crash, after an approval. Each execution walks the procedure from
the top; the journal gives back what is done already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from recoverd import host_locks, locks
from recoverd.connections import Connections
from recoverd.errors import Busy, GaveWay, RecoverdError, Refused, Stale
from recoverd.gate import Waiting
from recoverd.inventory import Inventory, Selection
from recoverd.journal import Journal, RunRow, State, Transaction
from recoverd.liveness import executing, executor_name
from recoverd.policy import allowed_mode, only_recorded
from recoverd.prepared import kept_journal, prepared, taken
from recoverd.redact import redact
from recoverd.settings import settings
from recoverd.world import World, entered

HOSTS_CHOSEN = "hosts.chosen"


@contextmanager
def execution(
    procedure: str,
    target: str,
    run: str | None,
    reason: str,
    options: Mapping[str, Any] | None = None,
    *,
    scope: str = "",
) -> Iterator[World]:
    """Execute a run: `with execution(...) as world:` around the body of a flow.

    Args:
        procedure: Name of the procedure.
        target: A service, a backup of files, or what selects hosts.
        run: The run's id; None when Prefect itself started the flow (its pages, a schedule): a run is registered then.
        reason: Why, for a run that is registered here.
        options: Options of the procedure, likewise.
        scope: What of the target it is about, where that is not the target itself: a backup, which takes hours, must
            not keep a failover from its service. Runs of one scope exclude each other.

    Raises:
        Busy: Another run holds the target.
        GaveWay: Likewise, and this run has begun already: it waits until that one has ended.
        Stale: The run has ended already.
    """
    journal = kept_journal()
    row = _row_of(journal, procedure, target, run, reason, options)
    ready = taken(settings().inventory)
    inventory = ready.inventory
    with ready.connections as connections, executing(row.id), _ended(journal, row, connections):
        found = inventory.anything(target)
        if isinstance(found, Selection):
            with _on_hosts(journal, row, inventory, connections, found) as here:
                yield here
            return
        kind = found.kind
        lease = locks.acquire(journal, f"{scope or kind}:{target}", row.id, ttl_s=settings().lease_ttl_s)
        try:
            with lease.kept():
                here = World(_begin(journal, row), inventory, journal, connections, lease)
                with entered(here):
                    yield here
        finally:
            lease.release()


@contextmanager
def _on_hosts(
    journal: Journal, row: RunRow, inventory: Inventory, connections: Connections, found: Selection
) -> Iterator[World]:
    """A run on hosts: it holds each of them, so that two runs on one host exclude each other.

    Those of its first execution count: what a group or a label means may have changed since.
    """
    hosts = hosts_of_run(journal, row.id) or found.hosts
    with host_locks.holding(journal, hosts, row.id, settings().lease_ttl_s) as leases:
        if not hosts_of_run(journal, row.id):
            journal.append(
                HOSTS_CHOSEN, who="recoverd", run=row.id, body={"selector": found.name, "hosts": list(hosts)}
            )
        here = World(_begin(journal, row), inventory, journal, connections, leases=leases)
        with entered(here):
            yield here


def hosts_of_run(journal: Journal | Transaction, run: str) -> tuple[str, ...]:
    """The hosts that a run was begun on; none where it was on something else, or has not begun."""
    for entry in journal.entries(run=run, kinds=[HOSTS_CHOSEN]):
        return tuple(entry.body["hosts"])
    return ()


@contextmanager
def rehearsal(
    procedure: str, target: str, inventory: Inventory, options: Mapping[str, Any] | None = None
) -> Iterator[World]:
    """A dry run: real observations, acts that only say what they would do, no lock, nothing written."""
    row = planned_run(procedure, target, options or {})
    with (
        Connections(inventory) as connections,
        entered(World(row, inventory, None, connections, dry_run=True)) as world,
    ):
        yield world


@contextmanager
def looking_on(target: str) -> Iterator[World]:
    """A dry run for looking only, with what this process has ready; its connections stay open for the run to come."""
    ready = prepared(settings().inventory)
    with entered(World(planned_run("look", target, {}), ready.inventory, None, ready.connections, dry_run=True)) as it:
        yield it


def planned_run(procedure: str, target: str, options: Mapping[str, Any]) -> RunRow:
    """The row of a run that stands in no journal: for plans, and for what runs all the time."""
    now = datetime.now(timezone.utc)
    return RunRow(
        id="plan",
        seq=0,
        procedure=procedure,
        target=target,
        state="running",
        mode="act",
        trigger="hand",
        requester="plan",
        reason="plan",
        options=dict(options),
        urgency=0,
        incident=None,
        alert=None,
        created_at=now,
        started_at=now,
        ended_at=None,
        flow_run=None,
        executor=None,
        summary="",
    )


def _row_of(
    journal: Journal, procedure: str, target: str, run: str | None, reason: str, options: Mapping[str, Any] | None
) -> RunRow:
    if run is None:
        row = _registered(journal, procedure, target, reason, options)
        if row.state == "refused":
            raise Refused(row.summary, f"`recoverd run {procedure} {target}` asks for it by hand")
        return row
    row = journal.get_run(run)
    if row.ended:
        raise Stale(f"run {row.id} has {row.state} already", "start a new run")
    return row


def _registered(
    journal: Journal, procedure: str, target: str, reason: str, options: Mapping[str, Any] | None
) -> RunRow:
    """A run that nobody has requested at the door (deployments/start.py): the same policy counts as for a schedule.

    It is requested and claimed in one transaction: in between, a runner would take it for its own.
    """
    inventory = prepared(settings().inventory).inventory
    mode = allowed_mode(inventory.policy_of(target), procedure, "schedule")
    why = reason or "started from Prefect"
    with journal.transaction() as tx:
        row = tx.create_run(
            procedure, target, trigger="schedule", requester="prefect", reason=why, mode=mode, options=options
        )
        if mode == "record":
            return tx.set_run(row.id, "refused", who="policy", summary=only_recorded(procedure, target, "schedule"))
        return tx.set_run(row.id, "running", who="prefect", executor=executor_name())


def _begin(journal: Journal, row: RunRow) -> RunRow:
    """Note the start, unless whoever made this process has done so when it claimed the run for it.

    A run that is running on another executor is taken over: holding its file lock and its target proves that one dead.
    """
    if row.state == "running" and row.executor == executor_name():
        return row
    return journal.set_run(
        row.id, "running", who="recoverd", executor=executor_name(), expected=("requested", "running", "waiting")
    )


@contextmanager
def _ended(journal: Journal, row: RunRow, connections: Connections) -> Iterator[None]:
    """Write down how the execution ended. A killed process writes nothing: the reconciler finds it."""
    try:
        yield
    except BaseException as error:
        _finish(journal, row, _state_after(error, journal, row.id), error, connections)
        raise
    _finish(journal, row, "succeeded", None, connections)


def _state_after(error: BaseException, journal: Journal, run: str) -> State:
    """Prefect speaks by exceptions: a suspension is not a failure, a termination is a cancellation.

    A host on which another script is at work refuses nothing: what has begun already goes on when it is asked to again.
    """
    if isinstance(error, Waiting | GaveWay) or type(error).__name__ == "Pause":
        return "waiting"
    if isinstance(error, Busy) and any(True for _ in journal.entries(run=run, kinds=["step.intended"], limit=1)):
        return "failed"
    if isinstance(error, Refused | Busy):
        return "refused"
    if type(error).__name__ in {"TerminationSignal", "KeyboardInterrupt", "CancelledRun"}:
        return "cancelled"
    return "failed"


def _finish(journal: Journal, row: RunRow, state: State, error: BaseException | None, connections: Connections) -> None:
    now = journal.get_run(row.id)
    if now.ended:
        return  # cancelled from outside in the meantime: that stands
    body: dict[str, Any] = {"connections": connections.tally()}
    if isinstance(error, GaveWay):
        body |= {"gave_way_to": error.by, "why": redact(error.message)}
    elif error is not None and state != "waiting":
        message = error.message if isinstance(error, RecoverdError) else f"{type(error).__name__}: {error}"
        body = {"error": redact(message), "hint": getattr(error, "hint", ""), "class": type(error).__name__}
        body |= {"passes": True} if getattr(error, "passes", False) else {}
    summary = str(body.get("error") or body.get("why") or now.summary)
    journal.set_run(row.id, state, who="recoverd", summary=summary, body=body)
