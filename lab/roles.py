"""What a host's PostgreSQL is now, asked from inside the host whatever the network is doing."""

from __future__ import annotations

from typing import Literal

import psycopg2

from lab.layout import Host, Layout
from lab.shell import call
from lab.sql import ask, connected, inside
from recoverd.errors import TimedOut, Unreachable

Role = Literal["primary", "standby", "read-only", "stopped", "no answer", "none"]


def writers(layout: Layout) -> tuple[str, ...]:
    """The hosts whose running PostgreSQL accepts writes now, whatever the network is doing.

    A frozen server counts as none here; thaw it to know.
    """
    return tuple(host.name for host in layout.databases if role(host) == "primary")


def carries(layout: Layout, host: Host) -> bool:
    """Whether a host has the service's address on its interface."""
    command = ["ip", "-o", "-netns", host.namespace, "address", "show", "dev", "eth0"]
    ran = call(command, state=layout.state, check=False)
    return f" {layout.virtual_address}/" in ran.out


def role(host: Host, *, timeout_s: float = 1.0) -> Role:
    """What a host's PostgreSQL says of itself, asked through its socket, whatever the network is doing."""
    if not host.is_database:
        return "none"
    try:
        with connected(inside(host), timeout_s=timeout_s) as connection:
            question = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"
            recovering, read_only = ask(connection, question, timeout_s=timeout_s)[0]
    except (Unreachable, psycopg2.OperationalError):  # the latter says that it is going down just now
        return "stopped"
    except TimedOut:
        return "no answer"
    if recovering:
        return "standby"
    return "read-only" if read_only == "on" else "primary"
