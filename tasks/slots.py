"""The replication slots that keep WAL on the servers until it is on a site, and where a primary's WAL ends.

pg_receivewal does not use them: it would tell the server that WAL is safe which stands in memory only. recoverd moves them, on
every server, so that one that is promoted has kept as much. They are made only where `max_slot_wal_keep_size` bounds what
they hold back, for nobody moves them while recoverd is down.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.connections import Sql
from recoverd.errors import RecoverdError
from recoverd.world import world
from tasks.postgres import LOGIN_TIMEOUT_S
from tasks.receiving import APPLICATION
from tasks.views import Facts, lsn_to_int

_LIMIT_S = 10.0
_STATE = """
select pg_is_in_recovery() as in_recovery,
       (select system_identifier::text from pg_control_system()) as system_identifier,
       (select bytes_per_wal_segment from pg_control_init()) as segment_bytes,
       case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())
            else ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int end as timeline,
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end::text as lsn,
       (select setting::bigint from pg_settings where name = 'max_slot_wal_keep_size') as keep_mb,
       (select write_lsn::text from pg_stat_replication where application_name = %s order by write_lsn desc limit 1) as sent,
       (select restart_lsn::text from pg_replication_slots where slot_name = %s) as held_from,
       (select count(*) from pg_replication_slots where slot_name = %s) as slots,
       (select coalesce(wal_status, '') from pg_replication_slots where slot_name = %s) as slot_status
"""


class Member(Facts):
    """A server, as far as its WAL goes.

    Attributes:
        lsn: Where its WAL ends: written on a primary, replayed on a standby.
        sent_lsn: How far the receiver has come with it; 0 where it is not connected.
        has_slot: Ours is there.
        held_from: The slot keeps WAL from here on; 0 where it keeps none.
        lost: The server has given up what the slot was to keep.
        bounded: The server bounds what slots hold back.
    """

    host: str
    in_recovery: bool
    system_identifier: str
    segment_bytes: int
    timeline: int
    lsn: int
    sent_lsn: int
    has_slot: bool
    held_from: int
    lost: bool
    bounded: bool

    @property
    def held_bytes(self) -> int:
        """What the slot holds back."""
        return max(0, self.lsn - self.held_from) if self.held_from else 0


def look_at_members(service: str) -> tuple[Member, ...]:
    """The members that answer."""
    wanted, slot = world().inventory.service(service), world().inventory.backup_of(service).wal.slot
    found = []
    for host in wanted.hosts:
        try:
            row = _session(service, host).rows(_STATE, (APPLICATION, slot, slot, slot), timeout_s=_LIMIT_S)[0]
        except RecoverdError:
            continue
        found.append(_member(host, row))
    return tuple(found)


def primary_of(members: tuple[Member, ...]) -> Member | None:
    """The one that takes writes; of several, that on the newest timeline."""
    writers = [one for one in members if not one.in_recovery]
    return max(writers, key=lambda one: one.timeline) if writers else None


def make_slot(service: str, host: str) -> None:
    """Make the slot, keeping WAL from now on."""
    slot = world().inventory.backup_of(service).wal.slot
    _session(service, host).rows(
        "select pg_create_physical_replication_slot(%s, true) "
        "where not exists (select 1 from pg_replication_slots where slot_name = %s)",
        (slot, slot),
        timeout_s=_LIMIT_S,
    )


def move_slot(service: str, host: str, lsn: int) -> None:
    """Let the server forget WAL before a position; never backwards."""
    slot, position = world().inventory.backup_of(service).wal.slot, f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    _session(service, host).rows(
        "select pg_replication_slot_advance(slot_name, %s) from pg_replication_slots "
        "where slot_name = %s and restart_lsn < %s",
        (position, slot, position),
        timeout_s=_LIMIT_S,
    )


def drop_slot(service: str, host: str) -> None:
    """Remove the slot: the server keeps nothing for us any more."""
    slot = world().inventory.backup_of(service).wal.slot
    _session(service, host).rows(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active",
        (slot,),
        timeout_s=_LIMIT_S,
    )


def oldest_segment(service: str, host: str, timeline: int) -> str:
    """The oldest segment of a timeline that a server still has; empty where it has none."""
    found = _session(service, host).value(
        "select min(name) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$' and name like %s",
        (f"{timeline:08X}%",),
        timeout_s=_LIMIT_S,
    )
    return str(found or "")


def _session(service: str, host: str) -> Sql:
    return world().connections.sql(world().inventory.service(service), host, timeout_s=LOGIN_TIMEOUT_S)


def _member(host: str, row: Mapping[str, Any]) -> Member:
    return Member(
        host=host,
        in_recovery=row["in_recovery"],
        system_identifier=row["system_identifier"],
        segment_bytes=row["segment_bytes"],
        timeline=row["timeline"],
        lsn=lsn_to_int(row["lsn"]) or 0,
        sent_lsn=lsn_to_int(row["sent"]) or 0,
        has_slot=bool(row["slots"]),
        held_from=lsn_to_int(row["held_from"]) or 0,
        lost=row["slot_status"] == "lost",
        bounded=(row["keep_mb"] or -1) > 0,
    )
