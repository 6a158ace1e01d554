"""What a check of readiness finds on hosts, servers, devices and ways in: frozen facts (see tasks/readiness.py)."""

from __future__ import annotations

from pydantic import Field

from recoverd.connections import Reach
from tasks.views import Facts, ServiceView


class HostNeeds(Facts):
    """What a host has of what recoverd needs.

    Attributes:
        problem: Why SSH or the script did not work; the other fields mean nothing then.
        clock_offset_s: By how much its clock is ahead of the controller's, and how exact that is.
        missing_tools: System programs that are not there.
        missing_programs: PostgreSQL's programs that are not in bin_dir.
        unit: systemd's LoadState of the server's unit; None where systemd does not manage it.
    """

    host: str
    problem: str = ""
    hint: str = ""
    is_root: bool = False
    has_os_user: bool = False
    clock_offset_s: float = 0.0
    clock_error_s: float = 0.0
    missing_tools: tuple[str, ...] = ()
    missing_programs: tuple[str, ...] = ()
    missing_config: str = ""
    data_version: str = ""
    state_writable: bool = False
    unit: str | None = None


class Slot(Facts):
    """A physical replication slot."""

    name: str
    active: bool
    status: str | None = None


class ServerNeeds(Facts):
    """What a server says of its settings and of the rights of recoverd's user.

    Attributes:
        settings: By name; times in the unit of pg_settings.
        replicator: Whether the replication user exists, may log in and may replicate; None where it does not exist.
    """

    host: str
    problem: str = ""
    settings: dict[str, str] = Field(default_factory=dict)
    superuser: bool = False
    may_promote: bool = False
    replicator: bool | None = None
    slots: tuple[Slot, ...] = ()


class DeviceNeeds(Facts):
    """Whether a fence device knows a member: `on`, `off`, or why it does not."""

    device: str
    host: str
    answer: str = ""
    problem: str = ""
    hint: str = ""


class EntryNeeds(Facts):
    """What a vantage point sees of an entry point."""

    entry: str
    vantage: str
    reach: Reach


class ClientNeeds(Facts):
    """Whether a client's host can be used as a vantage point; `problem` is empty when it can."""

    host: str
    problem: str = ""
    hint: str = ""


class Needs(Facts):
    """All of it."""

    view: ServiceView
    hosts: tuple[HostNeeds, ...]
    servers: tuple[ServerNeeds, ...]
    devices: tuple[DeviceNeeds, ...]
    entries: tuple[EntryNeeds, ...]
    clients: tuple[ClientNeeds, ...]
