"""The way back of a replacement that fails before the swap: every member is as it was, and serves if it did.

It may go on hours later. So whoever took writes is started again only where nobody else does by now.
"""

from __future__ import annotations

from typing import Any, NoReturn

from flows.fence import note_summary
from flows.lone_writer import other_writer, proven_off, told_by_others, was_away
from flows.turned import TurnedBack, turn_back
from recoverd.errors import Look, RecoverdError, Stale
from recoverd.journal import Journal
from recoverd.world import world
from tasks.epochs import note_epochs
from tasks.fencing import unfence
from tasks.observation import observe_service
from tasks.replacing import put_back
from tasks.restoring import work_dir
from tasks.views import ServiceView


def go_back(service: str, reason: str) -> NoReturn:
    """Put the old data directory back where it was moved, and start what was stopped, the primary last.

    Raises:
        Look: Always: the run has failed, and says what it left.
    """
    here = world()
    turn_back(TurnedBack(reason=reason, to="what was there"))
    assert here.journal is not None  # noqa: S101  # a plan does not come here
    note_epochs(service)  # from here on no other run promotes anybody
    view = observe_service(service)
    left: list[str] = []
    without = _put_old_data_back(service, here.journal, left)
    for fenced in _in_order(_fences(here.journal)):
        host = str(fenced["arguments"]["host"])
        if host == without:
            continue
        try:
            _take_fence_away(service, host, fenced["remembered"], view)
            _note_undone(here.journal, f"fence_by_ssh({service},{host})")
        except Stale:
            raise
        except RecoverdError as error:
            left.append(f"{host}: {error.message}")
    meant = here.journal.entries(run=here.run.id, kinds=["step.done"])
    left += [str(entry.body["summary"]) for entry in meant if (entry.step or "").startswith("power_off(")]
    _say_what_is_left(service, reason, left)


def _put_old_data_back(service: str, journal: Journal, left: list[str]) -> str:
    """The host whose old data could not be put back, which is then not started; empty where all is as it was."""
    moved = _intended(journal, "put_in_place")
    if moved is None:
        return ""
    host = str(moved["arguments"]["host"])
    try:
        put_back(service, host, moved["remembered"])
    except Stale:
        raise
    except RecoverdError as error:
        left.append(f"{host} stays fenced, for its old data could not be put back: {error.message}")
        return host
    _note_undone(journal, f"put_in_place({service},{host})", always=True)
    return ""


def _take_fence_away(service: str, host: str, remembered: dict[str, Any], view: ServiceView) -> None:
    """What was a standby is one again; what took writes does so again where it is the only one, looked at just before.

    Raises:
        Look: Somebody else takes writes, or may.
    """
    if remembered["was_standby"]:
        if host not in view.primaries:
            unfence(service, host, remembered)
        return
    if why := other_writer(observe_service(service), host, told_by_others(), was_away(), proven_off()):
        raise Look(f"it stays fenced, for {why}", f"recoverd run rejoin {service}")
    unfence(service, host, remembered)


def _in_order(fences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Standbys, then whoever took writes and held the service's address: where there were two, the other is not started."""

    def turn(fenced: dict[str, Any]) -> tuple[bool, bool]:
        remembered = fenced["remembered"]
        return not remembered["was_standby"], not remembered.get("addresses")

    latest_first = fences[::-1]
    return sorted(latest_first, key=turn)


def _say_what_is_left(service: str, reason: str, left: list[str]) -> NoReturn:
    run = world().run.id
    words = f"the data of {service} was not replaced, and what was there serves as before: {reason}"
    if left:
        words = (
            f"the data of {service} was not replaced ({reason}), and not every member is as before: {'; '.join(left)}"
        )
    note_summary(words)
    once_more = f"`recoverd resume {run}` once it is mended, or " if left else "mend that and "
    raise Look(
        words,
        f"{once_more}start a new run; the copy stays in {work_dir(service)} until `recoverd undo {run}`",
    )


def _fences(journal: Journal) -> list[dict[str, Any]]:
    """What was fenced or meant to be, in that order, with what is needed to take it back."""
    meant = journal.entries(run=world().run.id, kinds=["step.intended"])
    return [dict(entry.body) for entry in meant if (entry.step or "").startswith("fence_by_ssh(")]


def _intended(journal: Journal, name: str) -> dict[str, Any] | None:
    meant = journal.entries(run=world().run.id, kinds=["step.intended"])
    return next((dict(entry.body) for entry in meant if (entry.step or "").startswith(f"{name}(")), None)


def _note_undone(journal: Journal, step: str, *, always: bool = False) -> None:
    if always or journal.outcome(world().run.id, step) is not None:
        body = {"title": step, "summary": "turned back by itself", "by": world().run.id}
        journal.append("step.undone", who="recoverd", run=world().run.id, step=step, body=body)
