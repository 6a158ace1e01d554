"""The variables that count for each host: precedence as in Ansible.

From the weakest to the strongest: `all` in hosts.yaml, groups in hosts.yaml (parents before children), group_vars/all,
group_vars of the groups, the host in hosts.yaml, host_vars.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recoverd.inventory.ansible import Tree, Variables
from recoverd.inventory.problems import Problem
from recoverd.inventory.yamlfile import Broken, read

EXTENSIONS = ("", ".yml", ".yaml", ".json")


@dataclass
class Resolved:
    """What holds for each host in the end.

    Attributes:
        variables: By host.
        groups: By host: all its groups but `all` and `ungrouped`, from the outermost to the innermost.
        members: By group: all hosts in it, directly or not.
    """

    variables: dict[str, Variables] = field(default_factory=dict)
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    members: dict[str, tuple[str, ...]] = field(default_factory=dict)


def resolve(tree: Tree, root: Path) -> Resolved:
    """Put the variables of every host together. Problems and warnings are added to the tree's."""
    resolved = Resolved()
    order = _order(tree)
    files = {name: _from_files(tree, root, "group_vars", name) for name in order}
    resolved.members = {name: tuple(_members(tree, name)) for name in order}
    belongs: dict[str, list[str]] = {host: [] for host in tree.hosts}
    for name in order:
        for host in resolved.members[name]:
            belongs[host].append(name)
    resolved.members["all"] = tuple(tree.hosts)
    for host, own in tree.hosts.items():
        groups = [name for name in belongs[host] if name != "all"]
        together = Variables()
        for name in ("all", *groups):
            together.add(tree.groups[name].variables)
        for name in ("all", *groups):
            together.add(files[name])
        together.add(own)
        together.add(_from_files(tree, root, "host_vars", host))
        together.values.pop("ansible_group_priority", None)
        resolved.variables[host] = together
        resolved.groups[host] = tuple(name for name in groups if name != "ungrouped")
    return resolved


def _order(tree: Tree) -> list[str]:
    """Groups from the weakest to the strongest: by depth, then priority, then name."""
    return sorted(tree.groups, key=lambda name: (tree.groups[name].depth, _priority(tree, name), name))


def _priority(tree: Tree, name: str) -> int:
    variables = tree.groups[name].variables
    given = variables.values.get("ansible_group_priority", 1)
    try:
        return int(given)
    except (TypeError, ValueError):
        place = variables.places["ansible_group_priority"]
        problem = Problem(place.file, place.line, f"ansible_group_priority of group {name} must be a number")
        if problem not in tree.problems:
            tree.problems.append(problem)
        return 1


def _members(tree: Tree, name: str) -> Iterator[str]:
    pending, groups, hosts = [name], {name}, set[str]()
    while pending:
        group = tree.groups[pending.pop(0)]
        for host in group.hosts:
            if host not in hosts:
                hosts.add(host)
                yield host
        new = [child for child in group.children if child not in groups]
        groups.update(new)
        pending += new


def _from_files(tree: Tree, root: Path, folder: str, name: str) -> Variables:
    found = Variables()
    if not name or name.startswith(os.sep) or {".", ".."} & set(name.split(os.sep)):
        return found
    try:
        paths = _files(root / folder, name)
    except OSError as error:
        what = f"the variables of {name} cannot be read: {(error.strerror or 'unknown reason').lower()}"
        tree.problems.append(Problem(folder, None, what))
        return found
    for path in paths:
        _add_file(tree, found, path, str(path.relative_to(root)), name)
    return found


def _add_file(tree: Tree, found: Variables, path: Path, file: str, name: str) -> None:
    try:
        document = read(path, file)
    except Broken as broken:
        tree.problems.append(broken.problem)
        return
    tree.warnings += document.doubled
    if document.encrypted:
        what = "the file is encrypted by ansible-vault; recoverd does not know its variables"
        tree.warnings.append(Problem(file, None, what))
    elif isinstance(document.value, dict):
        found.add_from(document, (), document.value)
    elif document.value is not None:
        tree.problems.append(Problem(file, 1, f"the variables of {name} must be a mapping"))


def _files(folder: Path, name: str) -> list[Path]:
    for extension in EXTENSIONS:
        # os.path takes names that are too long or hold a zero byte for absent; Path would raise
        path = os.path.join(folder, f"{name}{extension}")
        if os.path.isdir(path):
            return _files_below(Path(path))
        if os.path.exists(path):
            return [Path(path)]
    return []


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            found += _files_below(path)
        elif path.is_file() and path.suffix in EXTENSIONS:
            found.append(path)
    return found
