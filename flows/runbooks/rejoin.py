"""The runbook of a rejoin: a former primary comes back as a standby, and nothing that it alone holds is lost."""

from __future__ import annotations

import shlex

from flows.runbooks import parts
from flows.runbooks.commands import Commands
from flows.runbooks.document import Chapter, Step
from tasks.replication import slot_of


def chapters(commands: Commands, away: tuple[str, ...], to: tuple[str, ...]) -> tuple[Chapter, ...]:
    """The chapters of the runbook.

    Args:
        commands: Writes the commands.
        away: Members that may be the former primary.
        to: Members that may be the primary now.
    """
    pairs = [(host, primary) for host in away for primary in to if host != primary]
    when = (
        f"A former primary of `{commands.service.name}` is back, stopped, and another member takes writes. What it wrote and "
        "never sent exists only there: it is saved before anything is changed."
    )
    return (
        Chapter("When to do this", when),
        parts.needs(commands),
        parts.look(commands),
        Chapter("Stop it", "It must end with `0 processes`.", tuple(_stopped(commands, host) for host in away)),
        Chapter("Save what it alone holds", "See first that there is room.", tuple(_save(commands, h) for h in away)),
        Chapter(
            "Rewind it",
            "It ends with `Done!`, or says that no rewind is required.",
            tuple(_rewind(commands, host, primary) for host, primary in pairs),
        ),
        Chapter(
            "Only if it could not be rewound: copy it anew",
            "The old directory is kept beside. Needs room for both.",
            tuple(_copy(commands, host, primary) for host, primary in pairs),
        ),
        Chapter(
            "Start it as a standby",
            "It must end with its name and `streaming`.",
            tuple(start_as_standby(commands, host, primary) for host, primary in pairs),
        ),
    )


def _stopped(commands: Commands, host: str) -> Step:
    processes = commands.processes(host)
    script = f'[ -z "$({processes})" ] || {commands.stop_server(host)}\necho "$({processes} | wc -l) processes"'
    return Step(f"Stop {host}", commands.on(host, script))


def _save(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    lines = [
        f"saved={server.data_dir}.saved-$(date -u +%Y%m%dT%H%M%SZ)",
        f'du -sh {server.data_dir}/pg_wal; df -h "$(dirname {server.data_dir})" | tail -n 1',
        f'mkdir -m 700 "$saved" && cp -a {server.data_dir}/pg_wal {server.data_dir}/global/pg_control "$saved/"',
        f'{server.bin_dir}/pg_controldata -D {server.data_dir} >"$saved/pg_controldata.txt"',
        f'chown -R --reference={server.data_dir} "$saved" && echo "saved in $saved"',
    ]
    return Step(f"Save the WAL of {host}", commands.on(host, "\n".join(lines)))


def _rewind(commands: Commands, host: str, primary: str) -> Step:
    server, lead = commands.server(host), commands.server(primary)
    source = f"host={commands.address(primary)} port={lead.port} user={lead.user} dbname={lead.database}"
    config = f" --config-file={server.config_file}" if server.config_file else ""
    rewind = (
        f"{server.bin_dir}/pg_rewind --target-pgdata={server.data_dir} --source-server={shlex.quote(source)}{config}"
    )
    script = "\n".join(
        [commands.drop_stale_lock(host), f"rm -f {server.data_dir}/standby.signal", commands.as_owner(host, rewind)]
    )
    # The new primary's control file names the old timeline until it has written a checkpoint.
    body = f"{commands.psql(primary, 'checkpoint;')}\n{commands.on_with_password(host, lead.password, script)}"
    return Step(f"Rewind {host} to {primary}", body)


def _copy(commands: Commands, host: str, primary: str) -> Step:
    server = commands.server(host)
    kept = f"{server.data_dir}.before-$(date -u +%Y%m%dT%H%M%SZ)"
    copy = f"{server.bin_dir}/pg_basebackup -D {server.data_dir} -d {shlex.quote(commands.conninfo(host, primary))} -X stream -c fast"
    script = f'mv {server.data_dir} "{kept}"\n{commands.as_owner(host, copy)}'
    return Step(f"Copy {primary} to {host}", commands.on_with_password(host, server.replication_password, script))


def start_as_standby(commands: Commands, host: str, primary: str) -> Step:
    """Write what a standby needs, start it, and see that it streams."""
    server = commands.server(host)
    data, owner = server.data_dir, f"--reference={server.data_dir}/PG_VERSION"
    settings = [f"primary_conninfo = '{commands.conninfo(host, primary)}'", f"port = {server.port}"]
    slots = commands.service.postgresql.slots
    if slots:
        settings.append(f"primary_slot_name = '{slot_of(host)}'")
    lines = []
    if server.replication_password is not None:
        lines += commands.write_passfile(host)
    lines += [
        f"cat >>{data}/postgresql.auto.conf <<'CONF'",
        *settings,
        "CONF",
        f"touch {data}/standby.signal && chown {owner} {data}/standby.signal",
        f"rm -f {parts.fenced_marker(commands)}",
        commands.start_server(host),
    ]
    script = commands.on_with_password(host, server.replication_password, "\n".join(lines))
    body = [parts.slot(commands, host, primary)] if slots else []
    return Step(
        f"Start {host} as a standby of {primary}", "\n".join([*body, script, parts.streams(commands, host, primary)])
    )
