"""The scratch server of a restore: restored data recovered where nobody can reach it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from recoverd.errors import Look, TimedOut
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.asking import ask_scratch
from tasks.restoring import data_dir, on_its_host, work_dir

RECOVER_TIME_LIMIT_S = 48 * 3600.0
START_TIME_LIMIT_S = 600.0  # after a crash it recovers first
_LOOK_EVERY_S, _GONE_FOR_S = 0.2, 30.0
_LEAST_FREE_KB, _LEAST_FREE_SHARE = 1 << 20, 0.03
_HELD = "select restart_lsn from pg_replication_slots where slot_name = '{0}'"
_HOLD = "select pg_create_physical_replication_slot('{0}', true)"
_TOO_EARLY = "recovery ended before configured recovery target was reached"


def _has_recovered(service: str, host: str, target: str, timeline: str = "", end: str = "") -> Effect | None:
    facts = scratch_state(service, host)
    if "running" not in facts or "recovered" not in facts or facts.get("in_recovery") != "false":
        return None
    if not facts.get("reached"):  # it has left recovery, and is about to write down where
        return None
    words = f"{host} recovered to {facts['reached']} on timeline {facts.get('timeline')}, isolated"
    kept = ("reached", "timeline", "last_commit", "stopped", "lsn")
    return Effect(words, {name: facts.get(name, "") for name in kept})


@act(
    "recover the data on {host} to {target}, isolated",
    ask=_has_recovered,
    time_limit_s=RECOVER_TIME_LIMIT_S,
    retries=0,
)
def recover(service: str, host: str, target: str, timeline: str = "", end: str = "") -> None:
    """Start the scratch server and wait until it has come to its target and out of recovery.

    A target of which the WAL knows nothing later is the end of the WAL: whoever calls this sees to it that all WAL up to the
    target is there, and compares what was reached with that.

    Args:
        service: The service.
        host: Where the data is.
        target: See `recovery_settings`.
        timeline: Likewise.
        end: "exact" where the end of the WAL is no answer: not all of it is there, or nobody knows whether it is.

    Raises:
        Look: It did not come to its target: what there is of WAL ends before it, or is damaged; or the disk fills, on
            which others may stand.
    """
    settings = recovery_settings(work_dir(service), target, timeline)
    kind = target.partition(":")[0]
    at_the_end = (
        recovery_settings(work_dir(service), "latest", timeline) if kind in {"time", "lsn"} and end != "exact" else ""
    )
    on_its_host(
        "scratch", service, host, VERB="start", TARGET=settings, AT_END=at_the_end, PGDATA=data_dir(service, host)
    )
    seen_at, deadline = time.monotonic(), time.monotonic() + RECOVER_TIME_LIMIT_S
    while True:
        facts = scratch_state(service, host)
        if "running" in facts and facts.get("in_recovery") == "false":
            return
        if "running" in facts and is_filling(facts):
            on_its_host("scratch", service, host, VERB="stop", PGDATA=data_dir(service, host), timeout_s=150.0)
            raise Look(
                f"the recovery on {host} was stopped, for its disk has only {int(facts['free_kb']) >> 10} MiB left",
                f"free space there, then `recoverd resume {world().run.id}`: it goes on from where it was",
            )
        if "running" not in facts and facts.get("failed"):
            if at_the_end and _TOO_EARLY in facts["failed"]:
                world().say(f"the WAL has no commit after {target}: its end is the target")
                on_its_host(
                    "scratch", service, host, VERB="start", TARGET=at_the_end, AT_END="", PGDATA=data_dir(service, host)
                )
                at_the_end = ""
                continue
            raise Look(
                f"the restored data did not recover to {target}: {facts['failed']}",
                f"see {work_dir(service)}/server/log on {host}",
            )
        seen_at = time.monotonic() if "running" in facts else seen_at
        if time.monotonic() - seen_at > _GONE_FOR_S:
            raise Look(
                f"the recovery on {host} is gone without a word",
                f"`recoverd resume {world().run.id}`: it is taken up there",
            )
        if time.monotonic() > deadline:
            raise TimedOut(
                f"the recovery on {host} did not end", f"it goes on: see {work_dir(service)}/server/log there"
            )
        time.sleep(_LOOK_EVERY_S)


def see_it_run(service: str, host: str) -> None:
    """Start the scratch server again where it has gone since it recovered, with its host for one.

    Raises:
        Look: It does not start.
        TimedOut: It does not come up.
    """
    log, started = f"{work_dir(service)}/server/log", False
    deadline = time.monotonic() + START_TIME_LIMIT_S
    while (facts := scratch_state(service, host)).get("in_recovery") != "false":
        if "running" not in facts:
            if started and facts.get("failed"):
                raise Look(f"the restored data does not start any more: {facts['failed']}", f"see {log} on {host}")
            world().say(f"the scratch server on {host} is gone, and is started again")
            done = on_its_host("scratch", service, host, VERB="start", PGDATA=data_dir(service, host))
            started = "ending" not in done.facts()
        if time.monotonic() > deadline:
            raise TimedOut(f"the scratch server on {host} does not come up", f"see {log} there, then resume the run")
        time.sleep(_LOOK_EVERY_S)


def is_filling(facts: Mapping[str, str]) -> bool:
    """Whether the file system that the data recovers on is about to be full: WAL makes data grow, and nobody knows how much.

    A server of production may stand on the same one, and would end in a panic.
    """
    if not facts.get("free_kb", "").isdigit() or not facts.get("size_kb", "").isdigit():
        return False
    return int(facts["free_kb"]) < min(_LEAST_FREE_KB, int(facts["size_kb"]) * _LEAST_FREE_SHARE)


def recovery_settings(work: str, target: str, timeline: str = "") -> str:
    """Recovery settings for a target: `consistent`, `latest`, `time:…`, `lsn:…`, `xid:…`, `name:…`.

    PostgreSQL itself stops with an error where WAL ends before a named target; `latest` is checked afterwards. A position is
    where the first record stands that is not wanted any more; a transaction is wanted, a time too.
    """
    kind, _, value = target.partition(":")
    lines = [f'restore_command = \'cp "{work}/wal/%f" "%p"\'', "recovery_target_action = promote"]
    lines.append(f"recovery_target_timeline = '{timeline or 'current'}'")
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    # For a set, no recovery_target: PostgreSQL stops only at the record after it, and the WAL of a set may end right before
    # that one. It refuses by itself to end before the data is consistent.
    if kind not in {"consistent", "latest"}:
        lines.append(f"recovery_target_{kind} = '{quoted}'")
    if kind == "lsn":
        lines.append("recovery_target_inclusive = off")
    return "\n".join(lines)


def scratch_state(service: str, host: str) -> dict[str, str]:
    """What the scratch server says of itself."""
    data = data_dir(service, host)
    return on_its_host("scratch", service, host, VERB="state", PGDATA=data).facts()


def _holds_wal(service: str, host: str, slot: str) -> Effect | None:
    held = ask_scratch(service, host, "postgres", _HELD.format(slot))
    return Effect(f"{host} keeps the WAL of its new timeline from {held} on", {"slot": slot}) if held else None


@act("keep the WAL of the new timeline on {host} for the sites", ask=_holds_wal, time_limit_s=60.0)
def hold_wal(service: str, host: str, slot: str) -> None:
    """Make the slot of the continuous WAL before anything is removed: the archive goes on from where the timelines part."""
    ask_scratch(service, host, "postgres", _HOLD.format(slot))


def _is_scratch_stopped(service: str, host: str) -> Effect | None:
    facts = scratch_state(service, host)
    return None if "running" in facts else Effect(f"the scratch server on {host} is stopped", {"host": host})


@act("stop the scratch server on {host}", ask=_is_scratch_stopped, time_limit_s=150.0)
def stop_scratch(service: str, host: str) -> None:
    """Stop it cleanly, before its data is used otherwise."""
    on_its_host("scratch", service, host, VERB="stop", PGDATA=data_dir(service, host), timeout_s=150.0)


def _is_swept(service: str, host: str) -> Effect | None:
    done = on_its_host("unpack", service, host, VERB="state", INTO="")
    gone = "here=" not in done.out and not done.facts().get("done")
    return Effect(f"what was fetched to {host} is gone", {"host": host}) if gone else None


@act("remove what was fetched to {host}", ask=_is_swept, time_limit_s=600.0)
def sweep(service: str, host: str) -> None:
    """Remove parts, WAL and the scratch server's settings, once the data itself is in its place."""
    on_its_host("unpack", service, host, VERB="clean", INTO="", timeout_s=300.0)
