"""A host, as the Ansible inventory describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from recoverd.inventory.base import Frozen, Model, Port


class Host(Model):
    """A machine that recoverd reaches over SSH. Read from hosts.yaml, group_vars/ and host_vars/."""

    name: str = Field(description="the host's name in hosts.yaml")
    address: str = Field(
        description="`ansible_host`: address or DNS name to connect to; the name where it is not given"
    )
    port: Port = Field(22, description="`ansible_port`")
    user: str = Field("root", min_length=1, description="`ansible_user`")
    key_file: Path | None = Field(
        None,
        description="`ansible_ssh_private_key_file`: SSH key; relative to the inventory; none: the agent and ~/.ssh",
    )
    known_hosts: Path | None = Field(
        None,
        description="`recoverd_known_hosts`, or UserKnownHostsFile in `ansible_ssh_common_args`: file with the host's "
        "key; relative to the inventory; none: ~/.ssh/known_hosts",
    )
    become: bool = Field(False, description="`ansible_become`: whether commands are run with sudo")
    site: str | None = Field(None, description="`recoverd_site`: the site in sites.yaml where the host stands")
    local: bool = Field(False, description="`ansible_connection: local`: the machine that recoverd runs on itself")
    labels: Frozen[str, str] = Field(
        default_factory=dict, description="`recoverd_labels`: a mapping by which `label:NAME=VALUE` selects hosts"
    )
    groups: tuple[str, ...] = Field(
        (), description="the groups it belongs to, directly or not, from the outermost to the innermost"
    )
    variables: Frozen[str, Any] = Field(
        default_factory=dict,
        repr=False,
        exclude=True,  # other people's inventories hold passwords in them: they must not reach a log or a dump
        description="all Ansible variables of the host; left out of repr and model_dump",
    )
