"""Chapters and steps that several runbooks share.

The SQL in them is for a person to paste; the names in it are those of the inventory, which its loader has checked.
"""

from __future__ import annotations

import shlex

from flows.runbooks.commands import STATE, Commands, secrets_in, variable_of
from flows.runbooks.document import Chapter, Step
from recoverd.inventory import VirtualAddress
from tasks.heartbeat import HEARTBEAT_TABLE
from tasks.replication import slot_of

PROOF_PORT = 25432

_ROLE = """
select case when pg_is_in_recovery() then 'standby' else 'PRIMARY, takes writes' end,
       'timeline ' || (select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_waldir()
                       where name ~ '^[0-9A-F]{24}$'),
       'position ' || case when pg_is_in_recovery() then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                           else pg_current_wal_lsn() end,
       'receiver ' || coalesce((select status from pg_stat_wal_receiver), 'none');
"""


def needs(commands: Commands) -> Chapter:
    """What the person needs before they begin."""
    inventory, service = commands.inventory, commands.service
    hosts = (*service.hosts, *(host for host in service.clients if host not in service.hosts))
    keys = sorted({str(inventory.host(host).key_file) for host in hosts if inventory.host(host).key_file})
    lines = ["Work on recoverd's machine, as root, in one terminal that runs `sh` or `bash`. Paste each block whole."]
    lines.append(
        f"Programs: `ssh`, `psql`. Keys: {', '.join(f'`{key}`' for key in keys) or 'those of your ssh agent'}."
    )
    secrets = secrets_in(commands)
    lines += [f"- secret file `{secret.file}`" for secret in secrets if secret.file is not None]
    lines += [f"- secret in the environment: `export {secret.env}=…`" for secret in secrets if secret.env]
    lines += [
        f"- secret of the Prefect block `{secret.prefect_block}`: `export {variable_of(secret)}=…`"
        for secret in secrets
        if secret.prefect_block
    ]
    lines.append("")
    lines.append(
        "Write down as you go: who decides, and the time of each step. Stop where something is not as it says."
    )
    return Chapter("Before you begin", "\n".join(lines))


def look(commands: Commands) -> Chapter:
    """Who is what."""
    text = (
        "Ask every member. Of two positions the higher one is newer (compare the part before the slash first; both parts "
        "are hexadecimal). A host that does not answer is not proven to be off."
    )
    return Chapter("See who is what", text, tuple(_look(commands, host) for host in commands.service.hosts))


def _look(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    lines = [
        f"pids=$({commands.processes(host)})",
        'echo "$(echo "$pids" | grep -c .) processes of PostgreSQL"',
        f"[ ! -e {server.data_dir}/standby.signal ] || echo 'standby.signal is there: a standby, or fenced'",
        f"{server.bin_dir}/pg_controldata -D {server.data_dir} | grep -E 'cluster state|checkpoint location|TimeLineID:'",
    ]
    lines += [f"ip -o address show to {entry.ip}" for entry in commands.addresses]
    ssh = commands.on(host, "\n".join(lines), otherwise=f"{host} does not answer over SSH, or not all of it")
    sql = commands.psql(host, _ROLE, otherwise=f"{host} does not answer over SQL")
    return Step(f"Look at {host}", f"{ssh}\n{sql}")


def promote(commands: Commands, hosts: tuple[str, ...]) -> Chapter:
    """Make a standby the primary."""
    text = (
        "Take the standby that holds the highest position on the highest timeline; of equal ones the first below. "
        "Only one. It must end with `t`: the server takes writes. There is no way back.\n\n"
        "Where `synchronous_standby_names` is set, and a standby that it names does not answer or holds more, that one alone "
        "may hold commits that users were told of: let the person who may decide it agree before another is promoted."
    )
    return Chapter("Promote one standby", text, tuple(_promote(commands, host) for host in hosts))


def _promote(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    sql = "select pg_promote(true, 60);\nselect not pg_is_in_recovery();"
    text = f"If SQL is refused there, run this on {host} as {server.os_user}: `{server.bin_dir}/pg_ctl -D {server.data_dir} promote`."
    return Step(f"Promote {host}", commands.psql(host, sql), text)


def lead_users(commands: Commands, hosts: tuple[str, ...]) -> Chapter:
    """Lead users to the new primary."""
    if not commands.addresses:
        return Chapter("Lead users there", "Clients find the primary by themselves: nothing is to be moved.")
    text = "The address goes to the new primary. It must stand nowhere else by now."
    return Chapter("Lead users there", text, tuple(_lead(commands, host) for host in hosts))


def _lead(commands: Commands, host: str) -> Step:
    return Step(f"Lead users to {host}", commands.on(host, "\n".join(claim(entry) for entry in commands.addresses)))


def claim(entry: VirtualAddress) -> str:
    """Add an address and tell the neighbours; for scripts of `on`."""
    device = shlex.quote(entry.interface) if entry.interface else ""
    find = f"device=$(ip -o route get {entry.ip} | sed -n 's/.* dev \\([^ ]*\\).*/\\1/p')"
    lines = [
        f"device={device}" if device else f"if ip -o address show to {entry.ip} | grep .; then exit 0; fi\n{find}",
        f'ip address add {entry.address} dev "$device"',
        f'arping -q -U -c 3 -I "$device" {entry.ip} || true' if ":" not in entry.ip else "",
        f"ip -o address show to {entry.ip}",
    ]
    return "\n".join(line for line in lines if line)


def release(entry: VirtualAddress) -> str:
    """Take an address away; for scripts of `on`."""
    return (
        f"ip -o address show to {entry.ip} | while read -r _ device _; do "
        f'ip address del {entry.address} dev "$device"; done'
    )


def prove(commands: Commands) -> Chapter:
    """A committed write from the users' side."""
    service = commands.service
    table = "set client_min_messages = warning;\n" + "".join(f"{statement};\n" for statement in HEARTBEAT_TABLE)
    sql = (
        f"{table}insert into recoverd.heartbeat as h (service, at, by) values ('{service.name}', clock_timestamp(), 'by hand')\n"  # noqa: S608
        "on conflict (service) do update set at = excluded.at, by = excluded.by\n"
        "returning 'committed at ' || h.at || ' by ' || coalesce(host(inet_server_addr()), 'a socket');"
    )
    steps = []
    for entry in commands.addresses:
        port = entry.port or service.postgresql.port
        if service.clients:
            client = service.clients[0]
            forward = commands.ssh(
                client, "-f", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{PROOF_PORT}:{entry.ip}:{port}"
            )
            write = commands.psql_through(entry, sql, port=PROOF_PORT, hostaddr="127.0.0.1")
            steps.append(Step(f"Prove a write through {entry.name} from {client}",
                              f"{forward} sleep 10 </dev/null >/dev/null 2>&1\n{write}"))  # fmt: skip
        else:
            write = commands.psql_through(entry, sql, port=port, hostaddr=entry.ip)
            steps.append(Step(f"Prove a write through {entry.name}", write))
    if any(entry.kind == "libpq" for entry in service.entry_points):
        steps.append(Step("Prove a write as clients with all addresses do", commands.psql_anywhere(sql)))
    text = "It must print `committed at`. If it hangs, too few standbys confirm: see the next chapter, then come back."
    return Chapter("Prove it from the users' side", text, tuple(steps))


def synchronous(commands: Commands, hosts: tuple[str, ...]) -> Chapter:
    """Where commits wait for standbys that are gone."""
    sql = "alter system set synchronous_standby_names = '';\nselect pg_reload_conf();"
    steps = tuple(Step(f"Let {host} wait for no standby", commands.psql(host, sql)) for host in hosts)
    return Chapter(
        "Only if writes hang",
        "The new primary waits for standbys that are not there. Note the setting first; give it back when they are.",
        steps,
    )


def follow(commands: Commands, primaries: tuple[str, ...], away: tuple[str, ...]) -> Chapter:
    """Point the other standbys to the new primary."""
    steps = []
    for primary in primaries:
        for host in commands.service.hosts:
            if host != primary and (len(away) > 1 or host not in away):
                steps.append(_follow(commands, host, primary))
    text = "For each standby that runs, except the new primary. It must end with its name and `streaming`."
    return Chapter("Let the other standbys follow", text, tuple(steps))


def _follow(commands: Commands, host: str, primary: str) -> Step:
    server, secret = commands.server(primary), commands.server(host).replication_password
    # A password must not stand in the setting: servers write its value to their log.
    given = "'\\mpassword\\s*=\\s*(''([^''\\\\]|\\\\.)*''|\\S+)'"
    point = (
        "select format('alter system set primary_conninfo = %L', regexp_replace(regexp_replace(regexp_replace(regexp_replace(\n"
        f"    current_setting('primary_conninfo'), {given}, 'passfile={commands.passfile}'), '\\mhostaddr=\\S+', ''),\n"
        f"    '\\mhost=\\S+', 'host={commands.address(primary)}'), '\\mport=\\S+', 'port={server.port}')) \\gexec\n"
    )
    if commands.service.postgresql.slots:
        point += f"alter system set primary_slot_name = '{slot_of(host)}';\n"
    parts = [slot(commands, host, primary)] if commands.service.postgresql.slots else []
    if secret is not None:
        parts.append(commands.on_with_password(host, secret, "\n".join(commands.write_passfile(host))))
    parts += [commands.psql(host, point + "select pg_reload_conf();"), streams(commands, host, primary)]
    return Step(f"Let {host} follow {primary}", "\n".join(parts))


def slot(commands: Commands, host: str, primary: str) -> str:
    """Make the slot of a member on a primary."""
    name = slot_of(host)
    create = f"select pg_create_physical_replication_slot('{name}', true)"
    sql = f"{create}\n where not exists (select from pg_replication_slots where slot_name = '{name}');"
    return commands.psql(primary, sql)


def streams(commands: Commands, host: str, primary: str) -> str:
    """Wait for up to 30 s until a member streams from a primary, and show what streams."""
    sql = f"select application_name, state from pg_stat_replication where client_addr = '{commands.address(host)}';"  # noqa: S608
    ask = commands.psql(primary, sql)
    head, _, rest = ask.partition("\n")
    return (
        "for second in $(seq 30); do\n"
        f"seen=$({head}\n{rest}\n)\n"
        "case $seen in *streaming*) break ;; esac\nsleep 1\ndone\n"
        'echo "${seen:-nothing streams}"; case $seen in *streaming*) ;; *) false ;; esac'
    )


def fenced_marker(commands: Commands) -> str:
    """The file by which recoverd knows a fenced member."""
    return f"{STATE}/{commands.service.name}.fenced"
