"""The backup of files and directories of hosts: configuration and programs, beside the data of services."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recoverd.inventory.backups import NAME, Backup, BackupBase, RestoreRules, WalRules
from recoverd.inventory.base import Model

Place = Annotated[str, Field(pattern="^/[^/\\x00-\\x1f-][^\\x00-\\x1f]*$")]
Exclude = Annotated[str, Field(pattern="^[^\\x00-\\x1f-][^\\x00-\\x1f]*$")]


class FilesRules(Model):
    """Where files are restored to, and who is asked before they replace what is there."""

    scratch_dir: str = Field(
        "/var/lib/recoverd/restore", pattern="^/[^\\s'\"]*$", description="directory for what is fetched and unpacked"
    )
    consent: Literal["act", "ask"] = Field("ask", description="whether replacing files waits for a person's approval")


class FilesBackup(BackupBase):
    """Files and directories of hosts that are backed up like the data of services: a set a host, on the same kind of sites."""

    name: str = Field(pattern=NAME, description="the target's name in commands: its key below `files` in backups.yaml")
    hosts: tuple[str, ...] = Field(min_length=1, description="hosts, or groups of hosts, of hosts.yaml")
    paths: tuple[Place, ...] = Field(min_length=1, description="files and directories, absolute; none below another")
    exclude: tuple[Exclude, ...] = Field(
        (), description="what is left out: an absolute path, or a pattern of names at any depth such as `*.swp`"
    )
    policy: str = Field("default", description="the policy in policies.yaml that approvals and schedules go by")
    restore: FilesRules = Field(default_factory=FilesRules, description="rules of restores")

    @property
    def kind(self) -> str:
        """What its runs lock: they exclude each other, and nothing else."""
        return "backup"

    def archive(self, host: str) -> str:
        """The name under which a host's sets stand on the sites."""
        return f"{self.name}.{host}"

    def as_backup(self, archive: str) -> Backup:
        """What an archive has in common with the backup of a service: its sites, keys and retention."""
        common = {name: getattr(self, name) for name in BackupBase.model_fields if name != "name"}
        rules = RestoreRules(scratch_dir=self.restore.scratch_dir, consent=self.restore.consent)
        return Backup.model_construct(name=archive, restore=rules, wal=WalRules(enabled=False), **common)

    @field_validator("paths")
    @classmethod
    def _plain_and_apart(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        for path in paths:
            if any(step in {"", ".", ".."} for step in path[1:].split("/")):
                raise ValueError(f"{path} must be written plainly: without //, . and .., and without / at its end")
            above = [other for other in paths if path.startswith(f"{other}/")]
            if above:
                raise ValueError(f"{path} is in {above[0]} already")
        if len(set(paths)) < len(paths):
            raise ValueError("a path is named twice")
        return paths
