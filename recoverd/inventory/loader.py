"""`load()`: a directory of YAML files becomes an inventory, or an error that names everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from recoverd.errors import Invalid
from recoverd.inventory import references
from recoverd.inventory.alerts import AlertSource, Route
from recoverd.inventory.ansible import Tree, read_tree
from recoverd.inventory.backups import Backup
from recoverd.inventory.connect import connect
from recoverd.inventory.data import DataRules
from recoverd.inventory.evidence import EvidencePlace
from recoverd.inventory.explain import explain
from recoverd.inventory.fencing import FenceDevice
from recoverd.inventory.files import FilesBackup
from recoverd.inventory.hosts import Host
from recoverd.inventory.inventory import Inventory
from recoverd.inventory.isolation import Zone
from recoverd.inventory.people import Person, Role, Site
from recoverd.inventory.pgbackrest import PgBackRest
from recoverd.inventory.policies import Policy
from recoverd.inventory.problems import InventoryError, Problem, nearest
from recoverd.inventory.selectors import select
from recoverd.inventory.services import Service
from recoverd.inventory.variables import Resolved, resolve
from recoverd.inventory.yamlfile import Broken, Document, read

SECTIONS: dict[str, dict[str, type[BaseModel]]] = {
    "services": {"services": Service},
    "sites": {"sites": Site},
    "people": {"roles": Role, "people": Person},
    "policies": {"policies": Policy},
    "fencing": {"devices": FenceDevice},
    "alerts": {"sources": AlertSource, "routes": Route},
    "backups": {"backups": Backup, "files": FilesBackup},
    "isolation": {"zones": Zone, "evidence": EvidencePlace},
    "data": {"data": DataRules},
}
"""By file: its top-level keys, and what stands below each."""

ENGINES: dict[str, type[BaseModel]] = {"builtin": Backup, "pgbackrest": PgBackRest}
"""What stands below `backups`, by the key `engine`; without it the first."""

NEEDED = ("hosts", "services")
ORDERED = ("routes",)
"""Sections that are lists, because their order counts."""


def load(path: Path | str) -> Inventory:
    """Read the inventory in the directory.

    Raises:
        InventoryError: Something is wrong with it; the error holds every problem of every file.
    """
    root = Path(path).absolute()
    if not root.is_dir():
        raise InventoryError(
            [Problem(str(path), None, "there is no such directory: name one with --inventory or RECOVERD_INVENTORY")],
            str(path),
        )
    work = _Work(root)
    work.read_files()
    tree = read_tree(work.documents["hosts"]) if "hosts" in work.documents else Tree()
    resolved = resolve(tree, root) if tree.groups else Resolved()
    hosts, unusable = connect(tree, resolved, root)
    work.problems += tree.problems
    work.warnings += tree.warnings
    things = work.read_sections()
    work.check_references(hosts, unusable, tree, resolved)
    work.check_zones(hosts, resolved)
    if work.problems:
        raise InventoryError(work.problems, str(path))
    roles, people = _both_ways(things["roles"], things["people"])
    return Inventory(
        root=root,
        hosts=hosts,
        groups=resolved.members,
        services=things["services"],
        sites=things["sites"],
        roles=roles,
        people=people,
        policies={"default": Policy(name="default"), **things["policies"]},
        fence_devices=things["devices"],
        sources=things["sources"],
        routes=tuple(things["routes"].values()),
        backups={name: one for name, one in things["backups"].items() if isinstance(one, Backup)},
        pgbackrest={name: one for name, one in things["backups"].items() if isinstance(one, PgBackRest)},
        files=things["files"],
        zones=things["zones"],
        evidence=things["evidence"],
        data=things["data"],
        unusable=unusable,
        warnings=tuple(work.warnings),
    )


def _both_ways(roles: dict[str, Role], people: dict[str, Person]) -> tuple[dict[str, Role], dict[str, Person]]:
    """Who has which role may be written on either side; afterwards both sides say it."""
    pairs = [(name, person) for name, role in roles.items() for person in role.people]
    pairs += [(role, name) for name, person in people.items() for role in person.roles]
    pairs = list(dict.fromkeys(pairs))
    have = {name: tuple(person for role, person in pairs if role == name) for name in roles}
    has = {name: tuple(role for role, person in pairs if person == name) for name in people}
    return (
        {name: role.model_copy(update={"people": have[name]}) for name, role in roles.items()},
        {name: person.model_copy(update={"roles": has[name]}) for name, person in people.items()},
    )


@dataclass
class _Work:
    root: Path
    documents: dict[str, Document] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def read_files(self) -> None:
        """Read every file that is there; one that is needed and missing is a problem."""
        for stem in ("hosts", *SECTIONS):
            found = [f"{stem}{ending}" for ending in (".yaml", ".yml") if (self.root / f"{stem}{ending}").exists()]
            if len(found) > 1:
                self.problems.append(Problem(found[1], None, f"{found[0]} is there too; keep one of them"))
            if not found and stem not in NEEDED:
                continue
            if not found:
                self.problems.append(self._missing(stem))
                self.broken.add(stem)
                continue
            try:
                self.documents[stem] = document = read(self.root / found[0], found[0], ansible=stem == "hosts")
            except Broken as broken:
                self.problems.append(broken.problem)
                self.broken.add(stem)
                continue
            self.problems += document.doubled
            if document.encrypted:
                self.problems.append(
                    Problem(document.file, 1, "the file is encrypted by ansible-vault, which recoverd cannot read")
                )
            if stem != "hosts":
                self.problems += document.tagged
        self._strays()

    def _missing(self, stem: str) -> Problem:
        others = [name for name in (stem, f"{stem}.ini") if (self.root / name).is_file()]
        if stem == "hosts" and others:
            what = f"the file is missing; write {others[0]} as YAML: `ansible-inventory -i {others[0]} --list --yaml`"
            return Problem("hosts.yaml", None, what)
        return Problem(f"{stem}.yaml", None, "the file is missing")

    def _strays(self) -> None:
        """A file whose name nearly is one of ours would be left out in silence."""
        known = ["hosts", *SECTIONS]
        for path in sorted([*self.root.glob("*.yaml"), *self.root.glob("*.yml")]):
            near = nearest(path.stem, known)
            if path.stem not in known and near is not None and near not in self.documents:
                self.problems.append(Problem(path.name, None, "no file of an inventory has this name", f"{near}.yaml"))

    def read_sections(self) -> dict[str, dict[str, Any]]:
        """Everything that stands in the files beside hosts.yaml, by section and name."""
        things: dict[str, dict[str, Any]] = {name: {} for sections in SECTIONS.values() for name in sections}
        for stem, sections in SECTIONS.items():
            document = self.documents.get(stem)
            if document is None or document.value is None:
                continue
            if not isinstance(document.value, dict):
                self.problems.append(
                    Problem(document.file, 1, f"the file must be a mapping with {' and '.join(sections)}")
                )
                continue
            for key, body in document.value.items():
                if key in sections:
                    things[key] = self._section(document, key, sections[key], body)
                else:
                    self.problems.append(
                        document.problem((str(key),), f'unknown key "{key}" in the file', nearest(key, sections))
                    )
        return things

    def _section(self, document: Document, key: str, model: type[BaseModel], body: Any) -> dict[str, Any]:
        if body is None:
            return {}
        wanted: Any = list if key in ORDERED else dict
        if not isinstance(body, wanted):
            self.problems.append(
                document.problem((key,), f"{key} must be a {'list' if wanted is list else 'mapping by name'}")
            )
            return {}
        found: dict[str, Any] = {}
        items: Iterable[tuple[Any, Any]] = enumerate(body) if isinstance(body, list) else body.items()
        for step, item in items:
            loc = (key, step if isinstance(body, list) else str(step))
            one = self._one(document, loc, model, item)
            if one is None:
                continue
            if one.name in found:
                self.problems.append(document.problem(loc, f"the name {one.name} is used twice"))
            found[one.name] = one
        return found

    def _one(self, document: Document, loc: tuple[str, str | int], model: type[BaseModel], item: Any) -> Any:
        given = item
        if isinstance(loc[1], str) and (item is None or isinstance(item, dict)):
            given = {**(item or {}), "name": loc[1]}
            if "name" in (item or {}):
                self.problems.append(
                    document.problem((*loc, "name"), f"the name is the key above it, {loc[1]}; leave this out")
                )
        engine = str(item.get("engine", "builtin")) if isinstance(item, dict) else "builtin"
        if model is Backup and engine not in ENGINES:
            what = f"unknown engine {engine}; it is one of {', '.join(ENGINES)}"
            self.problems.append(document.problem((*loc, "engine"), what, nearest(engine, ENGINES)))
            return None
        model = ENGINES[engine] if model is Backup else model
        try:
            return model.model_validate(given, context={"root": self.root})
        except ValidationError as error:
            self.problems += explain(error, model, document, loc)
            return None

    def check_references(
        self, hosts: dict[str, Host], unusable: dict[str, Problem], tree: Tree, resolved: Resolved
    ) -> None:
        """Look up every name; what a broken file would have defined is not held against the others."""
        policies, services = self._defined("policies", "policies"), self._defined("services", "services")
        names = {
            "host": None if "hosts" in self.broken else {*hosts, *unusable},
            "host or group": None if "hosts" in self.broken else {*hosts, *unusable, *resolved.members},
            "fence device": self._defined("fencing", "devices"),
            "policy": policies if policies is None else policies | {"default"},
            "role": self._defined("people", "roles"),
            "person": self._defined("people", "people"),
            "service": services,
            "service or host": None if services is None or "hosts" in self.broken else {*services, *hosts, *unusable},
        }
        self.problems += references.check(self.documents, names, unusable)
        sites = self._defined("sites", "sites")
        for name, host in hosts.items():
            if host.site is not None and sites is not None and host.site not in sites:
                place = resolved.variables[name].places["recoverd_site"]
                self.problems.append(
                    Problem(place.file, place.line, f"unknown site {host.site}", nearest(host.site, sites))
                )

    def check_zones(self, hosts: dict[str, Host], resolved: Resolved) -> None:
        """What a zone selects must be there: a zone that means nobody protects nobody."""
        document = self.documents.get("isolation")
        if document is None or self.broken:
            return
        known = Inventory(root=self.root, hosts=hosts, groups=resolved.members)
        zones = document.value.get("zones") if isinstance(document.value, dict) else None
        for name, zone in zones.items() if isinstance(zones, dict) else ():
            text = zone.get("hosts") if isinstance(zone, dict) else None
            if not isinstance(text, str) or not text:
                continue  # the schema says so
            try:
                select(known, text)
            except Invalid as error:
                self.problems.append(document.problem(("zones", str(name), "hosts"), error.message))

    def _defined(self, stem: str, section: str) -> set[str] | None:
        if stem in self.broken:
            return None
        document = self.documents.get(stem)
        body = document.value.get(section) if document is not None and isinstance(document.value, dict) else None
        return {str(name) for name in body} if isinstance(body, dict) else set()
