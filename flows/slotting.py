"""The slots of the continuous WAL: made, moved on, and dropped before one fills a server's disk."""

from __future__ import annotations

from collections.abc import Collection

from recoverd.errors import RecoverdError
from recoverd.world import world
from tasks.receiving import Cluster
from tasks.slots import Member, drop_slot, make_slot, move_slot


def mind_slots(
    service: str,
    members: tuple[Member, ...],
    cluster: Cluster | None,
    safe: tuple[int, int],
    holes: Collection[tuple[int, int]] = (),
) -> tuple[str, ...]:
    """See to the slot of each server that answers; what must be said of them.

    Args:
        service: The service.
        members: As they were seen before the receiver was.
        cluster: Servers of another one are let be.
        safe: Up to here WAL is on a site's disk, as timeline and position; zeros where nobody knows.
        holes: Stretches that are missing before that, as first and last position: a server that still has one keeps it.
    """
    said = []
    for one in members:
        if cluster is None or one.system_identifier != cluster.system_identifier:
            continue
        try:
            words = _mind(service, one, safe, holes)
        except RecoverdError as error:
            words = error.message
        if words:
            said.append(f"{one.host} {words}")
    return tuple(said)


def _mind(service: str, member: Member, safe: tuple[int, int], holes: Collection[tuple[int, int]]) -> str:
    most = world().inventory.backup_of(service).wal.most_held_bytes
    if not member.bounded:
        if member.has_slot:
            drop_slot(service, member.host)
        return "has no slot for WAL: max_slot_wal_keep_size does not bound what slots hold back; set it"
    if member.has_slot and (member.lost or member.held_bytes > most):
        drop_slot(service, member.host)
        why = (
            "was given up by the server" if member.lost else f"held back {member.held_bytes >> 20} MiB and was dropped"
        )
        return f"its slot for WAL {why}: what comes next may have a hole"
    if not member.has_slot:
        make_slot(service, member.host)
    elif (
        safe[1] and member.timeline <= safe[0]
    ):  # of a newer timeline nothing has come: it keeps WAL from where that parted
        move_slot(service, member.host, unbroken(member.held_from, min(safe[1], member.lsn), holes))
    return ""


def unbroken(held_from: int, upto: int, holes: Collection[tuple[int, int]]) -> int:
    """How far WAL that is held from one position may be let go, towards another: not into a stretch that is missing."""
    for first, last in sorted(holes):
        if last > held_from and first < upto:
            return max(first, held_from)
    return upto
