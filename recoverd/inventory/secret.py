"""References to secrets. The inventory never holds a value; the value is read where it is used, and kept nowhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from recoverd.errors import Invalid, Unreachable
from recoverd.inventory.base import Model
from recoverd.redact import register_secret

MOST_BYTES = 64 * 1024


class SecretRef(Model):
    """Where a secret is found. Exactly one of the three is given."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    env: str | None = Field(None, min_length=1, description="name of an environment variable of recoverd's process")
    file: Path | None = Field(
        None,
        description="path of a file that only its owner may read; relative to the inventory; environment variables "
        "as in `${CREDENTIALS_DIRECTORY}/name` are filled in; one newline at its end is not part of the secret",
    )
    prefect_block: str | None = Field(None, min_length=1, description="name of a Prefect Secret block")

    @model_validator(mode="before")
    @classmethod
    def _reference_not_value(cls, given: Any) -> Any:
        if not isinstance(given, (dict, cls)):
            raise ValueError(  # noqa: TRY004 - pydantic collects ValueError only
                "a secret is written as {env: NAME}, {file: PATH} or {prefect_block: NAME}, never as its value"
            )
        return given

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if sum(given is not None for given in (self.env, self.file, self.prefect_block)) != 1:
            raise ValueError("a secret names exactly one of env, file and prefect_block")
        return self

    @field_validator("file")
    @classmethod
    def _below_the_inventory(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return None if path is None else anchored(path, info)

    def resolve(self) -> str:
        """Read the secret now; from here on this process writes `***` wherever it would write the value.

        Raises:
            Invalid: It is not there, is empty, or cannot be read.
            Unreachable: Prefect's server does not answer.
        """
        value = self._from_env() if self.env else self._from_file() if self.file else self._from_prefect()
        if not value:
            raise Invalid(
                f"the secret {self} is empty", "write the secret to where the inventory points, then try again"
            )
        register_secret(value)
        return value

    def exposed(self) -> str | None:
        """Why the secret is open to others than its owner; None when it is not, or is not a file."""
        if self.file is None:
            return None
        try:
            mode = self._path().stat().st_mode
        except OSError:
            return None  # its absence is an error of resolve(), not an exposure
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            return f"the secret file {self.file} can be used by others than its owner (mode {stat.S_IMODE(mode):04o})"
        return None

    def _path(self) -> Path:
        return Path(os.path.expandvars(str(self.file)))

    def _from_env(self) -> str:
        value = os.environ.get(str(self.env))
        if value is None:
            raise Invalid(
                f"the environment variable {self.env}, where the inventory says a secret is, is not set",
                f"set {self.env} for the process of recoverd, for example in its systemd unit with EnvironmentFile=",
            )
        return value

    def _from_file(self) -> str:
        path = self._path()
        try:
            with path.open("rb") as file:
                value = file.read(MOST_BYTES + 1)
            if len(value) > MOST_BYTES:
                raise Invalid(
                    f"the secret file {path} is larger than {MOST_BYTES} bytes", "a secret file holds the secret alone"
                )
            text = value.decode()
        except OSError as error:
            raise Invalid(
                f"the secret file {path} cannot be read: {error.strerror}",
                f"write the secret to it, readable by its owner alone: `install -m 600 /dev/stdin {path}`",
            ) from error
        except UnicodeDecodeError:
            raise Invalid(f"the secret file {path} is not UTF-8 text", "write the secret to it as text") from None
        return text.removesuffix("\n").removesuffix("\r")

    def _from_prefect(self) -> str:
        from prefect.blocks.system import Secret

        name = str(self.prefect_block)
        loader: Any = Secret  # its annotations hide `_sync`: without it, a running loop gets a coroutine
        try:
            value = loader.load(name, _sync=True).get()
        except ValueError as error:
            raise Invalid(
                f"Prefect has no Secret block named {name}",
                "create it in Prefect under Blocks, as a Secret of that name",
            ) from error
        except Exception as error:
            raise Unreachable(
                f"Prefect did not give the Secret block {name} ({type(error).__name__})",
                "see that PREFECT_API_URL names a server that answers",
            ) from error
        return str(value)

    def __str__(self) -> str:
        found = (("env", self.env), ("file", self.file), ("prefect_block", self.prefect_block))
        return next(f"{kind}:{value}" for kind, value in found if value is not None)


def anchored(path: Path, info: ValidationInfo) -> Path:
    """The path below the directory of the inventory that is being loaded, unless it is absolute."""
    text = str(path)
    root = (info.context or {}).get("root")
    if text.startswith("~"):
        return path.expanduser()
    return path if root is None or path.is_absolute() or text.startswith("$") else Path(root) / path
