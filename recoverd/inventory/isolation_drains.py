"""Load balancers in front of a zone's hosts that recoverd reaches over SSH: its `drains` in isolation.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from recoverd.inventory.base import Model

_PLAIN = r"^[A-Za-z0-9_.:-]+$"


class HaproxyDrain(Model):
    """HAProxy, told by its runtime socket. What it is told lasts until HAProxy is started anew."""

    kind: Literal["haproxy"] = Field(description="what kind of load balancer it is")
    name: str = Field(min_length=1, pattern=_PLAIN, description="name in reports")
    hosts: tuple[str, ...] = Field(min_length=1, description="hosts of hosts.yaml that HAProxy runs on: all are told")
    socket: str = Field(
        "/run/haproxy/admin.sock", pattern=r"^/[\w./-]+$", description="its runtime socket, with `level admin`"
    )
    server: str = Field(
        "{host}", description="what HAProxy calls the server of a host; `{host}` is the host's name in hosts.yaml"
    )
    backends: tuple[str, ...] = Field((), description="backends; none: every one that has such a server")
    drain_s: float = Field(
        5, ge=0, le=300, description="seconds that sessions get to end by themselves; then they are cut"
    )

    @field_validator("server")
    @classmethod
    def _plain_server(cls, server: str) -> str:
        return _plain(server.replace("{host}", "h"), server)

    @field_validator("backends")
    @classmethod
    def _plain_backends(cls, backends: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_plain(one, one) for one in backends)

    def server_of(self, host: str) -> str:
        """HAProxy's name for a host's server."""
        return self.server.replace("{host}", host)


def _plain(name: str, given: str) -> str:
    """A name as HAProxy takes it: anything else could be a second command."""
    if not name or not all(char.isalnum() or char in "_.:-" for char in name) or not name.isascii():
        raise ValueError(f"{given} is no name of HAProxy: letters, digits and _ . : - alone")
    return given
