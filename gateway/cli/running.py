"""`recoverd run`, `cancel`, `resume` and `undo`: starting procedures by hand, ending them, going on, taking them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.blast import say_blast_radius
from gateway.cli.fix_options import ExpectRows, FromCsv, Key, PlanHash, Rule, Strict, Where, fix_flags
from gateway.cli.options import (
    Accounts,
    Addresses,
    As,
    For,
    Force,
    Given,
    Into,
    MaybeTarget,
    On,
    OnHost,
    Output,
    Paths,
    Procedure,
    SetId,
    Sites,
    Table,
    To,
    Yes,
    the_inventory,
    the_journal,
    the_settings,
    the_target,
    with_flags,
)
from gateway.cli.output import Format, confirmed, emit, note, write
from gateway.cli.reviewing import Run, run_data

if TYPE_CHECKING:
    from recoverd.inventory import Inventory
    from recoverd.journal import Journal, Mode, RunRow
    from recoverd.person import Actor

Reason = Annotated[str, typer.Option("--reason", "-r", help="Why: it stands in the record.")]
Wait = Annotated[bool, typer.Option("--wait", "-w", help="Follow it, and exit by how it ends.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds that --wait waits at most.")]
Queue = Annotated[bool, typer.Option("--queue", help="Leave it for a `recoverd serve` that is not there yet.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("cancel")(cancel)
    app.command("resume")(resume)
    app.command("undo")(undo)


def run(
    procedure: Procedure,
    reason: Reason,
    target: MaybeTarget = None,
    on: On = None,
    wait: Wait = False,
    option: Given = None,
    to: To = None,
    site: Sites = None,
    into: Into = None,
    set_id: SetId = None,
    host: OnHost = None,
    table: Table = None,
    as_name: As = None,
    path: Paths = None,
    accounts: Accounts = None,
    addresses: Addresses = None,
    for_time: For = None,
    force: Force = False,
    where: Where = None,
    expect_rows: ExpectRows = None,
    from_csv: FromCsv = None,
    rule: Rule = None,
    plan_hash: PlanHash = None,
    strict: Strict = False,
    key: Key = None,
    override_cooldown: Annotated[
        bool, typer.Option("--override-cooldown", help="Also soon after the last failover.")
    ] = False,
    ask: Annotated[bool, typer.Option("--ask", help="Have it approved first, whatever the policy says.")] = False,
    timeout_s: Timeout = 3600,
    queue: Queue = False,
    output: Output = Format.table,
) -> None:
    """Start a procedure on a service, a backup of files, or hosts. With --wait follow it live, one line a step."""
    from deployments.catalogue import procedure as find_procedure

    inventory = the_inventory()
    known = find_procedure(procedure)
    wanted = the_target(target, on)
    known.check_target(inventory, wanted)
    flags = {
        "to": to,
        "site": site,
        "into": into,
        "set": set_id,
        "host": host,
        "table": table,
        "as": as_name,
        "path": path,
        "accounts": accounts,
        "addresses": addresses,
        "for": for_time,
        **fix_flags(where, expect_rows, from_csv, rule, plan_hash, strict, key),
    }
    options = with_flags(option, **flags)
    if force:
        options["force"] = True
    known.check_options(options)
    name = known.name
    if override_cooldown:
        options["override_cooldown"] = True
    mode: Mode = "ask" if ask else "act"
    say_blast_radius(inventory, wanted)
    start_by_hand(inventory, name, wanted, reason, mode, options, wait, timeout_s, queue, output)


def cancel(
    run_id: Run,
    reason: Reason,
    output: Output = Format.table,
) -> None:
    """End a run before it is through. What it has done stays done; `recoverd show` says how to take it back."""
    from deployments.start import cancel as cancel_run

    person = permitted(the_inventory())
    journal = the_journal()
    row = cancel_run(run_id, who=person.name, reason=reason, journal=journal)
    words = "cancelled" if row.state == "cancelled" else "asked to stop; see it end: recoverd show --follow " + row.id
    emit(run_data(row), output, lambda: write(f"{row.id} {words}"))


def resume(
    run_id: Run,
    reason: Reason,
    wait: Wait = False,
    timeout_s: Timeout = 3600,
    queue: Queue = False,
    output: Output = Format.table,
) -> None:
    """Let a failed run go on where it stopped, once its cause is mended. What it has done is not repeated."""
    from deployments.start import resume as resume_run
    from gateway.cli.runner import require_runner
    from recoverd.errors import Stale
    from recoverd.locks import gave_way_to

    person = permitted(the_inventory())
    if not queue:
        require_runner(the_settings())
    journal = the_journal()
    row = journal.get_run(run_id)
    if row.state == "waiting" and gave_way_to(journal, row) is None:
        raise Stale(f"run {row.id} waits for approval", f"another person runs `recoverd approve {row.id}`")
    _hand_over(journal, resume_run(row.id, who=person.name, reason=reason, journal=journal), wait, timeout_s, output)


def undo(
    run_id: Run,
    reason: Reason,
    wait: Wait = False,
    timeout_s: Timeout = 3600,
    queue: Queue = False,
    yes: Yes = False,
    output: Output = Format.table,
) -> None:
    """Take the steps of an ended run back, the last one first. Refused where the world has moved on since."""
    from flows.undoing import HAVE_THEIR_OWN_WAY_BACK, KINDS, read_backwards
    from recoverd.errors import Refused, Stale

    inventory, journal = the_inventory(), the_journal()
    row = journal.get_run(run_id)
    if not row.ended or row.state in {"undone", "refused"}:
        raise Stale(f"run {row.id} is {row.state}: there is nothing to take back", f"recoverd show {row.id}")
    if way := HAVE_THEIR_OWN_WAY_BACK.get(row.procedure):
        raise Refused(f"an undo does not take a run of {row.procedure} back", way.format(target=row.target))
    if row.procedure in {"fix-record", "takedown"}:  # by a second fix, which another person approves
        options = {"undo": row.id}
        start_by_hand(inventory, "fix-record", row.target, reason, "act", options, wait, timeout_s, queue, output)
        return
    plan = read_backwards(journal.entries(run=row.id, kinds=KINDS))
    if plan.final or not plan.steps:
        raise Refused(f"run {row.id}: {plan.summary}", f"recoverd show {row.id} says more, step by step")
    for title in plan.left:
        note(f"stays as it is: {title}")
    for step in plan.steps:
        note(f"to be taken back: {step.title}")
    if not confirmed(f"Take these steps of {row.id} back?", yes=yes, doing=f"undo {row.id}"):
        raise Refused("nothing was done", "")
    options = {"run": row.id}
    start_by_hand(inventory, "undo", row.target, reason, "act", options, wait, timeout_s, queue, output)


def permitted(inventory: Inventory) -> Actor:
    """The person at the keyboard, who may start runs.

    Raises:
        NotAllowed: Their roles do not let them. An inventory that names nobody lets everybody.
    """
    from recoverd import person, policy

    who = person.current(inventory)
    if inventory.people:
        policy.check_may(who.name, who.rights, "run")
    return who


def start_by_hand(
    inventory: Inventory, procedure: str, target: str, reason: str, mode: Mode, options: dict[str, Any],
    wait: bool, timeout_s: float, queue: bool, output: Format,
) -> None:  # fmt: skip
    """Start a run as the person at the keyboard, and follow it where they want to."""
    from deployments.start import start
    from gateway.cli.runner import require_runner
    from recoverd.errors import Invalid, Refused
    from recoverd.policy import check_may

    if not reason.strip():
        raise Invalid("a run needs a reason", 'say why: --reason "…"')
    person = permitted(inventory)
    if options.get("force") and inventory.people:
        check_may(person.name, person.rights, "force")
    if not queue:
        require_runner(the_settings())
    journal = the_journal()
    row = start(
        procedure, target, trigger="hand", requester=person.name, reason=reason, mode=mode,
        policy=inventory.policy_of(target), options=options, journal=journal,
    )  # fmt: skip
    if row.state == "refused":
        raise Refused(row.summary, "see policies.yaml; `recoverd plan` shows what it would do")
    _hand_over(journal, row, wait, timeout_s, output)


def _hand_over(journal: Journal, row: RunRow, wait: bool, timeout_s: float, output: Format) -> None:
    """The run is on disk and starts by itself: say its name, or follow it and exit by how it ends."""
    from gateway.cli.follow import exit_code, follow

    if not wait:
        emit(run_data(row), output, lambda: write(row.id))
        note(f"see it: recoverd show {row.id} --follow")
        return
    note(f"run {row.id}")
    try:
        row = follow(journal, row.id, timeout_s=timeout_s, until_waiting=True)
    except KeyboardInterrupt:
        note(f"run {row.id} goes on; recoverd cancel {row.id} ends it")
        raise
    emit(run_data(row), output, lambda: write(f"{row.id} {row.state}: {row.summary}".rstrip(": ")))
    if row.state == "waiting":
        note(f"another person runs: recoverd approve {row.id}")
    raise typer.Exit(exit_code(journal, row))
