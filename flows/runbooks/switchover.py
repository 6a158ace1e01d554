"""The runbook of a switchover: the primary moves as planned, and no commit is lost."""

from __future__ import annotations

from flows.runbooks import parts
from flows.runbooks.commands import Commands
from flows.runbooks.document import Chapter, Step
from flows.runbooks.rejoin import start_as_standby


def chapters(commands: Commands, away: tuple[str, ...], to: tuple[str, ...]) -> tuple[Chapter, ...]:
    """The chapters of the runbook.

    Args:
        commands: Writes the commands.
        away: Members that may be the primary now.
        to: Members that may become it.
    """
    when = (
        f"The primary of `{commands.service.name}` works, and is to move to another member. Users are interrupted for some "
        "seconds: choose the time, and tell them. Until the promotion everything can be taken back."
    )
    if any(commands.server(host).patroni for host in commands.service.hosts):
        when += "\n\n**Patroni manages this cluster**: run `patronictl switchover` on a member instead."
    pairs = [(old, new) for old in away for new in to if old != new]
    return (
        Chapter("When to do this", when),
        parts.needs(commands),
        parts.look(commands),
        Chapter(
            "See that the standbys are close behind",
            "The new primary must stream, with few bytes behind. The last column is bytes.",
            tuple(_lag(commands, host) for host in away),
        ),
        Chapter(
            "Stop the primary in good order",
            "From here on users are interrupted. It must end with `shut down`; note the position.",
            tuple(_stop(commands, host) for host in away),
        ),
        Chapter(
            "Compare",
            "The new primary must hold at least the position that the old one ended with. If not, go back.",
            tuple(_compare(commands, host) for host in to),
        ),
        Chapter(
            "Only to go back: start the old primary again",
            "Not once another one has been promoted.",
            tuple(_back(commands, host) for host in away),
        ),
        parts.promote(commands, to),
        parts.lead_users(commands, to),
        parts.prove(commands),
        parts.synchronous(commands, to),
        Chapter(
            "Start the old primary as a standby",
            "It must end with its name and `streaming`.",
            tuple(start_as_standby(commands, old, new) for old, new in pairs),
        ),
        parts.follow(commands, to, away),
    )


def _lag(commands: Commands, host: str) -> Step:
    sql = (
        "checkpoint;\n"
        "select application_name, state, sync_state, pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)\n"
        "  from pg_stat_replication;"
    )
    return Step(f"Ask {host} for its standbys", commands.psql(host, sql))


def _stop(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    lines = [parts.release(entry) for entry in commands.addresses]
    lines += [
        commands.stop_server(host),
        f"touch {server.data_dir}/standby.signal",
        f"chown --reference={server.data_dir}/PG_VERSION {server.data_dir}/standby.signal",
        f"{server.bin_dir}/pg_controldata -D {server.data_dir} | grep -E 'cluster state|Latest checkpoint location'",
    ]
    return Step(f"Stop {host}", commands.on(host, "\n".join(lines)))


def _compare(commands: Commands, host: str) -> Step:
    sql = "select 'holds ' || pg_last_wal_receive_lsn() || ', replayed ' || pg_last_wal_replay_lsn();"
    return Step(f"See what {host} holds", commands.psql(host, sql))


def _back(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    lines = [f"rm -f {server.data_dir}/standby.signal", commands.start_server(host)]
    lines += [parts.claim(entry) for entry in commands.addresses]
    return Step(f"Start {host} as the primary again", commands.on(host, "\n".join(lines)))
