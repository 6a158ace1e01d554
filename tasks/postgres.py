"""PostgreSQL servers over SQL: looking at them, and making a standby the primary."""

from __future__ import annotations

import time
from typing import Any

from recoverd.connections import NoLogin, Reach, Sql, reach_from_here
from recoverd.errors import Look, NotAllowed, RecoverdError, TimedOut, TryAgain, Unreachable
from recoverd.inventory import Service
from recoverd.step import Effect, act
from recoverd.world import world
from tasks.heartbeat import write_heartbeat
from tasks.hosts import run_script
from tasks.views import Answer, Receiver, Replica, ServerView, lsn_to_int, lsn_to_text

LOGIN_TIMEOUT_S = 2.0
QUERY_TIMEOUT_S = 2.0
PROMOTE_TIME_LIMIT_S = 60.0

# A promotion asked for within milliseconds of the primary's death can be slept over for a whole
# wal_retrieve_retry_interval (5 s by default); asked for again, it wakes up. Asking costs a millisecond.
SIGNAL_AGAIN_EVERY_S = 0.02
_POLL_S = 0.005

_VIEW = """
select pg_is_in_recovery() as in_recovery,
       current_setting('default_transaction_read_only') = 'on' as read_only,
       (select system_identifier::text from pg_control_system()) as system_identifier,
       current_setting('server_version_num')::int as server_version,
       current_setting('synchronous_standby_names') as synchronous_standby_names,
       substring(current_setting('primary_conninfo') from 'host=''?([^ '']+)') as upstream,
       case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
            end::text as received_lsn,
       pg_last_wal_replay_lsn()::text as replayed_lsn,
       case when not pg_is_in_recovery() then pg_current_wal_lsn() end::text as written_lsn,
       case when pg_is_in_recovery()
            then coalesce((select received_tli from pg_stat_wal_receiver where received_tli > 0),
                          -- The control file lags behind until the next restartpoint; the names of the WAL do not.
                          (select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_waldir()
                           where name ~ '^[0-9A-F]{24}$'),
                          (select timeline_id from pg_control_checkpoint()))
            else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int end as timeline,
       (select row_to_json(r) from (select status, sender_host, slot_name, latest_end_lsn::text as latest_end_lsn,
               extract(epoch from last_msg_receipt_time) as heard_at from pg_stat_wal_receiver) r
       ) as receiver,
       (select json_agg(s) from (select application_name, host(client_addr) as address, state, sync_state,
               sent_lsn::text as sent_lsn, replay_lsn::text as replay_lsn from pg_stat_replication
               where application_name not like 'pg_basebackup%') s) as replicas
"""


def view_server(service: Service, host: str, *, connect_timeout_s: float, probe_write: bool = False) -> ServerView:
    """What a server says of itself. Never raises for a server that cannot be asked: that is an answer too.

    Args:
        service: The service.
        host: The member.
        connect_timeout_s: How long its host may take to answer the TCP handshake.
        probe_write: On a primary, also commit a row, to see whether it takes writes.
    """
    here = world()
    address, port = here.inventory.host(host).address, service.postgres_of(host).port
    reach = Reach.UNKNOWN
    try:
        # A host that is gone is noticed by the TCP handshake; a login gets more time, since a busy server is slow.
        reach = reach_from_here(address, port, timeout_s=connect_timeout_s)
        if reach is Reach.LOST:
            raise Unreachable(f"{address} port {port} does not answer", "check the host and the network to it")
        session = here.connections.sql(service, host, timeout_s=LOGIN_TIMEOUT_S)
        row = session.rows(_VIEW, timeout_s=QUERY_TIMEOUT_S)[0]
    except TimedOut as error:
        return ServerView(host=host, answer=Answer.STALLED, problem=error.message)
    except Unreachable as error:
        stalled = reach.alive and isinstance(error, NoLogin)
        return ServerView(host=host, answer=Answer.STALLED if stalled else Answer.SILENT, problem=error.message)
    except NotAllowed as error:
        return ServerView(host=host, answer=Answer.REJECTED, problem=error.message)
    except TryAgain as error:
        return ServerView(host=host, answer=Answer.STARTING, problem=error.message)
    except RecoverdError as error:
        return ServerView(host=host, answer=Answer.REJECTED, problem=error.message)
    view = _read_view(host, dict(row))
    if probe_write and view.is_primary:
        writes, problem = _probe_write(session, service)
        view = view.model_copy(update={"writes": writes, "problem": problem})
    return view


def _probe_write(session: Sql, service: Service) -> tuple[Answer | None, str]:
    """Commit the heartbeat row: reads can go on for hours on a disk that takes no more writes.

    None where only recoverd may not write: its role lacks a right, the database is read-only on purpose, another session
    holds the row. Like a refused login, that is no evidence against the server.
    """
    try:
        write_heartbeat(session, service.name, "probe", timeout_s=QUERY_TIMEOUT_S)
    except TimedOut as error:
        return Answer.STALLED, error.message
    except Unreachable as error:
        return Answer.REJECTED, error.message
    except (Look, TryAgain) as error:
        damaged = "(SQLSTATE XX" in error.message
        return (Answer.REJECTED if damaged else None), error.message
    except RecoverdError as error:
        return Answer.REJECTED, error.message
    return Answer.YES, ""


def _read_view(host: str, row: dict[str, Any]) -> ServerView:
    receiver, replicas = row["receiver"], row["replicas"] or []
    return ServerView(
        host=host,
        answer=Answer.YES,
        in_recovery=row["in_recovery"],
        read_only=row["read_only"],
        timeline=row["timeline"] or 0,
        system_identifier=row["system_identifier"],
        written_lsn=lsn_to_int(row["written_lsn"]),
        received_lsn=lsn_to_int(row["received_lsn"]),
        replayed_lsn=lsn_to_int(row["replayed_lsn"]),
        receiver=None
        if receiver is None
        else Receiver(
            status=receiver["status"] or "",
            sender_host=receiver["sender_host"] or "",
            latest_end_lsn=lsn_to_int(receiver["latest_end_lsn"]),
            last_message_at=receiver["heard_at"],
            slot=receiver["slot_name"] or "",
        ),
        replicas=tuple(
            Replica(
                application=replica["application_name"] or "",
                address=replica["address"] or "",
                state=replica["state"] or "",
                sync_state=replica["sync_state"] or "",
                sent_lsn=lsn_to_int(replica["sent_lsn"]),
                replay_lsn=lsn_to_int(replica["replay_lsn"]),
            )
            for replica in replicas
        ),
        upstream=(row["upstream"] or "") if row["in_recovery"] else "",
        synchronous_standby_names=row["synchronous_standby_names"],
        server_version=row["server_version"],
    )


def _is_primary(service: str, host: str) -> Effect | None:
    """The effect of a promotion: the server is out of recovery, on whatever timeline it has come to."""
    here = world()
    view = view_server(here.inventory.service(service), host, connect_timeout_s=here.policy.probe_timeout_s)
    if not view.is_primary:
        return None
    return Effect(
        f"{host} is the primary on timeline {view.timeline}",
        {"host": host, "timeline": view.timeline, "lsn": view.written_lsn, "at_lsn": lsn_to_text(view.written_lsn)},
    )


@act(
    "promote {host} to primary of {service}",
    ask=_is_primary,
    irreversible="a promoted standby is a new timeline; to go back, switch over after the old primary has rejoined",
    time_limit_s=PROMOTE_TIME_LIMIT_S,
    retries=0,
)
def promote(service: str, host: str) -> None:
    """Make a standby the primary. The first signal passes the host's epoch guard; the repeats only wake it up.

    Raises:
        TimedOut: It did not leave recovery in time; it may still do so later, so it must be fenced before another one
            is promoted.
        TryAgain: The standby went away in the middle of it; likewise.
    """
    here = world()
    wanted = here.inventory.service(service)
    run_script("promote", wanted, host, {}, timeout_s=15.0)
    session = here.connections.sql(wanted, host, timeout_s=LOGIN_TIMEOUT_S)
    deadline = time.monotonic() + PROMOTE_TIME_LIMIT_S - 5
    signal_at = time.monotonic()
    while session.value("select pg_is_in_recovery()", timeout_s=QUERY_TIMEOUT_S):
        if time.monotonic() > deadline:
            raise TimedOut(
                f"{host} was told to promote itself, but is still in recovery",
                f"look for a hanging restore_command or a slow replay in the log of {host}",
            )
        if time.monotonic() >= signal_at:
            _signal_again(session)
            signal_at = time.monotonic() + SIGNAL_AGAIN_EVERY_S
        time.sleep(_POLL_S)


def _signal_again(session: Sql) -> None:
    """Wake the promotion up. It may be over between the question and the call, which the server then refuses."""
    try:
        session.rows("select case when pg_is_in_recovery() then pg_promote(false) end", timeout_s=QUERY_TIMEOUT_S)
    except RecoverdError:
        if not session.alive or session.value("select pg_is_in_recovery()", timeout_s=QUERY_TIMEOUT_S):
            raise
