"""What every host of a lab is and does now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lab import faults, machine, s3
from lab.layout import Host, Layout
from lab.roles import Role, carries, role


class HostStatus(BaseModel):
    """One host.

    Attributes:
        power: Whether its first process lives.
        postgresql: What its server says of itself, asked from inside; "none" where there is no server to be.
        s3: What its S3 server answers, asked from inside; "none" where there is no server to be.
        virtual_address: Whether it carries the service's address.
        faults: What is broken on purpose.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    power: Literal["on", "off"]
    postgresql: Role
    s3: s3.S3State
    virtual_address: bool
    faults: tuple[str, ...]


class LabStatus(BaseModel):
    """A lab.

    Attributes:
        virtual_address: The service's address; empty in a lab without databases.
        postgresql_version: Major version of its servers; 0 in a lab without databases.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    state: Path
    inventory: Path
    subnet: str
    controller: str
    virtual_address: str
    postgresql_version: int
    hosts: tuple[HostStatus, ...]


def survey(layout: Layout) -> LabStatus:
    """Ask all hosts at once."""
    with ThreadPoolExecutor(8) as pool:
        hosts = tuple(pool.map(lambda host: look(layout, host), layout.hosts.values()))
    return LabStatus(
        name=layout.name,
        state=layout.state,
        inventory=layout.state / "inventory",
        subnet=layout.subnet,
        controller=layout.controller,
        virtual_address=f"{layout.virtual_address}/24" if layout.cluster else "",
        postgresql_version=layout.server_version,
        hosts=hosts,
    )


def look(layout: Layout, host: Host) -> HostStatus:
    """Ask one host."""
    on = machine.init_pid(host) is not None
    return HostStatus(
        name=host.name,
        address=host.address,
        power="on" if on else "off",
        postgresql=role(host),
        s3=s3.state(layout, host),
        virtual_address=on and carries(layout, host),
        faults=faults.present(host),
    )
