"""The runbook of a failover."""

from __future__ import annotations

import shlex

from flows.runbooks import parts
from flows.runbooks.commands import STATE, Commands
from flows.runbooks.document import Chapter, Step


def chapters(commands: Commands, away: tuple[str, ...], to: tuple[str, ...]) -> tuple[Chapter, ...]:
    """The chapters of the runbook.

    Args:
        commands: Writes the commands.
        away: Members that may be the old primary.
        to: Members that may be promoted, the preferred first.
    """
    return (
        _when(commands),
        parts.needs(commands),
        parts.look(commands),
        _fence(commands, away),
        parts.promote(commands, to),
        parts.lead_users(commands, to),
        parts.prove(commands),
        parts.synchronous(commands, to),
        parts.follow(commands, to, away),
        _afterwards(commands),
    )


def _when(commands: Commands) -> Chapter:
    service = commands.service
    managed = any(commands.server(host).patroni for host in service.hosts)
    text = (
        f"The primary of `{service.name}` is dead or takes no writes, seen from more than one place, and recoverd cannot do "
        "it. Not when only this machine does not reach it: users may be served.\n\n"
        "**First fence, then promote. No fence, no promotion**: two servers that take writes are worse than none."
    )
    if managed:
        text += (
            "\n\n**Patroni manages this cluster.** Do not promote behind its back: on any member run "
            "`patronictl failover`, name the candidate, then go on at *Prove it from the users' side*."
        )
    return Chapter("When to do this", text)


def _fence(commands: Commands, hosts: tuple[str, ...]) -> Chapter:
    steps: list[Step] = []
    for host in hosts:
        steps.append(_by_ssh(commands, host))
        steps += [_by_device(commands, host, device) for device in commands.service.member(host).fencing]
    text = (
        "Only the old primary. Over SSH where its host answers, else by the device. It must end with the words that it is "
        "fenced. If none works: have its power or its network cut by someone who sees it, and let them confirm it."
    )
    return Chapter("Fence the old primary", text, tuple(steps))


def _by_ssh(commands: Commands, host: str) -> Step:
    server = commands.server(host)
    data, marker = server.data_dir, parts.fenced_marker(commands)
    pids = f"{commands.processes(host)} | cut -d/ -f3"
    lines = [
        f"mkdir -p {STATE} && echo '0 by hand' >{marker}",
        f"[ ! -e {data}/PG_VERSION ] || {{ touch {data}/standby.signal; chown --reference={data}/PG_VERSION {data}/standby.signal; }}",
    ]
    if server.control.unit:
        unit = shlex.quote(server.control.unit)
        lines += [f"systemctl mask {unit}", f"systemctl stop --no-block {unit}"]
    lines += [parts.release(entry) for entry in commands.addresses]
    lines += [
        f"kill -QUIT $({pids}) 2>/dev/null",
        "for second in 1 2 3 4 5 6 7 8 9 10; do",
        f"    pids=$({pids})",
        '    [ -n "$pids" ] || break',
        "    sleep 1",
        '    [ "$second" -lt 3 ] || kill -KILL $pids 2>/dev/null',
        "done",
        f"[ -z \"$({pids})\" ] && [ -e {data}/PG_VERSION ] && [ -e {data}/standby.signal ] && echo '{host} is fenced'",
    ]
    return Step(f"Fence {host} over SSH", commands.on(host, "\n".join(lines)))


def _by_device(commands: Commands, host: str, device: str) -> Step:
    off = commands.fence_call(device, host, "off")
    status = commands.fence_call(device, host, "status")
    check = f"{status}; [ $? -eq 2 ] && echo '{host} is fenced: {device} says that it is off'"
    return Step(f"Fence {host} by {device}", f"{off}\n{check}")


def _afterwards(commands: Commands) -> Chapter:
    name = commands.service.name
    text = (
        f"Tell users. Leave the old primary off until you follow `recoverd runbook rejoin {name}`: it must not come back as "
        f"a second primary. When recoverd works again: `recoverd check {name}`, and put the times and names into the incident."
    )
    return Chapter("Afterwards", text)
