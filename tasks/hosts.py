"""What recoverd does on hosts, over SSH: scripts that ship beside this file, behind one guard."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from ipaddress import ip_address

from recoverd.connections import Completed
from recoverd.errors import Busy, Look, NotAllowed, RecoverdError, Stale, Tampered, TryAgain, Unreachable
from recoverd.inventory import Postgres, Service
from recoverd.world import world
from tasks.views import Answer, HostView

OBSERVE_TIMEOUT_S = 2.0
_STALE_EPOCH, _HELD, _CANNOT_WRITE = 97, 95, 96


def run_script(name: str, service: Service, host: str, variables: Mapping[str, str], *, timeout_s: float) -> Completed:
    """Run one of `tasks/scripts/` on a host, with the service's paths and this run's epoch as variables.

    Raises:
        Stale: The host has seen a newer epoch: this run has lost its target.
        Busy: Another recoverd works on the service on that host at this moment.
        Look: The script failed; its words are in the message.
        TryAgain: The host could not be reached, or did not end in time.
    """
    return run_on(name, host, {**paths(service, host), **variables}, timeout_s=timeout_s)


def run_host(name: str, host: str, variables: Mapping[str, str], *, timeout_s: float) -> Completed:
    """The same for what is done to a host itself, not to a service on it: it keeps the newest epoch of the host's own lock.

    Raises:
        RecoverdError: As `run_script`.
    """
    given = {"SERVICE": "host", "EPOCH": str(world().epoch_of(host)), **variables}
    return run_on(name, host, given, timeout_s=timeout_s)


def run_on(name: str, host: str, variables: Mapping[str, str], *, timeout_s: float) -> Completed:
    """The same on any host, a member or not: `variables` are all that the script gets, but for epoch and run."""
    here = world()
    given = {"SERVICE": "", "OS_USER": "root", "PGDATA": "/nonexistent", "EPOCH": str(here.epoch), "RUN": here.run.id}
    done = here.connections.ssh(host).run(script(name), {**given, **variables}, timeout_s=timeout_s)
    if done.code == 0:
        return done
    said = (done.err.strip() or done.out.strip()).splitlines()
    words = said[-1] if said else f"exit {done.code}"
    if done.code == _STALE_EPOCH:
        raise Stale(f"{host} refuses this run: {words}", "a newer run works on the target: see `recoverd runs`")
    if done.code == _HELD:
        raise Busy(f"{host}: {words}", "wait for the other run to finish")
    if done.code == _CANNOT_WRITE:
        raise Look(f"{host} cannot note the epoch: {words}", "free space on /var/lib of that host")
    raise Look(f"{name} on {host} failed: {words}", f"log in to {host} and look; then resume the run")


@cache
def script(name: str) -> str:
    """The text of a script, with the prelude before it. One of several files is named by all of them: `one+other`."""
    here = files("tasks") / "scripts"
    return "".join((here / f"{part}.sh").read_text() for part in ("prelude", *name.split("+")))


def paths(service: Service, host: str) -> dict[str, str]:
    """The variables that every script gets."""
    here, server = world(), service.postgres_of(host)
    return {
        "SERVICE": service.name,
        "OS_USER": server.os_user,
        "PGDATA": server.data_dir,
        "BIN": server.bin_dir,
        "PORT": str(server.port),
        "UNIT": unit_of(server),
        "CONFIG_FILE": server.config_file or "",
        "LOG_FILE": server.control.log_file or f"{server.data_dir}/../recoverd-{service.name}.log",
        "ADDRESSES": " ".join(virtual_addresses(service)),
        "EPOCH": str(here.epoch),
        "RUN": here.run.id,
    }


def unit_of(server: Postgres) -> str:
    """The systemd unit that runs a server; empty where systemd does not."""
    return server.control.unit or "" if server.control.kind == "systemd" else ""


def virtual_addresses(service: Service) -> tuple[str, ...]:
    """The virtual addresses of a service, with their prefix lengths."""
    return tuple(entry.address for entry in service.entry_points if entry.kind == "virtual-address")


def is_address_of(text: str, host: str) -> bool:
    """Whether an address that a server gives is a host's: the inventory may write it otherwise, or give a DNS name."""
    address = world().inventory.host(host).address
    return text == address or bool(text and _numeric(text) & _numeric(address))


def _numeric(address: str) -> frozenset[str]:
    try:
        return frozenset({str(ip_address(address))})
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(place[0]).partition("%")[0] for *_, place in found)


def view_host(service: Service, host: str, *, connect_timeout_s: float) -> HostView:
    """What a host says of its server. Never raises for a host that cannot be asked: that is an answer too."""
    here = world()
    try:
        ssh = here.connections.ssh(host, timeout_s=connect_timeout_s)
        limit_s = max(OBSERVE_TIMEOUT_S, 4 * connect_timeout_s)
        done = ssh.run(script("observe"), paths(service, host), timeout_s=limit_s)
    except (Tampered, NotAllowed) as error:
        return HostView(host=host, answer=Answer.REJECTED, problem=error.message)
    except TryAgain as error:
        here.connections.forget(host)
        return HostView(host=host, answer=Answer.SILENT, problem=error.message)
    except RecoverdError as error:
        return HostView(host=host, answer=Answer.REJECTED, problem=error.message)
    if done.code != 0:
        return HostView(
            host=host, answer=Answer.REJECTED, problem=f"the observing script failed: {done.err.strip()[-200:]}"
        )
    return _read_view(host, done.facts())


def knock(host: str, *, timeout_s: float) -> None:
    """A TCP handshake with a host's SSH, and nothing more. A refusal counts: somebody is there.

    Raises:
        Unreachable: Nobody answers.
    """
    wanted = world().inventory.host(host)
    try:
        socket.create_connection((wanted.address, wanted.port), timeout=timeout_s).close()
    except ConnectionRefusedError:
        return
    except OSError as error:
        raise Unreachable(
            f"{wanted.address} port {wanted.port} ({host}) does not answer", "check power and network of that host"
        ) from error


def _read_view(host: str, facts: Mapping[str, str]) -> HostView:
    enabled = facts.get("unit_enabled")
    return HostView(
        host=host,
        answer=Answer.YES,
        running=bool(facts.get("postmaster")),
        frozen=facts.get("postmaster_state", "")[:1] in {"T", "t"},
        processes=int(facts.get("processes") or 0),
        standby_signal="standby_signal" in facts,
        startable="startable" in facts,
        held="held" in facts,
        masked=enabled == "masked" and facts.get("unit_active") in {"inactive", "failed"},
        promoting="promoting" in facts,
        fenced=facts.get("fenced", "") or ("unknown" if "fenced" in facts else ""),
        epoch=int(facts.get("epoch") or 0),
        addresses=tuple(key.split(":", 1)[1] for key in facts if key.startswith("address:")),
        control_state=facts.get("control_state", ""),
        timeline=int(facts.get("control_timeline") or 0),
        system_identifier=facts.get("system_identifier", ""),
        enabled_at_boot=None if enabled is None else enabled.startswith("enabled"),
        free_bytes=int(facts["free_blocks"]) * int(facts["block_bytes"]) if "free_blocks" in facts else None,
    )
