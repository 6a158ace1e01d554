"""Rules of a service: what recoverd does by itself, what it asks for, what it only records."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recoverd.inventory.base import Mode, Model


class Triggers(Model):
    """What is done, by what started it. The defaults are those of a failover."""

    alert: Mode = Field("act", description="an alert of a monitoring system")
    sentinel: Mode = Field("ask", description="recoverd's own watching")
    hand: Mode = Field("act", description="a person")
    schedule: Mode = Field("ask", description="a schedule")


class Approvals(Model):
    """Who says yes where a gate asks. Nobody approves a run of their own."""

    required: int = Field(1, ge=1, description="how many people must approve")
    expiry_s: int = Field(3600, gt=0, description="seconds after which an unanswered gate counts as refused")
    roles: tuple[str, ...] = Field((), description="roles that may approve; none: every role that may approve at all")


class SentinelPolicy(Model):
    """recoverd's own watching of the service."""

    enabled: bool = Field(False, description="whether recoverd watches the service itself")
    interval_s: float = Field(1.0, ge=0.1, description="seconds between two looks")
    confirmations: int = Field(3, ge=1, description="looks in a row that must agree before the primary counts as dead")


class Policy(Model):
    """The rules of the services that name it."""

    name: str = Field(min_length=1, description="the policy's name: its key in policies.yaml")
    failover: Triggers = Field(default_factory=Triggers, description="act, ask or record, by what started the failover")
    isolate: Triggers = Field(
        default_factory=lambda: Triggers(alert="ask", sentinel="ask", hand="act", schedule="ask"),
        description="act, ask or record, by what started it, for procedures that take hosts off the network",
    )
    cooldown_s: int = Field(600, ge=0, description="seconds after a failover in which no second one starts by itself")
    max_lag_bytes: int = Field(
        16 * 1024**2, ge=0, description="bytes of WAL by which a standby may lag behind and still be promoted"
    )
    unfenced_promotion: Literal["never", "ask"] = Field(
        "never", description="whether a person may approve a promotion although the old primary could not be fenced"
    )
    possible_loss: Literal["ask", "never", "act"] = Field(
        "ask",
        description="promoting a standby that may lack commits which were acknowledged under synchronous replication: "
        "after a person has agreed, never, or at once",
    )
    relax_synchronous: bool = Field(
        True,
        description="whether a new primary with too few standbys left stops waiting for them, so that writes go on",
    )
    rejoin: Mode = Field("ask", description="whether an old primary that comes back is made a standby by itself")
    probe_timeout_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="seconds of silence, from every side, after which a server counts as gone; what recoverd has just "
        "waited out counts, and is confirmed by one more short look from every side",
    )
    approvals: Approvals = Field(default_factory=Approvals, description="who approves")
    sentinel: SentinelPolicy = Field(default_factory=SentinelPolicy, description="recoverd's own watching")
