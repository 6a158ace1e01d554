"""Fence devices: how a host that cannot be reached is cut off."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from recoverd.inventory.base import Frozen, Model
from recoverd.inventory.secret import SecretRef


def _text_or_secret(value: Any) -> str:
    return "text" if isinstance(value, str) else "secret"


Option = Annotated[Annotated[str, Tag("text")] | Annotated[SecretRef, Tag("secret")], Discriminator(_text_or_secret)]


class FenceDevice(Model):
    """What cuts a host off: a command in the style of ClusterLabs fence-agents, or the API of Amazon EC2.

    A command runs on recoverd's machine. It reads `key=value` lines from its input: `action` (off, on or status), `plug`
    and the options below; it ends with 0 for done (or, asked for status, on), and with 2 for off.

    `aws-ec2` stops the instance by force and counts it as off when EC2 says `stopped`. Credentials come from where
    boto3 looks for them: the environment, a profile, or the role of the machine.
    """

    name: str = Field(min_length=1, description="the device's name: its key in fencing.yaml")
    kind: Literal["command", "aws-ec2"] = Field("command", description="what kind of device it is")
    command: tuple[str, ...] = Field((), description="the fence agent with its arguments; for kind command")
    region: str | None = Field(None, min_length=1, description="AWS region of the instances; for kind aws-ec2")
    options: Frozen[str, Option] = Field(
        default_factory=dict, description="options of the agent, one `key=value` line each; secrets as references"
    )
    plugs: Frozen[str, str] = Field(
        default_factory=dict, description="by host: the name, number, address or instance id the device knows it by"
    )
    timeout_s: float = Field(20, gt=0, le=600, description="seconds that one call of the command may take")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> FenceDevice:
        if self.kind == "command" and (not self.command or self.region is not None):
            raise ValueError("a device of kind command gives its command, and no region")
        if self.kind == "aws-ec2" and (self.region is None or self.command or self.options):
            raise ValueError("a device of kind aws-ec2 gives its region, and no command and no options")
        return self

    @field_validator("options", mode="before", json_schema_input_type=dict[str, str | int | float | bool | SecretRef])
    @classmethod
    def _options_as_text(cls, options: Any) -> Any:
        """YAML makes `lanplus: 1` a number; an agent reads text."""
        return {key: as_text(value) for key, value in options.items()} if isinstance(options, dict) else options

    @field_validator("plugs", mode="before", json_schema_input_type=dict[str, str | int])
    @classmethod
    def _plugs_as_text(cls, plugs: Any) -> Any:
        return {host: as_text(plug) for host, plug in plugs.items()} if isinstance(plugs, dict) else plugs

    @field_validator("options")
    @classmethod
    def _one_line_each(cls, options: Any) -> Any:
        for key, value in options.items():
            if isinstance(value, str) and "\n" in value:
                raise ValueError(f"the option {key} holds a line break, which a fence agent cannot read")
            if key in ("action", "plug", "port"):
                raise ValueError(f"the option {key} is given by recoverd itself")
        return options


def as_text(value: Any) -> Any:
    """Numbers and switches as the text that fence-agents read; anything else as it is."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value) if isinstance(value, (int, float)) else value
