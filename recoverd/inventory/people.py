"""Sites, roles and people."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recoverd.inventory.base import Frozen, Model

May = Literal["run", "approve", "publish", "close", "force"]


class Site(Model):
    """A place where hosts stand."""

    name: str = Field(min_length=1, description="the site's name: its key in sites.yaml")
    title: str | None = Field(None, description="name for people")
    location: str | None = Field(None, description="where it is: town, building, room")
    contact: str | None = Field(None, description="whom to call there")


class Role(Model):
    """A group of the emergency plan: command, technical, publicity, customer service, …"""

    name: str = Field(min_length=1, description="the role's name: its key under `roles`")
    title: str | None = Field(None, description="name for people")
    duties: tuple[str, ...] = Field((), description="what the plan asks of it")
    people: tuple[str, ...] = Field((), description="who has it; the same is said by a person's `roles`")
    may: tuple[May, ...] = Field(
        (),
        description="what it may do: `run` procedures, `approve` gates, `publish` notices, `close` incidents, `force` runs over the "
        "limits of the inventory",
    )


class Person(Model):
    """Someone who starts, approves, publishes or is told."""

    name: str = Field(min_length=1, description="the person's name: its key under `people`")
    title: str | None = Field(None, description="full name")
    os_user: str | None = Field(None, min_length=1, description="their operating-system user on recoverd's machine")
    token_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="SHA-256 of their token, in hex: `printf %s TOKEN | sha256sum`"
    )
    roles: tuple[str, ...] = Field((), description="roles they have; the same is said by a role's `people`")
    contact: Frozen[str, str] = Field(default_factory=dict, description="how they are reached: email, phone, chat, …")
