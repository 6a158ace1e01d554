"""How recoverd reaches a host, from the host's Ansible variables.

Other people's inventories hold vault values and templates in many variables. They matter only in the few needed here:
such a host is set aside with the reason, and is a problem only when something names it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recoverd.inventory.ansible import Place, Tree, Variables
from recoverd.inventory.hosts import Host
from recoverd.inventory.plain import VaultValue
from recoverd.inventory.problems import Problem, nearest
from recoverd.inventory.variables import Resolved

OURS = ("recoverd_known_hosts", "recoverd_site", "recoverd_labels", "recoverd_aws_instance")
ADDRESS = ("ansible_host", "ansible_ssh_host")
PORT = ("ansible_port", "ansible_ssh_port")
USER = ("ansible_user", "ansible_ssh_user")
KEY = ("ansible_ssh_private_key_file", "ansible_private_key_file")
SSH_ARGS = ("ansible_ssh_common_args", "ansible_ssh_extra_args", "ansible_ssh_args")

_TEMPLATE = re.compile(r"\{\{-?\s*(\w+)\s*-?\}\}")
_ADDRESS = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?|[0-9A-Fa-f:.]+(%[\w.-]+)?")


class _Unusable(Exception):
    """The host cannot be reached with what its variables say."""

    def __init__(self, variable: str, what: str) -> None:
        super().__init__(what)
        self.variable = variable
        self.what = what


def connect(tree: Tree, resolved: Resolved, root: Path) -> tuple[dict[str, Host], dict[str, Problem]]:
    """All hosts by name, and those that cannot be used with the reason."""
    hosts: dict[str, Host] = {}
    unusable: dict[str, Problem] = {}
    for name, variables in resolved.variables.items():
        place = tree.places[name]
        try:
            hosts[name] = _host(name, variables, resolved.groups[name], root)
        except _Unusable as why:
            there = variables.places.get(why.variable, place)
            unusable[name] = Problem(there.file, there.line, f"{why.what} (host {name})")
        tree.problems += _misspelt(variables)
    return hosts, unusable


def _host(name: str, variables: Variables, groups: tuple[str, ...], root: Path) -> Host:
    values = _Values(name, variables.values, root)
    address = values.text(*ADDRESS) or name
    if not _ADDRESS.fullmatch(address):
        raise _Unusable("ansible_host", f"{address} is no address and no DNS name")
    try:
        return Host(
            name=name,
            address=address,
            port=values.number(22, *PORT),
            user=values.text(*USER) or "root",
            key_file=values.path(*KEY),
            known_hosts=values.path("recoverd_known_hosts") or _known_hosts(values),
            become=values.switch("ansible_become"),
            site=values.text("recoverd_site"),
            local=values.text("ansible_connection") == "local",
            labels=values.mapping("recoverd_labels"),
            groups=groups,
            variables=variables.values,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _Unusable(f"ansible_{first['loc'][0]}", f"{first['loc'][0]}: {first['msg'].lower()}") from None


def _known_hosts(values: _Values) -> Path | None:
    for variable in SSH_ARGS:
        text = values.text(variable) or ""
        try:
            words = shlex.split(text)
        except ValueError:
            raise _Unusable(variable, f"{variable} has an unbalanced quotation mark") from None
        for word in words:
            found = re.fullmatch(r"(?:-o)?\s*UserKnownHostsFile[=\s]\s*(\S+).*", word, re.IGNORECASE)
            if found and found[1] != "/dev/null":
                return values.anchored(found[1])
    return None


class _Values:
    """The variables of a host as the types that are needed; vault values and templates are refused here."""

    def __init__(self, name: str, values: Mapping[str, Any], root: Path) -> None:
        self.root = root
        short = name.split(".", maxsplit=1)[0]
        self.values = {
            **values,
            "inventory_hostname": name,
            "inventory_hostname_short": short,
            "inventory_dir": str(root),
        }

    def text(self, *names: str) -> str | None:
        """The first of the variables that is given, as text; None when none is."""
        for name in names:
            value = self.values.get(name)
            if value is not None and value != "":
                return self._plain(name, value)
        return None

    def number(self, default: int, *names: str) -> int:
        text = self.text(*names)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535):
            given = next(name for name in names if self.values.get(name) not in (None, ""))
            raise _Unusable(given, f"{given} must be a port from 1 to 65535")
        return int(text)

    def switch(self, name: str) -> bool:
        text = self.text(name)
        if text is None or text.lower() in ("false", "no", "off", "0", "n", "f"):
            return False
        if text.lower() in ("true", "yes", "on", "1", "y", "t"):
            return True
        raise _Unusable(name, f"{name} must be true or false")

    def mapping(self, name: str) -> dict[str, str]:
        given = self.values.get(name)
        if given is None or given == "":
            return {}
        if not isinstance(given, Mapping):
            raise _Unusable(name, f"{name} must be a mapping of names to words")
        return {str(key): self._plain(name, value) for key, value in given.items()}

    def path(self, *names: str) -> Path | None:
        text = self.text(*names)
        return None if text is None else self.anchored(text)

    def anchored(self, text: str) -> Path:
        if text.startswith("~"):
            try:
                return Path(text).expanduser()
            except RuntimeError:
                raise _Unusable(KEY[0], f"the home directory in {text} is not known") from None
        return self.root / text

    def _plain(self, name: str, value: Any, depth: int = 0) -> str:
        if isinstance(value, VaultValue):
            raise _Unusable(name, f"{name} is encrypted by ansible-vault, and recoverd needs it; write it in the clear")
        if not isinstance(value, (str, int, float)):
            raise _Unusable(name, f"{name} must be a word or a number")
        text = str(value)
        if "{{" not in text and "{%" not in text and "{#" not in text:
            return text

        def fill(found: re.Match[str]) -> str:
            inner = self.values.get(found[1])
            if inner is None or depth > 8:
                raise _Unusable(name, f'{name} is the template "{text}", and {found[1]} is not known')
            return self._plain(name, inner, depth + 1)

        filled = _TEMPLATE.sub(fill, text)
        if "{{" in filled or "{%" in filled or "{#" in filled:
            raise _Unusable(
                name,
                f'{name} is the template "{text}"; recoverd fills in plain {{{{ variable }}}} only; write the value',
            )
        return filled


def _misspelt(variables: Variables) -> list[Problem]:
    """`recoverd_…` variables are recoverd's own, so an unknown one is a mistake."""
    found = []
    for name in variables.values:
        if name.startswith("recoverd_") and name not in OURS:
            place = variables.places.get(name, Place("hosts.yaml", None))
            found.append(Problem(place.file, place.line, f'unknown variable "{name}"', nearest(name, OURS)))
    return found
