"""Restore in the place of what is there: the restored data becomes the service's, and what was there is kept.

    observe → choose where → choose what → (consent) → copy, recover, prove beside → stop every member → swap → start
    → lead users there → prove a write → copy the standbys anew → account

Until the swap nothing is overwritten and the service runs on, if it did; what fails before it leads back. Every member is fenced
before it, so that there are never two writers. Nothing is deleted: old data directories keep the run's id as their ending.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from flows.after_swap import serve_restored
from flows.copying import Chosen, Copy, choose, make_copy
from flows.fence import fence_primary
from flows.going_on import has_begun, is_stopping
from flows.lone_writer import moved_on, told_by_others
from flows.seat import Seat, choose_seat, order_to_stop
from flows.turned import turned_back
from flows.turning_back import go_back
from recoverd.errors import Busy, Expired, GaveWay, Look, RecoverdError, Refused, Stale, TryAgain
from recoverd.gate import Waiting, gate
from recoverd.step import decide
from recoverd.world import world
from tasks.epochs import note_epochs
from tasks.observation import observe_service
from tasks.replacing import Place, observe_place, put_in_place
from tasks.scratch import stop_scratch
from tasks.views import ServiceView


def replace_data(service: str) -> str:
    """The procedure itself; also what a plan walks through."""
    with _failing_once_begun():
        return _replace(service)


def _replace(service: str) -> str:
    here = world()
    if (turned := turned_back()) is not None:
        go_back(service, turned.reason)
    view = observe_service(service)
    seat = choose_seat(service, str(here.run.options.get("host") or ""), view, here.service)
    if seat.refusal:
        raise Refused(
            f"the data of {service} is not replaced: {seat.refusal}",
            f"restore it beside: `recoverd run restore {service} --into beside --reason …`, and put it in place by hand",
        )
    _see_who_serves(service, seat, view)
    copy = settled(service, seat.host) or _prepare(service, seat)
    _stop_and_swap(service, seat)
    return serve_restored(service, seat, copy)


@decide("settle what {host} will serve")
def settle_copy(service: str, host: str, copy: Copy) -> Copy:
    """It is proven; what comes after this is not repeated for it."""
    return copy


def settled(service: str, host: str) -> Copy | None:
    """What an earlier execution of this run has made and proven."""
    here = world()
    kept = here.journal.decision(here.run.id, f"settle_copy({service},{host})") if here.journal else None
    return None if kept is None else Copy.model_validate(kept["decision"])


def _prepare(service: str, seat: Seat) -> Copy:
    """Everything that can be done while the service runs on."""
    here = world()
    place = observe_place(service, seat.host)
    if place.problem:
        raise Refused(
            f"the data of {service} is not replaced: {place.problem}",
            "mount it, or use a directory below the mount point as the data directory; or restore beside and copy by hand",
        )
    chosen = choose(service, seat.host)
    if here.run.mode == "ask" or here.inventory.backup_of(service).restore.consent == "ask":
        plan = plan_of(service, seat, chosen, place)
        gate(
            "replace",
            plan,
            f"replace the data of {service} on {seat.host} with {chosen.point.summary}; {place.summary}",
        )
    lease = here.lease
    with lease.giving_way(f"the copy for {seat.host} is made beside what is there") if lease else nullcontext():
        copy = make_copy(service, seat.host, chosen)
    return copy if here.dry_run else settle_copy(service, seat.host, copy)


def plan_of(service: str, seat: Seat, chosen: Chosen, place: Place) -> dict[str, Any]:
    """What an approval binds to: what would be done, without what changes by itself."""
    return {
        "procedure": "restore",
        "service": service,
        "set": chosen.point.set,
        "to": chosen.point.target,
        "replace": f"{place.data_dir} on {seat.host}",
        "keep": place.kept if place.there else "nothing is there",
        "stop": list(world().service.hosts),
        "entry points": [entry.name for entry in world().service.entry_points],
    }


def _stop_and_swap(service: str, seat: Seat) -> None:
    """Stop every member, prove that, and rename. What fails before the renames leads back."""
    here = world()
    if has_begun("start_restored("):
        return
    note_epochs(service)  # from here on no other run promotes anybody
    view = observe_service(service)
    _see_who_serves(service, seat, view)
    if not is_stopping():
        for (
            lease
        ) in here.beside:  # lost in a pause of ours, to a backup? Once the service is stopped, nothing is waited for
            lease.check()
    try:
        if not has_begun("put_in_place("):  # after that, a fence would look for what is being renamed
            stop_scratch(service, seat.host)
            for host in order_to_stop(view, seat):
                fence_primary(service, host, view)
    except RecoverdError as error:
        if here.dry_run or isinstance(error, Waiting) or (isinstance(error, Stale) and not isinstance(error, Expired)):
            raise
        go_back(service, error.message)
    try:
        put_in_place(service, seat.host)
    except (Stale, TryAgain):  # it may still be at work there: nothing is started beside it, a resumed run asks again
        raise
    except RecoverdError as error:
        if here.dry_run:
            raise
        go_back(service, error.message)


def _see_who_serves(service: str, seat: Seat, view: ServiceView) -> None:
    """A copy takes hours, and an approval may too: whoever serves users by now was not spoken of.

    Raises:
        Stale: Somebody else has become the primary, and nothing of the service was touched.
        Look: Likewise, and what this run had stopped was started again, where that makes no second primary.
    """
    if world().dry_run or has_begun("put_in_place("):  # after that, before the start: flows/lone_writer.py
        return
    why = moved_on(view, seat.spoken_of, told_by_others())
    if not why:
        return
    if is_stopping():
        go_back(service, why)
    raise Stale(
        f"{why}; nothing was touched",
        "start it again where the data still has to be replaced; `recoverd undo` takes the copy away",
    )


@contextmanager
def _failing_once_begun() -> Iterator[None]:
    """A rule that says no in the middle has not refused the run: it has failed, can be resumed, and undone."""
    try:
        yield
    except (GaveWay, Waiting):
        raise
    except (Refused, Busy) as error:
        if not has_begun():
            raise
        raise Look(error.message, error.hint) from error
