"""Names that one part of the inventory uses and another defines. Checked on what is written, so that a mistake in a
key hides no mistake in a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recoverd.inventory.explain import describe
from recoverd.inventory.problems import Problem, nearest
from recoverd.inventory.yamlfile import Document, Loc


@dataclass(frozen=True)
class Reference:
    """A place that holds a name: `*` stands for any key or item, `@` for the keys of a mapping."""

    file: str
    path: tuple[str, ...]
    kind: str


REFERENCES = (
    Reference("services", ("services", "*", "members", "*", "host"), "host"),
    Reference("services", ("services", "*", "members", "*", "fencing", "*"), "fence device"),
    Reference("services", ("services", "*", "clients", "*"), "host"),
    Reference("services", ("services", "*", "policy"), "policy"),
    Reference("fencing", ("devices", "*", "plugs", "@"), "host"),
    Reference("policies", ("policies", "*", "approvals", "roles", "*"), "role"),
    Reference("people", ("people", "*", "roles", "*"), "role"),
    Reference("people", ("roles", "*", "people", "*"), "person"),
    Reference("alerts", ("routes", "*", "target"), "service or host"),
    Reference("backups", ("backups", "@"), "service"),
    Reference("backups", ("backups", "*", "sites", "*", "host"), "host"),
    Reference("backups", ("backups", "*", "host"), "host"),
    Reference("backups", ("backups", "*", "restore", "drill_host"), "host"),
    Reference("backups", ("files", "*", "hosts", "*"), "host or group"),
    Reference("backups", ("files", "*", "sites", "*", "host"), "host"),
    Reference("backups", ("files", "*", "policy"), "policy"),
    Reference("data", ("data", "@"), "service"),
    Reference("isolation", ("zones", "*", "policy"), "policy"),
    Reference("isolation", ("zones", "*", "peers", "*"), "host"),
    Reference("isolation", ("zones", "*", "drains", "*", "hosts", "*"), "host"),
)


def check(
    documents: Mapping[str, Document], names: Mapping[str, set[str] | None], unusable: Mapping[str, Problem]
) -> list[Problem]:
    """A problem for each name that nothing defines.

    Args:
        documents: The files that could be read, by stem.
        names: By kind, what is defined; None where the file that would tell could not be read.
        unusable: Hosts that are there and cannot be used.
    """
    problems = []
    for reference in REFERENCES:
        document = documents.get(reference.file)
        known = names[reference.kind]
        if document is None:
            continue
        for loc, name in _found(document.value, reference.path, ()):
            if not isinstance(name, (str, int)) or isinstance(name, bool) or "{" in str(name):
                continue  # not a name: the schema says so; or a template, which is filled in when the alert comes
            if reference.kind == "service or host" and any(sign in str(name) for sign in (":", ",")):
                continue  # it selects hosts: the table of routes looks whether it does
            if "host" in reference.kind and str(name) in unusable:
                reason = unusable[str(name)]
                problems.append(document.problem(loc, f"the host {name} cannot be used: {reason}"))
            elif known is not None and str(name) not in known:
                where = describe(document.value, loc[:-1] if reference.path[-1] not in ("*", "@") else loc[:-2])
                what = f"unknown {reference.kind} {name} in {where}"
                problems.append(document.problem(loc, what, nearest(name, known)))
    return problems + list(_unplugged(documents)) + list(_named_alike(documents))


def _found(value: Any, path: tuple[str, ...], loc: Loc) -> Iterator[tuple[Loc, Any]]:
    if not path:
        yield loc, value
        return
    step, rest = path[0], path[1:]
    if step == "*" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _found(item, rest, (*loc, index))
    elif step == "*" and isinstance(value, dict):
        for key, item in value.items():
            yield from _found(item, rest, (*loc, str(key)))
    elif step == "@" and isinstance(value, dict):
        for key in value:
            yield (*loc, str(key)), key
    elif isinstance(value, dict) and step in value:
        yield from _found(value[step], rest, (*loc, step))


def _unplugged(documents: Mapping[str, Document]) -> Iterator[Problem]:
    """A member whose fence device does not know its host could not be fenced when it matters."""
    services, fencing = documents.get("services"), documents.get("fencing")
    if services is None or fencing is None:
        return
    plugs = {loc[1]: plugs for loc, plugs in _found(fencing.value, ("devices", "*", "plugs"), ())}
    for loc, member in _found(services.value, ("services", "*", "members", "*"), ()):
        names = member.get("fencing") if isinstance(member, dict) else None
        for index, name in enumerate(names if isinstance(names, list) else ()):
            known = plugs.get(str(name))
            if isinstance(known, dict) and member.get("host") not in known:
                what = (
                    f"the fence device {name} has no plug for host {member.get('host')}; give it one in {fencing.file}"
                )
                yield services.problem((*loc, "fencing", index), what)


def _named_alike(documents: Mapping[str, Document]) -> Iterator[Problem]:
    """A backup of files that is called like a service: commands could not tell which one is meant, nor sites whose sets are whose."""
    backups, services = documents.get("backups"), documents.get("services")
    if backups is None or services is None:
        return
    names = {str(name) for _, name in _found(services.value, ("services", "@"), ())}
    for loc, name in _found(backups.value, ("files", "@"), ()):
        if any(one == str(name) or one.startswith(f"{name}.") for one in names):
            yield backups.problem(loc, f"{name} is the name of a service too; call the backup of files otherwise")
