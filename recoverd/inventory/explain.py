"""pydantic's errors in the words of the file: which key, of what, in which line, and what was probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from recoverd.inventory.problems import Problem, nearest
from recoverd.inventory.yamlfile import Document, Loc

SINGULAR = {
    "services": "service",
    "members": "member",
    "entry_points": "entry point",
    "sites": "site",
    "roles": "role",
    "people": "person",
    "policies": "policy",
    "devices": "fence device",
    "sources": "source",
    "routes": "route",
}


def explain(error: ValidationError, model: type[BaseModel], document: Document, base: Loc) -> list[Problem]:
    """A problem for each error of the model, which was read from the path `base` of the file."""
    problems = []
    for one in error.errors(include_url=False):
        loc: Loc = (*base, *_real(document.value, base, one["loc"]))
        problems.append(_problem(dict(one), loc, _expected(model, one["loc"][:-1]), document))
    return problems


def _problem(one: dict[str, Any], loc: Loc, fields: list[str], document: Document) -> Problem:
    kind, context, where = one["type"], one.get("ctx", {}), describe(document.value, loc)
    parent = describe(document.value, loc[:-1])
    if kind == "extra_forbidden":
        return document.problem(loc, f'unknown key "{loc[-1]}" in {parent}', nearest(loc[-1], fields))
    if kind == "missing":
        return document.problem(loc, f'the key "{loc[-1]}" is missing in {parent}')
    if kind == "union_tag_not_found":
        return document.problem(loc, f'the key "kind" is missing in {where}')
    if kind == "union_tag_invalid":
        expected = re.findall(r"'([^']*)'", context["expected_tags"])
        what = f"{where}: unknown kind {context['tag']}; it is one of {', '.join(expected)}"
        return document.problem((*loc, "kind"), what, nearest(context["tag"], expected))
    if kind == "literal_error":
        expected = re.findall(r"'([^']*)'", context["expected"])
        return document.problem(loc, f"{where} must be {context['expected']}", nearest(one.get("input"), expected))
    return document.problem(loc, f"{where}: {_plain_message(one)}")


def _plain_message(one: dict[str, Any]) -> str:
    message = str(one["msg"]).removeprefix("Value error, ")
    pattern = one.get("ctx", {}).get("pattern")
    if pattern == "^/":
        return "must be an absolute path"
    if pattern:
        return f"must look like {pattern}"
    if one["type"] in ("model_type", "dict_type", "mapping_type", "model_attributes_type"):
        return "must be a mapping"
    if one["type"] in ("tuple_type", "list_type"):
        return "must be a list"
    if one["type"] == "too_short":
        return "must not be empty"
    return message[:1].lower() + message[1:]


def describe(value: Any, loc: Loc) -> str:
    """The place in words: `member db-1`, `control of member db-1`, `service shop`."""
    subject, trail, known = "the file", list[str](), False
    for index, step in enumerate(loc):
        container = loc[index - 1] if index else None
        value = _step(value, step)
        if container in SINGULAR and (index == 1 or isinstance(step, int)):
            subject, trail, known = f"{SINGULAR[str(container)]} {_label(value, step)}", [], True
        elif index:
            trail.append(f"item {step + 1}" if isinstance(step, int) else str(step))
        else:
            trail = [str(step)]
    words = [".".join(trail)] if trail else []
    return " of ".join([*words, subject] if known else words) or subject


def _label(value: Any, step: str | int) -> str:
    if isinstance(step, int):
        name = value.get("name", value.get("host")) if isinstance(value, dict) else None
        return str(name) if isinstance(name, (str, int)) else str(step + 1)
    return step


def _step(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return next((item for key, item in value.items() if str(key) == str(step)), None)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _real(value: Any, base: Loc, loc: tuple[str | int, ...]) -> Iterator[str | int]:
    """The path without the names of union branches, which pydantic puts in and the file does not have."""
    for step in base:
        value = _step(value, step)
    for index, step in enumerate(loc):
        below = _step(value, step)
        last = index == len(loc) - 1
        if below is None and not last and not (isinstance(value, dict) and any(str(key) == str(step) for key in value)):
            continue
        if step != "[key]":
            yield step
        value = below


def _expected(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The valid keys at the path."""
    types: list[Any] = [model]
    for step in loc:
        narrowed = [one for one in types if _has_kind(one, step)]
        types = narrowed or [inner for one in types for inner in _below(one, step)]
    models = [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]
    return [name for one in models for name in one.model_fields]


def _has_kind(one: Any, step: str | int) -> bool:
    """Whether the step names the branch of a union by its `kind`."""
    if not (isinstance(one, type) and issubclass(one, BaseModel)) or "kind" not in one.model_fields:
        return False
    return step in get_args(one.model_fields["kind"].annotation) and step not in one.model_fields


def _below(one: Any, step: str | int) -> list[Any]:
    if isinstance(one, type) and issubclass(one, BaseModel):
        return _branches(one.model_fields[str(step)].annotation) if step in one.model_fields else [one]
    arguments = get_args(one)
    if not arguments or get_origin(one) is Literal:
        return [one]
    return _branches(arguments[-1] if arguments[-1] is not Ellipsis else arguments[0])


def _branches(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _branches(get_args(annotation)[0])
    arguments = get_args(annotation)
    is_union = str(get_origin(annotation)) in ("typing.Union", "<class 'types.UnionType'>", "<class 'typing.Union'>")
    return [inner for part in arguments for inner in _branches(part)] if is_union else [annotation]
