"""One file a sender: each turns the body of a request into alerts. Files here, and entry points, register themselves.

A file has a module-level `PARSER`. A package of someone else's names its own in the entry point group
`recoverd.parsers`; docs/adding-a-sender.md shows both.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points

from gateway.alerts_model import Parsed
from recoverd.errors import Invalid

GROUP = "recoverd.parsers"


@dataclass(frozen=True)
class Parser:
    """How one kind of sender speaks.

    Attributes:
        kind: The name that a source in alerts.yaml refers to.
        parse: Takes the body and the headers (names in lower case); returns what it held, or raises ParseError and
            nothing else.
        retries: Whether the sender sends again after 503. One that does not is never turned away.
    """

    kind: str
    parse: Callable[[bytes, Mapping[str, str]], Parsed]
    retries: bool = True


def parser(kind: str) -> Parser:
    """The parser for a kind of sender.

    Raises:
        Invalid: Nobody has registered one.
    """
    known = parsers()
    if kind not in known:
        raise Invalid(f"no parser reads alerts of kind {kind!r}", f"known kinds: {', '.join(sorted(known))}")
    return known[kind]


@lru_cache(maxsize=1)
def parsers() -> Mapping[str, Parser]:
    """All registered parsers by kind.

    Raises:
        Invalid: Two of them claim the same kind, or an entry point is not a parser.
    """
    found: dict[str, tuple[Parser, str]] = {}
    for candidate, where in [*_of_this_package(), *_of_entry_points()]:
        if not isinstance(candidate, Parser):
            raise Invalid(f"{where} is not a gateway.parsers.Parser", "see docs/adding-a-sender.md")
        if candidate.kind in found:
            both = f"{found[candidate.kind][1]} and {where}"
            raise Invalid(f"two parsers claim the kind {candidate.kind!r}: {both}", "uninstall or rename one of them")
        found[candidate.kind] = (candidate, where)
    return {kind: each for kind, (each, _) in found.items()}


def _of_this_package() -> list[tuple[object, str]]:
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return [(module.PARSER, module.__name__) for module in modules if hasattr(module, "PARSER")]


def _of_entry_points() -> list[tuple[object, str]]:
    return [(each.load(), f"entry point {each.name} ({each.value})") for each in entry_points(group=GROUP)]
