"""Reading a YAML file so that all of it keeps its line. As in Ansible, it is YAML 1.1: `yes` and `on` are true."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver

from recoverd.inventory.plain import VaultValue, faithful, plain
from recoverd.inventory.problems import Problem

MOST_BYTES = 8 * 1024**2
DEEPEST = 100
VAULT_FILE = b"$ANSIBLE_VAULT"

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Loc = tuple[str | int, ...]


class Broken(Exception):
    """The file cannot be read at all; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Document:
    """A YAML file: its value, and where each part of it stands.

    Attributes:
        file: The file's path below the inventory's directory.
        value: Its content as dictionaries, lists and scalars; None when it is empty or encrypted.
        node: Its content with positions.
        doubled: A problem for each key that is written twice in one mapping; the later one counts, as in Ansible.
        tagged: A problem for each value with a YAML tag (`!vault`), which only Ansible's files may have.
        encrypted: Whether the file as a whole is encrypted by ansible-vault.
    """

    file: str
    value: Any = None
    node: Node | None = None
    doubled: tuple[Problem, ...] = ()
    tagged: tuple[Problem, ...] = ()
    encrypted: bool = False

    def line(self, loc: Iterable[str | int]) -> int:
        """The line of the part at the path of keys and indices, or of the nearest part around it."""
        node, line = self.node, 1
        for step in loc:
            found = _child(node, step)
            if found is not None:
                line, node = found
        return line

    def problem(self, loc: Iterable[str | int], what: str, near: str | None = None) -> Problem:
        """A problem at that place of the file."""
        return Problem(self.file, self.line(loc), what, near)


def read(path: Path, file: str, *, ansible: bool = True) -> Document:
    """Read the file.

    Args:
        path: Where it is.
        file: How problems call it.
        ansible: Whether it is one of Ansible's files, whose numbers are what Ansible makes of them.

    Raises:
        Broken: It is missing, unreadable, too large, or no YAML.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise Broken(
            Problem(file, None, f"the file cannot be read: {(error.strerror or 'unknown reason').lower()}")
        ) from error
    if len(content) > MOST_BYTES:
        raise Broken(Problem(file, None, f"the file is larger than {MOST_BYTES} bytes"))
    if content.startswith(VAULT_FILE):
        return Document(file, encrypted=True)
    node = _compose(_text(content, file), file)
    if node is None:
        return Document(file)
    builder = _Builder(file, plain if ansible else faithful)
    value = builder.build(node)
    return Document(file, value, node, tuple(builder.doubled), tuple(builder.tagged))


def _text(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Broken(Problem(file, line, "the file is not UTF-8 text")) from error


def _compose(text: str, file: str) -> Node | None:
    try:
        try:
            return _composed(text, file, pure=False)
        except MarkedYAMLError:
            # the quick parser refuses `{url: http://x}`, which Ansible reads; the slow one reads it or says why not
            return _composed(text, file, pure=True)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = str(error.problem or error.context or "unreadable").split("\n")[0]
        raise Broken(Problem(file, mark.line + 1 if mark else None, f"no valid YAML: {what}")) from error
    except (YAMLError, ValueError) as error:
        found = _FORBIDDEN.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else None
        raise Broken(Problem(file, line, "no valid YAML: a character that YAML does not allow")) from error


def _composed(text: str, file: str, *, pure: bool) -> Node | None:
    _limit_depth(text, file, pure=pure)
    node: Node | None = _parser(pure=pure).compose(text)
    return node


def _parser(*, pure: bool) -> YAML:
    parser = YAML(typ="safe", pure=pure)
    parser.version = (1, 1)
    parser.Resolver = _Resolver
    return parser


class _Resolver(VersionedResolver):
    """YAML 1.1 throughout: the slow parser forgets the version at a line of `---`."""

    @property
    def processing_version(self) -> tuple[int, int]:
        return (1, 1)


def _limit_depth(text: str, file: str, *, pure: bool) -> None:
    """Refuse what is nested so deeply that the composer, which is recursive C, would end the process."""
    longest = max(map(len, text.splitlines()), default=0)
    if text.count("[") + text.count("{") + 2 * longest < 2 * DEEPEST:
        return
    depth = 0
    for event in _parser(pure=pure).parse(text):
        if isinstance(event, CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise Broken(Problem(file, event.start_mark.line + 1, f"nested more than {DEEPEST} levels deep"))
        elif isinstance(event, CollectionEndEvent):
            depth -= 1


def _child(node: Node | None, step: str | int) -> tuple[int, Node] | None:
    if isinstance(node, SequenceNode):
        if isinstance(step, int) and step < len(node.value):
            return node.value[step].start_mark.line + 1, node.value[step]
        return None
    if not isinstance(node, MappingNode):
        return None
    for key, value in reversed(node.value):
        if isinstance(key, ScalarNode) and key.value == str(step):
            return key.start_mark.line + 1, value
    for key, value in node.value:
        if _merges(key):
            for merged in value.value if isinstance(value, SequenceNode) else [value]:
                found = _child(merged, step) if merged is not node else None
                if found is not None:
                    return found
    return None


def _merges(key: Node) -> bool:
    return isinstance(key, ScalarNode) and key.value == "<<" and not key.style


class _Builder:
    """Turns nodes into values. An alias gives the same object each time, so that nothing is built twice."""

    def __init__(self, file: str, scalar: Callable[[str, str], Any]) -> None:
        self.file = file
        self.scalar = scalar
        self.doubled: list[Problem] = []
        self.tagged: list[Problem] = []
        self.built: dict[int, Any] = {}
        self.open: set[int] = set()

    def build(self, node: Node) -> Any:
        if id(node) in self.built:
            return self.built[id(node)]
        if id(node) in self.open:
            raise Broken(self._at(node, "an alias stands inside of what it names"))
        self.open.add(id(node))
        if isinstance(node, MappingNode):
            value: Any = self._mapping(node)
        elif isinstance(node, SequenceNode):
            value = [self.build(item) for item in node.value]
        elif isinstance(node, ScalarNode):
            value = self._scalar(node)
        else:
            raise Broken(self._at(node, "a part that is no mapping, no list and no scalar"))
        self.open.discard(id(node))
        self.built[id(node)] = value
        return value

    def _mapping(self, node: MappingNode) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            value = self.build(value_node)
            if _merges(key_node):
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise Broken(self._at(key_node, "only a mapping can be merged with <<"))
                    merged = {**source, **merged}
                continue
            if not isinstance(key_node, ScalarNode):
                raise Broken(self._at(key_node, "a key must be a plain word"))
            key = self.build(key_node)
            if key in own:
                self.doubled.append(self._at(key_node, f'the key "{key}" is written twice'))
            own[key] = value
        return {**merged, **own}

    def _scalar(self, node: ScalarNode) -> Any:
        tag = str(node.tag)
        if tag.startswith("tag:yaml.org,2002:"):
            return self.scalar(node.value, tag.rpartition(":")[2])
        self.tagged.append(self._at(node, f"the YAML tag {tag} is understood in Ansible's files only"))
        return VaultValue() if tag in ("!vault", "!vault-encrypted") else node.value

    def _at(self, node: Node, what: str) -> Problem:
        return Problem(self.file, node.start_mark.line + 1, what)
