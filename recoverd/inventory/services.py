"""A service: what users know by name, the servers behind it and the ways in to it."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from recoverd.errors import Invalid
from recoverd.inventory.base import Model, Port, SslMode
from recoverd.inventory.postgres import Postgres, PostgresOverrides
from recoverd.inventory.problems import nearest
from recoverd.inventory.secret import SecretRef


class Member(Model):
    """One server of a service."""

    host: str = Field(min_length=1, description="the host's name in hosts.yaml")
    priority: int = Field(
        100, ge=0, description="of several standbys with the same data the one with the higher number is promoted"
    )
    no_failover: bool = Field(False, description="never promote this one: a delayed standby, a report server")
    fencing: tuple[str, ...] = Field(
        (), description="fence devices of fencing.yaml, tried in this order when the host cannot be reached"
    )
    postgresql: PostgresOverrides = Field(default_factory=PostgresOverrides, description="what differs on this member")


class _EntryPoint(Model):
    name: str = Field(min_length=1, description="name in reports")
    database: str | None = Field(None, description="database in which recoverd proves a write; none: the service's")
    user: str | None = Field(None, description="database user of that proof; none: the service's")
    password: SecretRef | None = Field(None, description="password of that user; none: the service's")
    sslmode: SslMode | None = Field(None, description="libpq's sslmode of that proof; none: the service's")


class VirtualAddress(_EntryPoint):
    """An address that stands on the primary's network interface and moves with it."""

    kind: Literal["virtual-address"] = Field(description="an address that moves to the new primary")
    address: str = Field(description="the address with its prefix length: 10.0.0.10/24")
    interface: str | None = Field(
        None, max_length=15, description="network interface; none: the one whose subnet holds the address"
    )
    port: Port | None = Field(None, description="port behind the address; none: the server's")

    @field_validator("address")
    @classmethod
    def _has_prefix(cls, address: str) -> str:
        if "/" not in address:
            raise ValueError(f"{address} has no prefix length; write it as {address}/24")
        ip_interface(address)
        return address

    @property
    def ip(self) -> str:
        """The address alone, without its prefix length."""
        return str(self.interface_address.ip)

    @property
    def interface_address(self) -> IPv4Interface | IPv6Interface:
        """The address with its network."""
        return ip_interface(self.address)


class Libpq(_EntryPoint):
    """Clients know all members and find the primary by themselves; nothing is moved."""

    kind: Literal["libpq"] = Field(description="multi-host connection string of the clients; nothing to move")
    target_session_attrs: Literal["read-write", "primary"] = Field(
        "read-write", description="how the clients recognise the primary"
    )


EntryPoint = Annotated[VirtualAddress | Libpq, Field(discriminator="kind")]


class Objectives(Model):
    """What the service is measured against. Of rpo_bytes and rpo_s at most one is given."""

    rto_s: int = Field(gt=0, description="recovery time objective: longest outage, in seconds")
    rpo_bytes: int = Field(
        0,
        ge=0,
        description="recovery point objective: most WAL that may be lost, in bytes; 0 where rpo_s is not given either",
    )
    rpo_s: int | None = Field(
        None, ge=0, description="recovery point objective as time: most seconds of writes that may be lost"
    )

    @model_validator(mode="after")
    def _one_rpo(self) -> Objectives:
        if self.rpo_s is not None and "rpo_bytes" in self.model_fields_set:
            raise ValueError("objectives give rpo_bytes or rpo_s, not both")
        return self


class Service(Model):
    """A replicated database with its ways in."""

    name: str = Field(min_length=1, description="the service's name: its key in services.yaml")
    kind: Literal["postgresql"] = Field(description="what kind of service it is")
    title: str | None = Field(None, description="name for people, in reports and notices")
    criticality: Literal["low", "normal", "high", "critical"] = Field(
        "normal", description="weight of an outage when an incident is graded"
    )
    members: tuple[Member, ...] = Field(min_length=1, description="the servers, primary and standbys alike")
    postgresql: Postgres = Field(description="what is the same on all members")
    entry_points: tuple[EntryPoint, ...] = Field((), description="the ways in that users take")
    clients: tuple[str, ...] = Field(
        (), description="hosts that use the service: from them recoverd sees what users see"
    )
    objectives: Objectives = Field(description="RTO and RPO")
    policy: str = Field(
        "default", description="policy of policies.yaml; `default` exists also when the file does not define it"
    )

    @field_validator("members")
    @classmethod
    def _each_host_once(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        hosts = [member.host for member in members]
        doubled = sorted({host for host in hosts if hosts.count(host) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} is a member more than once")
        return members

    @field_validator("entry_points")
    @classmethod
    def _each_name_once(cls, points: tuple[VirtualAddress | Libpq, ...]) -> tuple[VirtualAddress | Libpq, ...]:
        names = [point.name for point in points]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} is the name of more than one entry point")
        return points

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the members' hosts, in the order of the file."""
        return tuple(member.host for member in self.members)

    def member(self, host: str) -> Member:
        """The member that runs on the host.

        Raises:
            Invalid: The host is no member of the service.
        """
        for member in self.members:
            if member.host == host:
                return member
        near = nearest(host, self.hosts)
        raise Invalid(
            f"{host} is no member of {self.name}",
            f"did you mean {near}?" if near else f"members are {', '.join(self.hosts)}",
        )

    def postgres_of(self, host: str) -> Postgres:
        """The member's PostgreSQL: the service's settings with the member's own in their place."""
        return self.member(host).postgresql.over(self.postgresql)
