"""The structure of an Ansible YAML inventory: its groups, its hosts, and the variables written in it.

What is read, and in which order it counts, follows Ansible's own `yaml` inventory plug-in.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recoverd.inventory.patterns import BadPattern, expand
from recoverd.inventory.problems import Problem, nearest
from recoverd.inventory.yamlfile import Document, Loc

SECTIONS = ("hosts", "children", "vars")


@dataclass(frozen=True)
class Place:
    """Where a variable is written."""

    file: str
    line: int | None


@dataclass
class Variables:
    """Variables with the place of each."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)

    def add(self, other: Variables) -> None:
        """Take the other's variables; where both have one, the other's counts."""
        self.values.update(other.values)
        self.places.update(other.places)

    def add_from(self, document: Document, loc: Loc, mapping: Mapping[Any, Any]) -> None:
        """Take the variables that stand in the file at the path."""
        for key, value in mapping.items():
            self.values[str(key)] = value
            self.places[str(key)] = Place(document.file, document.line((*loc, str(key))))


@dataclass
class Group:
    """A group, as it is written."""

    name: str
    variables: Variables = field(default_factory=Variables)
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    depth: int = 0


@dataclass
class Tree:
    """All groups and hosts, as they are written."""

    groups: dict[str, Group] = field(default_factory=dict)
    hosts: dict[str, Variables] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


def read_tree(document: Document) -> Tree:
    """The groups and hosts of hosts.yaml."""
    tree = Tree()
    for name in ("all", "ungrouped"):
        tree.groups[name] = Group(name)
    content = document.value
    if not isinstance(content, dict) or not content:
        what = "is empty" if not content else "is no mapping of groups"
        tree.problems.append(Problem(document.file, 1, f"the inventory {what}; write `all:`, and `hosts:` below it"))
    elif content.get("plugin"):
        tree.problems.append(
            document.problem(("plugin",), "this configures an inventory plug-in of Ansible; write its hosts out")
        )
    else:
        for name in content:
            _group(tree, document, (str(name),), str(name), content[name])
    _settle(tree, document)
    return tree


def _group(tree: Tree, document: Document, loc: Loc, name: str, body: Any) -> None:
    if body is not None and not isinstance(body, dict):
        tree.warnings.append(
            document.problem(loc, f"{name} is no group, as it is no mapping; Ansible skips it, and so does recoverd")
        )
        return
    group = tree.groups.setdefault(name, Group(name))
    for key, section in (body or {}).items():
        here = (*loc, str(key))
        if key not in SECTIONS:
            what = f'unknown key "{key}" in group {name}, which Ansible skips'
            tree.warnings.append(document.problem(here, what, nearest(key, SECTIONS)))
            continue
        part = {section: None} if isinstance(section, str) else section
        if part is None:
            continue
        if not isinstance(part, dict):
            tree.problems.append(document.problem(here, f"{key} of group {name} must be a mapping"))
        elif key == "vars":
            group.variables.add_from(document, here, part)
        elif key == "children":
            for child, below in part.items():
                _group(tree, document, (*here, str(child)), str(child), below)
                if str(child) in tree.groups and str(child) not in group.children:
                    group.children.append(str(child))
        else:
            _hosts(tree, document, here, group, part)


def _hosts(tree: Tree, document: Document, loc: Loc, group: Group, part: Mapping[Any, Any]) -> None:
    for pattern, variables in part.items():
        here = (*loc, str(pattern))
        if not isinstance(pattern, str):
            tree.problems.append(document.problem(here, f"the host name {pattern} must stand in quotation marks"))
            continue
        try:
            names, port = expand(pattern)
        except BadPattern as error:
            tree.problems.append(document.problem(here, f"the host range {pattern} is bad: {error}"))
            continue
        if variables is not None and not isinstance(variables, dict):
            tree.problems.append(document.problem(here, f"the variables of host {pattern} must be a mapping"))
            continue
        for name in names:
            host = tree.hosts.setdefault(name, Variables())
            place = Place(document.file, document.line(here))
            tree.places.setdefault(name, place)
            if name not in group.hosts:
                group.hosts.append(name)
            if port is not None:
                host.values["ansible_port"], host.places["ansible_port"] = port, place
            host.add_from(document, here, variables or {})


def _settle(tree: Tree, document: Document) -> None:
    """What Ansible does at the end: groups without a parent belong to `all`, hosts without a group to `ungrouped`."""
    have_parent = {child for group in tree.groups.values() for child in group.children}
    every = tree.groups["all"]
    every.children += [name for name in tree.groups if name not in have_parent and name != "all"]
    _measure(tree, document)
    grouped = {host for group in tree.groups.values() if group.name not in ("all", "ungrouped") for host in group.hosts}
    loose = [host for host in tree.hosts if host not in grouped]
    tree.groups["ungrouped"].hosts[:] = loose
    for group in tree.groups.values():
        if set(group.name) - set(string.ascii_letters + string.digits + "_-."):
            tree.warnings.append(Problem(document.file, None, f'the group name "{group.name}" holds odd characters'))


def _measure(tree: Tree, document: Document) -> None:
    """The depth of each group below `all`. A circle is a problem, and is cut."""
    waiting = dict.fromkeys(tree.groups, 0)
    for group in tree.groups.values():
        for child in group.children:
            waiting[child] += 1
    ready = [name for name, parents in waiting.items() if parents == 0]
    while ready:
        name = ready.pop()
        for child in tree.groups[name].children:
            tree.groups[child].depth = max(tree.groups[child].depth, tree.groups[name].depth + 1)
            waiting[child] -= 1
            if waiting[child] == 0:
                ready.append(child)
    circle = sorted(name for name, parents in waiting.items() if parents > 0)
    if circle:
        tree.problems.append(Problem(document.file, None, f"a group is a child of itself, through {', '.join(circle)}"))
    for name in circle:
        tree.groups[name].children.clear()
