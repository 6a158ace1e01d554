"""Is a service ready to be recovered? Pure rules over what a survey found (tasks/readiness.py): hosts, ways in, fences.

The rules about PostgreSQL itself are in flows/readiness_postgres.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.finding import Finding, Level
from flows.readiness_postgres import configuration, credentials, replication
from recoverd.connections import Reach
from recoverd.inventory import Inventory, Service, VirtualAddress
from tasks.needs import DeviceNeeds, HostNeeds, Needs
from tasks.views import Answer

CLOCK_WARNING_S = 0.5
CLOCK_PROBLEM_S = 5.0
ROOM_BYTES = 512 * 1024**2
LITTLE_ROOM_BYTES = 64 * 1024**2
# What a failover takes beside its waits: confirm, promote, move the address, prove.
WORK_S = 3.0


def judge(needs: Needs, service: Service, inventory: Inventory) -> tuple[Finding, ...]:
    """All findings about a service, area by area."""
    found = [*reach(needs, service), *credentials(needs, service), *hosts(needs, service)]
    found += [*replication(needs, service, inventory), *configuration(needs, service)]
    found += [*fencing(needs, service, inventory), *entry_points(needs, service), *objectives(service, inventory)]
    return tuple(found)


def reach(needs: Needs, service: Service) -> Iterator[Finding]:
    """SSH to members and clients; whether the members can be seen from everywhere."""
    for host in needs.hosts:
        if host.problem:
            yield Finding("problem", "reach", host.host, host.problem, host.hint)
        elif not host.is_root:
            hint = (
                f"set ansible_become: true for {host.host}, and let {host.host}'s sudoers allow it without a password"
            )
            yield Finding("problem", "reach", host.host, "commands do not run as root", hint)
        else:
            yield Finding("ok", "reach", host.host, "SSH works, with a known host key, as root")
    for client in needs.clients:
        if client.problem:
            yield Finding("warning", "reach", client.host, client.problem, client.hint)
        elif all(sight.reach is Reach.UNKNOWN for sight in needs.view.sights if sight.vantage == client.host):
            hint = "allow TCP forwarding (AllowTcpForwarding) for recoverd's user in its sshd_config"
            yield Finding("warning", "reach", client.host, "it cannot be looked from: sshd forbids forwarding", hint)
        else:
            yield Finding("ok", "reach", client.host, "SSH works, and the servers can be looked at from there")
    for sight in needs.view.sights:
        if sight.reach in {Reach.LOST, Reach.SILENT, Reach.REFUSED} and _answers(needs, sight.server):
            what = f"{sight.vantage} does not reach its PostgreSQL ({sight.reach.value}), though it answers here"
            yield Finding("warning", "reach", sight.server, what, "look at firewalls and routes between the two")


def hosts(needs: Needs, service: Service) -> Iterator[Finding]:
    """Programs, clocks, room, and that no old primary starts by itself at boot."""
    for host in needs.hosts:
        if host.problem:
            continue
        found = [*_programs(host, service), *_clock(host), *_state(needs, host)]
        yield from found or [Finding("ok", "hosts", host.host, "programs, clock and room are as they should be")]


def _programs(host: HostNeeds, service: Service) -> Iterator[Finding]:
    where, server = host.host, service.postgres_of(host.host)
    essential = [tool for tool in host.missing_tools if tool != "arping"]
    if essential:
        hint = "apt-get install util-linux iproute2"
        yield Finding("problem", "hosts", where, f"{', '.join(essential)} is missing", hint)
    moves = any(isinstance(entry, VirtualAddress) for entry in service.entry_points)
    if "arping" in host.missing_tools and moves:
        what = "arping is missing: after a move of the address, neighbours keep the old one for a minute"
        yield Finding("problem", "hosts", where, what, "apt-get install iputils-arping")
    if host.missing_programs:
        what = f"{', '.join(host.missing_programs)} is not in {server.bin_dir}"
        yield Finding(
            "problem", "hosts", where, what, "correct bin_dir in services.yaml, or install the server package"
        )
    if not host.has_os_user:
        what = f"there is no user {server.os_user}"
        yield Finding("problem", "hosts", where, what, "correct os_user in services.yaml")
    if not host.data_version:
        what = f"{server.data_dir} is no data directory"
        yield Finding("problem", "hosts", where, what, "correct data_dir in services.yaml, or rebuild the member")
    if host.missing_config:
        yield Finding("problem", "hosts", where, f"{host.missing_config} is not there", "correct config_file")
    if not host.state_writable:
        what = "/var/lib/recoverd cannot be written: no epoch could be noted"
        yield Finding("problem", "hosts", where, what, "see that /var/lib is writable and has room")
    if host.unit is not None and host.unit not in {"loaded", "masked"}:
        what = f"systemd does not know the unit {server.control.unit} ({host.unit or 'no systemd'})"
        yield Finding("problem", "hosts", where, what, "correct control.unit in services.yaml")


def _clock(host: HostNeeds) -> Iterator[Finding]:
    off_s = abs(host.clock_offset_s)
    if off_s > CLOCK_WARNING_S:
        direction = "ahead of" if host.clock_offset_s > 0 else "behind"
        what = f"its clock is {off_s:.1f} s {direction} the controller's"
        level: Level = "problem" if off_s > CLOCK_PROBLEM_S else "warning"
        yield Finding(level, "hosts", host.host, what, "run a time service (chrony, systemd-timesyncd) on both")


def _state(needs: Needs, host: HostNeeds) -> Iterator[Finding]:
    view = needs.view.host(host.host)
    if view.enabled_at_boot and not needs.view.patroni:
        what = "its server starts by itself at boot: an old primary would come back as a second one"
        yield Finding("problem", "hosts", host.host, what, "systemctl disable the unit; recoverd starts it")
    if view.frozen and not _answers(needs, host.host):  # a living one waits for its disk now and then
        what = "its postmaster is stopped, or hangs in the kernel"
        yield Finding("problem", "hosts", host.host, what, "look at its disk; a SIGCONT wakes a stopped process")
    if view.fenced:
        hint = f"bring it back: recoverd run rejoin {needs.view.service} --option host={host.host} --reason …"
        yield Finding("warning", "hosts", host.host, f"it is fenced (epoch and run: {view.fenced})", hint)
    free = view.free_bytes
    if free is not None and free < ROOM_BYTES:
        level: Level = "problem" if free < LITTLE_ROOM_BYTES else "warning"
        what = f"{free // 1024**2} MiB are free where the data lies"
        yield Finding(level, "hosts", host.host, what, "make room: a full disk stops the server")


def fencing(needs: Needs, service: Service, inventory: Inventory) -> Iterator[Finding]:
    """Each member has a device, and each device works and knows it."""
    answers = {(device.device, device.host): device for device in needs.devices}
    for member in service.members:
        if not member.fencing:
            what = "it has no fence device: when it does not answer, nothing can prove that it is off"
            level: Level = "warning" if inventory.policy_of(service).unfenced_promotion == "ask" else "problem"
            yield Finding(level, "fencing", member.host, what, "name a device of fencing.yaml under `fencing`")
        for name in member.fencing:
            yield _device(answers[name, member.host], needs)


def _device(device: DeviceNeeds, needs: Needs) -> Finding:
    where = f"{device.device} for {device.host}"
    if device.problem:
        return Finding("problem", "fencing", where, device.problem, device.hint)
    alive = _answers(needs, device.host) or needs.view.host(device.host).answer is Answer.YES
    if device.answer == "off" and alive:
        what = f"it says that {device.host} is off, but {device.host} answers: it would fence another machine"
        return Finding("problem", "fencing", where, what, "correct the plug of that host in fencing.yaml")
    return Finding("ok", "fencing", where, f"its status says {device.answer}")


def entry_points(needs: Needs, service: Service) -> Iterator[Finding]:
    """Each address stands on the primary and nowhere else, and users reach it."""
    primaries = needs.view.primaries
    for entry in service.entry_points:
        if not isinstance(entry, VirtualAddress):
            continue
        holders = [host.host for host in needs.view.hosts if entry.address in host.addresses]
        if len(holders) == 1 and holders[0] in primaries:
            yield Finding("ok", "entry points", entry.name, f"{entry.ip} stands on the primary {holders[0]} alone")
        elif primaries:
            held = f"it stands on {', '.join(holders)}" if holders else "no member has it"
            hint = f"ip address add or del {entry.address} there; then arping -U"
            what = f"{entry.ip} should stand on {primaries[0]} alone, and {held}"
            yield Finding("problem", "entry points", entry.name, what, hint)
        for seen in needs.entries:
            if seen.entry == entry.name and seen.reach not in {Reach.ANSWERS, Reach.UNKNOWN} and primaries:
                what = f"{seen.vantage} does not reach {entry.ip} ({seen.reach.value})"
                yield Finding("problem", "entry points", entry.name, what, "look at routes and firewalls there")


def objectives(service: Service, inventory: Inventory) -> Iterator[Finding]:
    """Whether the recovery time objective can be kept at all, and no standby may be promoted that breaks the RPO."""
    policy, aim = inventory.policy_of(service), service.objectives
    for member in service.members:
        fence_s = sum(inventory.fence_devices[name].timeout_s for name in member.fencing)
        worst_s = WORK_S + 2 * policy.probe_timeout_s + fence_s
        if worst_s > aim.rto_s:
            what = f"the RTO of {aim.rto_s} s is missed when fencing {member.host} takes its full {fence_s:g} s"
            yield Finding(
                "warning", "policies", service.name, what, "shorten timeout_s of its devices, or the RTO grows"
            )
    if aim.rpo_s is None and policy.max_lag_bytes > aim.rpo_bytes:
        what = (
            f"the policy promotes standbys up to {policy.max_lag_bytes} bytes behind; the RPO is {aim.rpo_bytes} bytes"
        )
        hint = f"set max_lag_bytes of policy {policy.name} to {aim.rpo_bytes}, or state the RPO that is meant"
        yield Finding("warning", "policies", service.name, what, hint)


def _answers(needs: Needs, host: str) -> bool:
    return needs.view.server(host).answer is Answer.YES
