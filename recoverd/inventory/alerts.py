"""Where alerts come from, and which procedure each one starts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from recoverd.inventory.base import Frozen, Mode, Model
from recoverd.inventory.matchers import Matcher, all_match, flat
from recoverd.inventory.secret import SecretRef


class Bearer(Model):
    """`Authorization: Bearer …`. Several tokens are valid at once, so that one can be replaced without a gap."""

    kind: Literal["bearer"] = Field(description="`Authorization: Bearer …`")
    tokens: tuple[SecretRef, ...] = Field(min_length=1, description="all tokens that are valid now, old and new")


class Basic(Model):
    """HTTP basic authentication. Several passwords of a user are valid at once."""

    kind: Literal["basic"] = Field(description="HTTP basic authentication")
    users: Frozen[str, tuple[SecretRef, ...]] = Field(
        min_length=1, description="by user: all passwords that are valid now"
    )

    @field_validator("users", mode="before", json_schema_input_type=dict[str, SecretRef | list[SecretRef]])
    @classmethod
    def _one_password_alone(cls, users: Any) -> Any:
        if not isinstance(users, dict):
            return users
        return {user: [given] if isinstance(given, dict) else given for user, given in users.items()}


class GrafanaHmac(Model):
    """Grafana's signature of the body. Several secrets are valid at once."""

    kind: Literal["grafana-hmac"] = Field(description="Grafana's HMAC-SHA256 of the body")
    secrets: tuple[SecretRef, ...] = Field(
        min_length=1, description="all signing secrets that are valid now, old and new"
    )
    header: str = Field("X-Grafana-Alerting-Signature", description="header with the signature")
    timestamp_header: str | None = Field(
        None, description="header with the time that is part of the signature, as Grafana is set up"
    )
    max_age_s: int = Field(300, gt=0, description="most seconds between that time and now")


Auth = Annotated[Bearer | Basic | GrafanaHmac, Field(discriminator="kind")]


class AlertSource(Model):
    """A monitoring system that may send alerts."""

    name: str = Field(min_length=1, description="the source's name: its key under `sources`")
    kind: str = Field(
        min_length=1, description="whose format it speaks: alertmanager, grafana, or a parser that is plugged in"
    )
    auth: Auth = Field(description="how it proves itself")
    poll_url: str | None = Field(
        None,
        pattern="^https?://[^/]",
        description="base address of Alertmanager's API, asked for alerts that fired while recoverd was down",
    )
    poll_interval_s: float = Field(60, ge=1, description="seconds between two such questions")


class Route(Model):
    """What an alert starts. The first route whose matchers all hold is taken."""

    name: str = Field(min_length=1, description="the route's name in reports")
    match: tuple[Matcher, ...] = Field(
        min_length=1, description='Alertmanager\'s matchers, all of which must hold: `alertname="PostgresDown"`'
    )
    procedure: str = Field(min_length=1, description="the procedure to start")
    target: str = Field(
        min_length=1, description="the service, or the hosts; or a label that names them: `{labels.service}`"
    )
    mode: Mode = Field("ask", description="act at once, ask a person first, or only record the alert")

    @field_validator("match", mode="before", json_schema_input_type=str | list[str | Matcher])
    @classmethod
    def _flat(cls, given: Any) -> Any:
        return flat(given)

    def matches(self, labels: dict[str, str]) -> bool:
        """Whether an alert with these labels takes the route."""
        return all_match(self.match, labels)
